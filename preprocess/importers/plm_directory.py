"""A published masked LM as a PLM directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from preprocess.importers import embedded, fairseq_xlmr, hub, huggingface
from preprocess.importers.source import Source
from preprocess.importers.vocabulary import kind_of, separators_of, specials_of, used_ids, with_fairseq_ids
from preprocess.layouts.layout import WORDPIECE_OPTIONS
from preprocess.layouts.registry import LAYOUTS
from salt_fairseq.errors import InputError
from salt_fairseq.modules.bodies.registry import BODIES
from salt_fairseq.modules.encoder import PAD
from salt_fairseq.plm import FILES, PLM, Description
from salt_fairseq.storage.files import replacing, sha256
from salt_fairseq.tokenizer import Tokenizer

FAIRSEQ_SYMBOLS = {"<s>", "<pad>", "</s>", "<unk>"}
OF_VOCABULARY = ("encoder.embed_tokens.weight", "lm_head.bias")  # tensors with a row for each piece


def read(source: str | Path) -> Source:
    """The masked LM of a name or directory, whose files tell its layout."""
    directory = Path(source)
    if source == "embedded":
        return embedded.read()
    if directory.is_file():
        raise InputError(f"{source} is a file: give the directory that holds the model (unpack it first if it is an archive)")
    if not directory.is_dir():
        directory = hub.download(str(source))
    if (directory / "plm.json").is_file():
        raise InputError(f"{source} is a PLM directory already: use it as it is, or import what it was made from")
    if (directory / "model.pt").is_file() or (directory / "dict.txt").is_file():
        return fairseq_xlmr.read(directory)
    if (directory / "config.json").is_file():
        return huggingface.read(directory)
    raise InputError(f"{source} holds no model: it has neither config.json (Hugging Face) nor model.pt (fairseq)")


def import_plm(source: str | Path, plm_dir: str | Path, trim_to: Sequence[str | Path] = ()) -> Description:
    """Write the PLM directory of ``source``, trimmed to the vocabulary of the texts ``trim_to`` if there are any."""
    model = read(source)
    keep = used_ids(model.tokenizer, trim_to) if trim_to else None
    tokenizer, ids = with_fairseq_ids(model.tokenizer, keep)
    size = len(model.state[OF_VOCABULARY[0]])
    uncounted = model.rows.get("encoder.embed_positions.weight")
    if uncounted is not None and len(uncounted) != ids[PAD] + 1:  # positions then depend on a token that is none of padding
        raise InputError(
            f"{source}: pad_token_id is {len(uncounted) - 1}, where the tokenizer's padding has the id {ids[PAD]}: "
            "they do not belong together"
        )
    published = {
        "ids": torch.tensor(ids).argsort().argsort() if trim_to else torch.tensor(ids),
        "rows": {**model.rows, **_renumber(model, ids, source, keep_others=keep is None)},
        "tensors": model.tensors,
        "prefix": model.prefix,
    }
    specials = specials_of(tokenizer)
    kind, normalizer = kind_of(tokenizer), tokenizer["normalizer"] or {}
    with replacing(plm_dir, marker="plm.json", inputs=[source, *trim_to]) as directory:
        directory.mkdir()
        (directory / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
        pieces = Tokenizer.load(directory, kind).pieces
        try:
            body = LAYOUTS[model.family].body
            architecture = BODIES[body].architecture_class(vocabulary=len(pieces), **model.architecture)
        except ValueError as error:
            raise InputError(f"{source} describes a model that cannot be ({error}): download it again") from None
        # Specials are fairseq's own first four symbols, and <mask> is the one that its tasks append.
        (directory / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in _symbols(pieces)[4:-1]), encoding="utf-8")
        torch.save({"model": model.state, "published": published}, directory / "model.pt")
        description = Description(
            name=Path(source).name,
            source=str(source),
            tokenizer=kind,
            separators=separators_of(model.tokenizer, specials),
            special_tokens=dict(zip(("bos", "pad", "eos", "unk", "mask"), specials)),
            architecture=architecture,
            sha256={name: sha256(directory / name) for name in FILES},
            family=model.family,
            pooling=model.pooling,
            lm_head=model.lm_head,
            weights_dtype=model.weights_dtype,
            tokenizer_options={name: normalizer[name] for name in WORDPIECE_OPTIONS if name in normalizer},
            trimmed_from=size if trim_to else 0,
            body=body,
        )
        description.save(directory)
        del model, published  # a large model fits into memory once, not twice
        try:
            PLM.load(directory)
        except InputError as error:
            mismatch = str(error).partition("does not fit plm.json (")[2].rpartition(")")[0]
            raise InputError(f"{source}: the weights do not fit config.json ({mismatch}): download the model again") from None
    return description


def _symbols(pieces: list[str]) -> list[str]:
    """A symbol of dict.txt for each piece: the piece itself, if it has no line break and is none of fairseq's own symbols, as
    the HTML <s> and </s> of mmBERT's vocabulary are."""
    symbols, taken = list(pieces), {*pieces, *FAIRSEQ_SYMBOLS}
    for i, piece in enumerate(pieces[4:-1], 4):
        if piece in FAIRSEQ_SYMBOLS or "\n" in piece or "\r" in piece:
            symbol = piece.replace("\n", "␊").replace("\r", "␍")
            while symbol in taken:
                symbol += "_"
            symbols[i] = symbol
            taken.add(symbol)
    return symbols


def _renumber(model, ids, source, keep_others):
    """Give the vocabulary of ``model.state`` the new order ``ids``; returns the rows without a piece if they are to be kept."""
    others = {}
    for name in OF_VOCABULARY:
        every = torch.atleast_1d(model.state[name])
        if max(ids) >= len(every):
            raise InputError(
                f"{source}: the tokenizer has id {max(ids)}, but {name} only {len(every)} rows; "
                "tokenizer and weights do not belong together"
            )
        model.state[name] = every[ids]
        if keep_others and len(every) > len(ids):
            without_piece = torch.ones(len(every), dtype=torch.bool).index_fill_(0, torch.tensor(ids), False)
            others[name] = every[without_piece]
    for name, tensor in model.state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{source}: the weights {name} are not finite: download the model again")
    return others
