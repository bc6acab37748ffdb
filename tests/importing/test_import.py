"""An imported PLM computes what transformers computes, with fairseq's ids.

References: transformers' models and its BERT tokenizer, the sentencepiece library, fairseq's Dictionary.
"""

import doctest
import lzma
import shutil
from dataclasses import dataclass
from typing import Callable

import pytest
import sentencepiece
import torch
from fairseq.data import Dictionary
from safetensors.torch import load_file
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast, XLMRobertaForMaskedLM

from preprocess.import_plm import import_plm
from salt_fairseq import plm as plm_module
from salt_fairseq.plm import PLM, load_state, pad
from support.running import run
from support.zipped import zip_equal

pytestmark = pytest.mark.slow

INPUTS = [
    ("Tomorrow there will be sunshine all over the north.", None),
    ("He didn't call on 3 May 1999, did he?", "Nobody (yet) knows why!"),
    ("Oui", None),
    ("Sie hat die Übersetzung «да» nicht gelesen …", "你好, el número es 42; c'est l'été."),
]


@dataclass
class Reference:
    """The Hugging Face side of an imported PLM."""

    plm: PLM
    model: torch.nn.Module
    pieces: list  # of Hugging Face's ids
    sentence: Callable  # text to Hugging Face's ids, without special tokens
    specials: list  # its ids of bos, pad, eos, unk, mask
    separators: int

    @property
    def order(self):
        """Hugging Face's id of each of our ids: fairseq's specials first, the rest in order, the mask last."""
        others = [i for i in range(len(self.pieces)) if i not in self.specials]
        return [*self.specials[:4], *others, self.specials[4]]

    def run(self, inputs):
        """Logits and last hidden states (B, T, ...), and the ids with our numbering, lists without padding."""
        bos, padding, eos = self.specials[:3]
        rows, segments = [], []
        for a, b in inputs:
            first = [bos, *self.sentence(a), eos]
            second = [] if b is None else [*[eos] * (self.separators - 1), *self.sentence(b), eos]
            rows.append(first + second)
            segments.append([0] * len(first) + [int(self.separators == 1)] * len(second))
        longest = max(map(len, rows))
        done = self.model(
            input_ids=torch.tensor([r + [padding] * (longest - len(r)) for r in rows]),
            attention_mask=torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows]),
            token_type_ids=torch.tensor([s + [0] * (longest - len(s)) for s in segments]),
            output_hidden_states=True,
        )
        number = {theirs: ours for ours, theirs in enumerate(self.order)}
        return done.logits.detach(), done.hidden_states[-1].detach(), [[number[i] for i in row] for row in rows]


