"""Text becomes the ids that transformers' fast tokenizers give, pairs included, on ordinary and on hostile text.

References: transformers' AutoTokenizer on the directory that was imported; the sentencepiece library.
SALT_DATA names a directory with xnli/*.tsv and pawsx/x-final/LANG/*.tsv, all sentences of which are then compared.
"""

import json
import os
import random
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from preprocess.import_plm import import_plm
from salt_fairseq import tokenizer as tokenizer_module
from salt_fairseq.data.joining import truncated_lengths
from salt_fairseq.plm import PLM, load_published
from salt_fairseq.tokenizer import Tokenizer
from support.running import randomize
from support.zipped import zip_equal

pytestmark = pytest.mark.slow

DATA = os.environ.get("SALT_DATA")
HOSTILE = [
    "",
    " ",
    "\t",
    "\n",
    "\u3000",
    "\u00a0",
    "\u200b",
    "\ufeff",
    ".",
    "...",
    "▁",
    "▁▁ a ▁b",
    "##",
    "##s a##b",
    "a",
    "e\u0301te\u0301",
    "été",
    "E\u0301TE\u0301",
    "o\u0323\u0302 \u1ed9",
    "a" + "\u0301" * 50,
    "\u0301 alone",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘",
    "İstanbul ıSPARTA ẞtraße ſtop",
    "ΣΊΣΥΦΟΣ ΌΔΟΣ",
    "ǅ ǈ Ǌ",
    "ﬁnal ﬃ ㎏ ①② Ⅻ ｆｕｌｌ ｗｉｄｔｈ ﾊﾝｶｸ",
    "x² ½ ℌ",
    "K Å Ω",
    "한국어 \u1112\u1161\u11ab",
    "zero\u200bwidth\u200cjoin\u200ders\u2060word\ufeff",
    "soft\u00adhyphen",
    "\u202eright to left\u202c",
    "שָׁלוֹם עוֹלָם",
    "السَّلامُ عَلَيْكُمْ ٣٤",
    "abc \u2067עברית\u2069 def",
    "👩‍👩‍👧‍👦 👍🏽 🇫🇷🇩🇪 ❤️ 1️⃣ 🏴\U000e0067\U000e0062\U000e007f",
    "😀" * 30,
    "no\u00a0break\u202fspace\u2009thin\u3000wide",
    "a\tb\t\tc\n\nd\r\ne\x0bf\x0cg\x85h\u2028i\u2029j",
    "你好，世界。123元",
    "𠀀𠁠𪜀𫝀𬺰𰀀𱍐",
    "㐀㑁 \uf900 \U0002f800",
    "ｶﾞ がか\u3099",
    "नमस्ते क्षत्रिय",
    "ภาษาไทยไม่มีช่องว่าง",
    "မြန်မာ ខ្មែរ",
    "ᏣᎳᎩ ꮳꮃꭹ 𐐀𐐨",
    "\x00a\x01b\x7fc\x9fd",
    "\ufffd a\ufffdb",
    "\ue000 private \U000f0000",
    "\U0010ffff\ufffe\uffff",
    "a" * 10_000,
    "ab" * 5_000,
    "你" * 10_000,
    "é" * 10_000,
    "." * 10_000,
    "a." * 5_000,
    "a " * 5_000,
    "x" * 99 + " " + "x" * 100 + " " + "x" * 101,
    "don't can't l'été rock'n'roll U.S.A. e-mail C++ 3,141.59 50% $5 @x #y http://a.b/c?d=e&f",
    "_a_b_ `c` ~d^ [e] {f} |g\\ <h>",
    "« Qui ? » “no” ‘yes’ — – … ¿qué? ¡sí!",
]


def hostile_text():
    """The list above, and random mixtures: of it, and of any characters but surrogates."""
    rng = random.Random(1)
    short = [text for text in HOSTILE if len(text) < 200]
    assigned = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn"]
    mixed = ["".join(rng.choices(short, k=4)) for _ in range(150)] + [" ".join(rng.choices(short, k=4)) for _ in range(150)]
    return HOSTILE + mixed + ["".join(rng.choices(assigned, k=rng.randint(1, 40))) for _ in range(700)]


def wordpiece_dir(directory, sentences, **options):
    """A cased BERT whose vocabulary has the characters of the texts above, with and without ##, and frequent words."""
    words = [w for s in sentences[::4] for w in s.replace(".", " ").replace(",", " ").split() if w.isalpha()]
    characters = sorted({c for text in HOSTILE for c in text + unicodedata.normalize("NFD", text) if not c.isspace() and c.isprintable()})
    pieces = ["[PAD]", *(f"[unused{i}]" for i in range(1, 20)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *("##" + c for c in characters), *words]
    pieces = list(dict.fromkeys(pieces))
    directory.mkdir()
    (directory / "vocab.txt").write_text("".join(f"{p}\n" for p in pieces), encoding="utf-8")
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **options}))
    config = BertConfig(vocab_size=len(pieces), hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, max_position_embeddings=512)
    randomize(BertForMaskedLM(config), 1).save_pretrained(directory)
    return directory


WORDPIECES = {
    "cased": {"do_lower_case": False},
    "cased without accents": {"do_lower_case": False, "strip_accents": True},
    "lower case with accents": {"do_lower_case": True, "strip_accents": False},
    "Chinese uncut": {"do_lower_case": False, "tokenize_chinese_chars": False},
}


