"""A PLM directory in use: text to ids, ids to logits or features."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from salt_fairseq.errors import InputError
from salt_fairseq.modules.bodies.registry import BODIES
from salt_fairseq.modules.encoder import BOS, EOS, PAD, Architecture, Encoder, LMHead, without_weights
from salt_fairseq.modules.pooling import POOLINGS
from salt_fairseq.storage.archives import check_tensors
from salt_fairseq.storage.files import sha256
from salt_fairseq.storage.manifest import fits, read_verified, write_with_checksum
from salt_fairseq.tokenizer import MARKERS, Tokenizer

FILES = ("model.pt", "dict.txt", "tokenizer.json")
SHAPE = {
    "name": str,
    "source": str,
    "tokenizer": str,
    "separators": int,
    "architecture": dict,
    "sha256": {str: str},
    "family": str,
    "special_tokens": dict.fromkeys(("bos", "pad", "eos", "unk", "mask"), str),
}  # of what plm.json must hold


@dataclass(frozen=True)
class Description:
    """``plm.json``."""

    name: str
    source: str  # what it was imported from
    tokenizer: str  # "wordpiece" or "sentencepiece"
    separators: int  # EOS tokens between the sentences of a pair: 1 in BERT, 2 in XLM-R
    special_tokens: dict  # how the PLM spells bos, pad, eos, unk and mask
    architecture: Architecture
    sha256: dict  # of each file of the directory
    family: str  # by whose names its weights were published: "bert", "roberta" or "distilbert"
    pooling: str = "first"  # how it was trained to represent a sentence: by its first token, or the "mean" of all
    lm_head: str = "pretrained"  # "untrained": published without one; "trained": by train_lm_head.py
    weights_dtype: str = "float32"  # as published; model.pt is always float32
    tokenizer_options: dict = field(default_factory=dict)  # WordPiece: lowercase, strip_accents, handle_chinese_chars
    trimmed_from: int = 0  # pieces of the published vocabulary, if --trim-to dropped any
    body: str = "bert"  # one of BODIES

    @property
    def encoder_class(self) -> type[Encoder]:
        """The body, as :class:`~salt_fairseq.modules.encoder.Encoder` describes it."""
        return BODIES[self.body]

    @property
    def vocabulary_sha256(self) -> str:
        """Identifies the vocabulary: data binarized with another one cannot be used with this PLM."""
        return self.sha256["dict.txt"]

    @classmethod
    def load(cls, plm_dir: str | Path) -> "Description":
        path = Path(plm_dir) / "plm.json"
        description = cls.from_dict(read_verified(path, "preprocess/import_plm.py"), path)
        if not description.sha256.keys() >= set(FILES):
            raise InputError(f"{path} does not name the hashes of {', '.join(FILES)}: import the PLM again with import_plm.py")
        return description

    @classmethod
    def from_json(cls, text: str, where: str | Path) -> "Description":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} does not describe a PLM ({error}): train again") from None
        return cls.from_dict(values, where)

    @classmethod
    def from_dict(cls, values: dict[str, Any], where: str | Path) -> "Description":
        try:
            if (
                not fits(values, SHAPE)
                or values["tokenizer"] not in MARKERS
                or values["separators"] not in (1, 2)
                or values.get("pooling", "first") not in POOLINGS
            ):
                raise TypeError("a value is missing or of another kind")
            architecture = BODIES[values.get("body", "bert")].architecture_class(**values["architecture"])
            return cls(**{**values, "architecture": architecture})
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"{where} does not describe a PLM ({error}): import it again with import_plm.py") from None

    def save(self, plm_dir: str | Path) -> None:
        write_with_checksum(Path(plm_dir) / "plm.json", asdict(self))

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def verify(self, plm_dir: str | Path, files: Iterable[str] = FILES) -> None:
        """Raise unless these files of the directory are, byte for byte, those that were imported."""
        for path in (Path(plm_dir) / name for name in files):
            if not path.is_file():
                raise InputError(f"{path} does not exist: import the PLM again with import_plm.py")
            if sha256(path) != self.sha256[path.name]:
                raise InputError(f"{path} is not the file plm.json describes: import the PLM again")

    def join(self, a: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
        """``[bos] a [eos]`` or ``[bos] a [eos] b [eos]`` (XLM-R: two eos between) from stored sentences.

        ``a`` and ``b`` are LongTensor (T,) that end with eos, as the data directory holds them.
        """
        parts = [torch.tensor([BOS]), a]
        if b is not None:
            parts += [torch.tensor([EOS])] * (self.separators - 1) + [b]
        return torch.cat(parts)


class PLM(nn.Module):
    """A multilingual masked LM.

    >>> from salt_fairseq.plm import PLM, pad
    >>> plm = PLM.load("plm/xlmr")
    >>> ids = plm.encode("A house by the sea.", "Das Haus am Meer.")  # LongTensor (T,), fairseq ids with specials
    >>> ids[0].item(), ids[-1].item()  # <s>, </s>
    (0, 2)
    >>> plm.decode(ids)
    'A house by the sea. Das Haus am Meer.'
    >>> batch = pad([ids, plm.encode("La mer")])  # LongTensor (B, T)
    >>> plm.logits(batch).shape == (2, len(ids), plm.description.architecture.vocabulary)
    True
    >>> plm.features(batch).shape == (2, len(ids), plm.description.architecture.dim)
    True
    """

    def __init__(self, description: Description, tokenizer: Tokenizer):
        super().__init__()
        self.description, self.tokenizer = description, tokenizer
        self.encoder = description.encoder_class(description.architecture)
        self.lm_head = LMHead(description.encoder_class, description.architecture)

    @classmethod
    def load(cls, plm_dir: str | Path, tokenizer: Tokenizer | None = None) -> "PLM":
        """The PLM of a directory that ``import_plm.py`` wrote, on the CPU, in fp32 and evaluation mode; ``tokenizer``: the
        directory's own, if it is loaded already."""
        description = Description.load(plm_dir)
        state = load_state(plm_dir, description)
        with without_weights():  # the tensors of the file become the parameters, with no second copy of a large model
            plm = cls(description, tokenizer or Tokenizer.load(plm_dir, description.tokenizer))
        try:
            plm.load_state_dict({k: v for k, v in state.items() if not k.startswith("pooler.")}, assign=True)
        except RuntimeError as error:
            mismatch = str(error).splitlines()[-1].strip()
            raise InputError(f"{plm_dir}/model.pt does not fit plm.json ({mismatch}): import the PLM again") from None
        return plm.eval()

    def encode(self, a: str, b: str | None = None) -> torch.Tensor:
        """Fairseq ids, LongTensor (T,), of a sentence or a pair, specials included, not truncated."""
        sentences = [torch.tensor(ids + [EOS]) for ids in self.tokenizer([a] if b is None else [a, b])]
        return self.description.join(*sentences)

    def decode(self, ids: torch.Tensor | Sequence[int]) -> str:
        """Text of ids, without specials."""
        return self.tokenizer.decode(ids.tolist() if isinstance(ids, torch.Tensor) else ids)

    @torch.inference_mode()
    def features(self, tokens: torch.Tensor) -> torch.Tensor:
        """LongTensor (B, T), right-padded with 1, to FloatTensor (B, T, d)."""
        return self.encoder(self._checked(tokens))

    @torch.inference_mode()
    def logits(self, tokens: torch.Tensor) -> torch.Tensor:
        """LongTensor (B, T), right-padded with 1, to FloatTensor (B, T, V): masked-LM scores of every token."""
        features = self.lm_head.features(self.encoder, self._checked(tokens))
        return self.lm_head(features, self.encoder.embed_tokens.weight)

    def _checked(self, tokens: torch.Tensor) -> torch.Tensor:
        longest = self.description.architecture.positions
        if tokens.dim() != 2 or tokens.shape[1] > longest:
            raise InputError(f"token ids of shape {tuple(tokens.shape)}: (B, T) with T <= {longest} is needed")
        return tokens