@pytest.fixture(scope="module")
def bert(bert_dir, bert_plm):
    tokenizer = BertTokenizerFast.from_pretrained(bert_dir)
    pieces = (bert_dir / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    specials = [pieces.index(p) for p in ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")]

    def sentence(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    return Reference(PLM.load(bert_plm), BertForMaskedLM.from_pretrained(bert_dir), pieces, sentence, specials, 1)


@pytest.fixture(scope="module")
def xlmr(xlmr_dir, xlmr_plm):
    """In XLM-R's numbering fairseq's four specials stand for sentencepiece's three, so ids move by one."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(xlmr_dir / "sentencepiece.bpe.model"))
    pieces = ["<s>", "<pad>", "</s>", "<unk>", *map(processor.id_to_piece, range(3, processor.vocab_size())), "<mask>"]
    model = XLMRobertaForMaskedLM.from_pretrained(xlmr_dir)
    return Reference(PLM.load(xlmr_plm), model, pieces, lambda text: [i + 1 if i else 3 for i in processor.encode(text)], [0, 1, 2, 3, len(pieces) - 1], 2)


@pytest.fixture(params=["bert", "xlmr"])
def reference(request):
    return request.getfixturevalue(request.param)


def assert_same(plm, reference, inputs):
    logits, features, ids = reference.run(inputs)
    encoded = [plm.encode(a, b) for a, b in inputs]
    assert [e.tolist() for e in encoded] == ids
    ours, ours_features = plm.logits(pad(encoded)), plm.features(pad(encoded))
    for i, row in enumerate(ids):
        torch.testing.assert_close(ours[i, : len(row)], logits[i, : len(row)][:, reference.order], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours_features[i, : len(row)], features[i, : len(row)], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("inputs", [INPUTS, *([i] for i in INPUTS)], ids=["batch", *"0123"])
def test_logits_and_features(reference, inputs):
    assert_same(reference.plm, reference, inputs)


def test_ids_of_nine_languages(reference, sentences):
    number = {theirs: ours for ours, theirs in enumerate(reference.order)}
    for text, ids in zip_equal(sentences, reference.plm.tokenizer(sentences)):
        assert ids == [number[i] for i in reference.sentence(text)], text


def test_ids_are_fairseqs(reference, request):
    plm_dir = request.getfixturevalue("bert_plm" if reference.separators == 1 else "xlmr_plm")
    dictionary = Dictionary.load(str(plm_dir / "dict.txt"))
    dictionary.add_symbol("<mask>")
    special = reference.plm.description.special_tokens
    assert [dictionary.bos(), dictionary.pad(), dictionary.eos(), dictionary.unk()] == [0, 1, 2, 3]
    assert list(special) == ["bos", "pad", "eos", "unk", "mask"]
    assert reference.plm.tokenizer.pieces == [*list(special.values())[:4], *dictionary.symbols[4:-1], special["mask"]]
    assert reference.plm.tokenizer.pieces == [reference.pieces[i] for i in reference.order]
    assert len(dictionary) == reference.plm.description.architecture.vocabulary


def test_decode(bert, xlmr):
    text = "Tomorrow there will be sunshine all over the north."
    assert xlmr.plm.decode(xlmr.plm.encode(text)) == text
    assert xlmr.plm.decode(xlmr.plm.encode(text, "Oui").tolist()) == f"{text} Oui"
    assert bert.plm.decode(bert.plm.encode("The house, and the garden.")) == "the house, and the garden."


@pytest.mark.parametrize("text", ["</s>", "one </s> two", "x<pad>y", "<s><mask>", "<unk>", "[SEP]", "a [MASK] b", "＜/s＞"])
def test_text_that_spells_a_special_token_is_text(reference, text):
    ids = reference.plm.encode(text).tolist()
    special = {0, 1, 2, reference.plm.description.architecture.vocabulary - 1}
    assert ids[0] == 0 and ids[-1] == 2 and not special & set(ids[1:-1])


def test_docstrings(xlmr_plm, tmp_path, monkeypatch):
    """The examples of salt_fairseq.plm run and print what they say."""
    (tmp_path / "plm").mkdir()
    (tmp_path / "plm" / "xlmr").symlink_to(xlmr_plm)
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(plm_module) == (0, 8)


def test_initial_values_are_not_drawn(bert_plm):
    """Neither for a PLM nor for a classifier of the same sizes. torch would import sympy for them."""
    code = """import sys
from salt_fairseq.models.salt_encoder import SaltEncoder, SaltEncoderConfig
from salt_fairseq.modules.encoder import without_weights
from salt_fairseq.plm import PLM
plm = PLM.load(sys.argv[1])
with without_weights():
    model = SaltEncoder(SaltEncoderConfig(plm_description=plm.description.to_json()), 3)
assert {p.device.type for p in model.parameters()} == {"meta"}
assert [p.shape for p in model.encoder.parameters()] == [p.shape for p in plm.encoder.parameters()]
print([name for name in ("sympy", "mpmath") if name in sys.modules])"""
    assert run("python", "-c", code, bert_plm).stdout == "[]\n"


def test_pooler(bert, bert_dir, bert_plm):
    theirs, ours = load_file(bert_dir / "model.safetensors"), load_state(bert_plm, bert.plm.description)
    assert bert.plm.description.architecture.pooler
    for part in ("weight", "bias"):
        assert torch.equal(ours[f"pooler.{part}"], theirs[f"bert.pooler.dense.{part}"])


def test_bert_body_with_sentencepiece(xlmr, xlmr_dir, tmp_path):
    """As multilingual MiniLM and E5 are: two token types of which one is used, embedding rows that have no piece."""
    source = tmp_path / "minilm"
    rows = len(xlmr.pieces) + 35
    config = BertConfig(
        vocab_size=rows, hidden_size=40, num_hidden_layers=2, num_attention_heads=5, intermediate_size=96, max_position_embeddings=160, initializer_range=0.2
    )
    model = BertForMaskedLM(config).eval()
    torch.nn.init.normal_(model.cls.predictions.bias)
    model.save_pretrained(source)
    shutil.copy(xlmr_dir / "sentencepiece.bpe.model", source)
    description = import_plm(source, tmp_path / "plm")
    assert (description.architecture.segments, description.separators) == (1, 2)
    assert description.architecture.vocabulary == len(xlmr.pieces)
    plm = PLM.load(tmp_path / "plm")
    assert_same(plm, Reference(plm, model, xlmr.pieces, xlmr.sentence, xlmr.specials, 2), INPUTS)


def test_first_releases_of_bert(bert, bert_dir, bert_plm, sentences, tmp_path):
    """pytorch_model.bin, LayerNorm's gamma and beta, and vocab.txt as the only tokenizer file."""
    tensors = load_file(bert_dir / "model.safetensors")
    old = {n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for n, t in tensors.items()}
    assert sum(n.endswith("gamma") for n in old) == 8
    (tmp_path / "old").mkdir()
    torch.save(old, tmp_path / "old" / "pytorch_model.bin")
    shutil.copy(bert_dir / "vocab.txt", tmp_path / "old")
    shutil.copy(bert_dir / "config.json", tmp_path / "old")
    description = import_plm(tmp_path / "old", tmp_path / "plm")
    new, old = load_state(bert_plm, bert.plm.description), load_state(tmp_path / "plm", description)
    assert new.keys() == old.keys() and all(torch.equal(new[n], old[n]) for n in new)
    assert PLM.load(tmp_path / "plm").tokenizer(sentences) == bert.plm.tokenizer(sentences)


@pytest.mark.parametrize("packed", [False, True])
def test_trim_to(reference, request, packed, sentences, tmp_path):
    """Text whose pieces are all kept has the same pieces, and the kept pieces the same logits."""
    source = request.getfixturevalue("bert_dir" if reference.separators == 1 else "xlmr_dir")
    text = tmp_path / ("text.txt.xz" if packed else "text.txt")
    with (lzma.open if packed else open)(text, "wt", encoding="utf-8") as file:
        file.write("".join(f"{s}\n" for s in sentences[:60]))
    import_plm(source, tmp_path / "plm", [text])
    trimmed, full = PLM.load(tmp_path / "plm"), reference.plm
    used = {full.tokenizer.pieces[i] for ids in full.tokenizer(sentences[:60]) for i in ids}
    single = {p for p in full.tokenizer.pieces if len(p.removeprefix("▁").removeprefix("##")) <= 1}
    wanted = used | single | set(full.description.special_tokens.values())
    assert trimmed.tokenizer.pieces == [p for p in full.tokenizer.pieces if p in wanted]
    kept = [full.tokenizer.pieces.index(p) for p in trimmed.tokenizer.pieces]
    inputs = list(zip(sentences[:20], sentences[20:40]))
    rows, full_rows = ([plm.encode(*i) for i in inputs] for plm in (trimmed, full))
    assert [[kept[i] for i in row] for row in rows] == [row.tolist() for row in full_rows]
    at = pad(full_rows) != 1
    torch.testing.assert_close(trimmed.logits(pad(rows))[at], full.logits(pad(full_rows))[at][:, kept], atol=1e-4, rtol=1e-4)