@pytest.fixture(scope="module", params=["uncased", "xlmr", *WORDPIECES])
def both(request, sentences, tmp_path_factory):
    """``(transformers' tokenizer, our PLM, LongTensor: its id of each of our ids)``."""
    directory = tmp_path_factory.mktemp("tokenizers")
    if request.param in WORDPIECES:
        source, plm_dir = wordpiece_dir(directory / "bert", sentences, **WORDPIECES[request.param]), directory / "plm"
        import_plm(source, plm_dir)
    else:
        kind = {"uncased": "bert"}.get(request.param, request.param)
        source, plm_dir = request.getfixturevalue(f"{kind}_dir"), request.getfixturevalue(f"{kind}_plm")
    plm = PLM.load(plm_dir)
    theirs = AutoTokenizer.from_pretrained(source)
    assert theirs.is_fast
    return theirs, plm, load_published(plm_dir, plm.description)["ids"]


def assert_same_ids(both, texts):
    theirs, plm, published = both
    number = published.tolist()
    for text, ids, expected in zip_equal(texts, plm.tokenizer(texts), theirs(texts, add_special_tokens=False)["input_ids"]):
        assert [number[i] for i in ids] == expected, repr(text[:200])


def test_sentences(both, sentences):
    assert_same_ids(both, sentences)


def test_hostile_text(both):
    texts = hostile_text()
    assert_same_ids(both, texts)
    tokenizer = both[1].tokenizer
    special = {0, 1, 2, len(tokenizer.pieces) - 1}
    assert not any(special & set(ids) for ids in tokenizer(texts))


def test_words_outlast_what_reads_text(both, sentences, monkeypatch):
    _, plm, _ = both
    kept, ids = Tokenizer(plm.tokenizer.path, plm.tokenizer.kind), [plm.encode(text) for text in sentences[:20]]
    kept.keep_words_only()
    with monkeypatch.context() as patched:
        patched.setattr(tokenizer_module, "FastTokenizer", None)
        for name in ("words", "starts_word", "has_letter", "caseless"):
            assert np.array_equal(getattr(kept, name), getattr(plm.tokenizer, name))
        assert all(np.array_equal(kept.whole_words(i), plm.tokenizer.whole_words(i)) for i in ids)
    assert kept(sentences[:20]) == plm.tokenizer(sentences[:20])
    assert kept.pieces == plm.tokenizer.pieces


def test_lone_surrogates(both):
    """They are no text; each is read as U+FFFD, and halves that belong together as what they spell."""
    tokenizer = both[1].tokenizer
    assert tokenizer(["a\ud83d b", "\udc00", "x\ud83d\ude00y"]) == tokenizer(["a\ufffd b", "\ufffd", "x😀y"])


def test_pairs(both):
    """With the model's own separators, and BERT's token types where they count: ours follow from the ids."""
    theirs, plm, published = both
    rng = random.Random(2)
    texts = [text for text in hostile_text() if len(text) < 200]
    for _ in range(200):
        a, b = rng.choices(texts, k=2)
        expected = theirs(a, b)
        ids = plm.encode(a, b)
        assert published[ids].tolist() == expected["input_ids"], (a, b)
        assert published[plm.encode(a)].tolist() == theirs(a)["input_ids"]
        if plm.description.architecture.segments == 2:
            assert (ids.eq(2).cumsum(0) - ids.eq(2).long()).clamp(max=1).tolist() == expected["token_type_ids"]


def test_truncation(both, sentences):
    """transformers' ``longest_first``, odd tokens included."""
    theirs, plm, _ = both
    rng = random.Random(3)
    for _ in range(400):
        a, b = rng.choices(sentences, k=2)
        ids = [len(plm.tokenizer([text])[0]) for text in (a, b)]
        specials = len(plm.encode(a, b)) - sum(ids)
        budget = rng.randint(2, sum(ids) + 3)
        encoded = theirs(a, b, max_length=budget + specials, truncation="longest_first").encodings[0]
        expected = [sum(s == side and not special for s, special in zip(encoded.sequence_ids, encoded.special_tokens_mask)) for side in (0, 1)]
        assert truncated_lengths(ids, budget) == expected, (ids, budget)


@pytest.mark.skipif(not DATA, reason="XNLI and PAWS-X are no part of the project: set SALT_DATA to a directory with xnli/ and pawsx/")
def test_evaluation_sets(both):
    files = sorted(Path(DATA).glob("xnli/*.tsv")) + sorted(Path(DATA).glob("pawsx/x-final/*/*.tsv"))
    assert files
    for file in files:
        texts = {field for line in file.read_text(encoding="utf-8").split("\n") for field in line.split("\t")}
        assert_same_ids(both, sorted(texts))


def test_tokenizer_json_and_its_configuration(sentences, tmp_path):
    """tokenizer.json alone is read as it is; what tokenizer_config.json says of words goes first, as in transformers."""
    source = wordpiece_dir(tmp_path / "bert", sentences, do_lower_case=False)
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path / "saved")
    (source / "vocab.txt").unlink()
    (source / "tokenizer_config.json").unlink()
    shutil.copy(tmp_path / "saved" / "tokenizer.json", source)
    ids = {}
    for name, config in (("alone", None), ("cased", {"do_lower_case": False}), ("lower", {"do_lower_case": True})):
        if config is not None:
            (source / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **config}))
            expected = AutoTokenizer.from_pretrained(source)(sentences[:300], add_special_tokens=False)["input_ids"]
        description = import_plm(source, tmp_path / name)
        published = load_published(tmp_path / name, description)["ids"]
        ids[name] = [published[torch.tensor(i, dtype=torch.long)].tolist() for i in PLM.load(tmp_path / name).tokenizer(sentences[:300])]
        assert config is None or ids[name] == expected
        assert description.tokenizer_options == {"lowercase": name == "lower", "strip_accents": None, "handle_chinese_chars": True}
    assert ids["alone"] == ids["cased"] != ids["lower"]