def load_state(plm_dir: str | Path, description: Description) -> dict[str, torch.Tensor]:
    """The tensors of ``model.pt`` by name, on the CPU, after verifying the file."""
    state = _load_model_pt(plm_dir, description).get("model")
    if not isinstance(state, dict) or not all(torch.is_tensor(t) and t.is_floating_point() for t in state.values()):
        raise InputError(f"{plm_dir}/model.pt does not fit plm.json (it holds no named weights): import the PLM again")
    for name, tensor in state.items():
        if tensor.numel() and not all(map(torch.isfinite, tensor.aminmax())):  # isfinite(tensor) would copy the embeddings
            raise InputError(f"{plm_dir}/model.pt: the weights {name} are not finite: import or train the PLM again")
    return state


def load_published(plm_dir: str | Path, description: Description) -> dict[str, Any]:
    """What an export needs besides :func:`load_state` to restore the published checkpoint.

    ``ids``: LongTensor (V,), the published id of each piece. ``rows``: unused rows of tensors, by the tensor's name here (in
    the vocabulary: those of ids without a piece, in order; in positions: the first; in segments: the last). ``tensors``: unused
    tensors, by their published names.
    """
    return _load_model_pt(plm_dir, description)["published"]


def _load_model_pt(plm_dir: str | Path, description: Description) -> dict[str, Any]:
    description.verify(plm_dir)
    path = Path(plm_dir) / "model.pt"
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a pickle may hold anything, so torch raises many kinds
        raise InputError(f"{path} does not hold a PLM ({str(error).splitlines()[0]}): import it again") from None
    check_tensors(path, saved)
    return saved


def pad(sequences: list[torch.Tensor]) -> torch.Tensor:
    """LongTensors (T_i,) to one LongTensor (B, max T_i), padded on the right."""
    return nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=PAD)
