"""Where words begin and end, worked by hand for a WordPiece and a SentencePiece vocabulary."""

import json

import numpy as np
import pytest

from preprocess.importers.tokenizer_files import nmt_nfkc, unigram
from preprocess.importers.vocabulary import with_fairseq_ids
from salt_fairseq.plm import PLM
from salt_fairseq.tokenizer import Tokenizer

WORDPIECES = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "house", "##s", "##boat", "don", "t", "'", ".", "(", "the", "3", "##rd", "##", "[MASK]"]
UNIGRAMS = ["<s>", "<pad>", "</s>", "<unk>", "▁house", "s", "boat", "▁don", "t", "'", ".", "▁(", "house", "▁", "▁3", "rd", "▁the", "<mask>"]

# Pieces of a sentence, the words in them.
WORDPIECE = [
    ("house", [(0, 1, "house")]),
    ("house .", [(0, 1, "house")]),
    ("the house ##boat ##s . [SEP]", [(0, 1, "the"), (1, 4, "houseboats")]),
    ("don ' t", [(0, 1, "don"), (2, 3, "t")]),
    ("( house", [(1, 2, "house")]),
    ("3 ##rd house", [(2, 3, "house")]),
    ("[CLS] [UNK] house [MASK] the [SEP]", [(2, 3, "house"), (4, 5, "the")]),
    ("##s ## house", [(2, 3, "house")]),
    ("[SEP]", []),
]
SENTENCEPIECE = [
    ("▁house", [(0, 1, "house")]),
    ("▁house .", [(0, 1, "house")]),
    ("▁the ▁house boat s . </s>", [(0, 1, "the"), (1, 4, "houseboats")]),
    ("▁don ' t", [(0, 1, "don")]),
    ("▁( house ▁the", [(2, 3, "the")]),
    ("▁3 rd ▁house", [(2, 3, "house")]),
    ("▁ rd s ▁house", [(0, 3, "rds"), (3, 4, "house")]),
    ("▁ . ▁ ▁the ▁", [(3, 4, "the")]),
    ("<s> <unk> ▁house <mask> ▁the </s>", [(2, 3, "house"), (4, 5, "the")]),
]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    """Tokenizers of the pieces above, in both kinds."""
    values = {
        "wordpiece": {
            "model": {
                "type": "WordPiece",
                "unk_token": "[UNK]",
                "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100,
                "vocab": {p: i for i, p in enumerate(WORDPIECES)},
            },
            "added_tokens": [
                {"id": WORDPIECES.index(p), "content": p, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                for p in WORDPIECES
                if p.startswith("[")
            ],
        },
        "sentencepiece": unigram([(p, -1.0) for p in UNIGRAMS], nmt_nfkc()),
    }
    found = {}
    for kind, value in values.items():
        directory = tmp_path_factory.mktemp(kind)
        (directory / "tokenizer.json").write_text(json.dumps(with_fairseq_ids(value)[0]), encoding="utf-8")
        found[kind] = Tokenizer.load(directory, kind)
    return found


@pytest.mark.parametrize("kind, pieces, spans", [("wordpiece", *c) for c in WORDPIECE] + [("sentencepiece", *c) for c in SENTENCEPIECE])
def test_by_hand(tokenizers, kind, pieces, spans):
    tokenizer = tokenizers[kind]
    ids = [tokenizer.pieces.index(p) for p in pieces.split()]
    assert tokenizer.word_spans(ids) == tokenizer.word_spans(np.array(ids)) == spans


def test_no_ids(tokenizers):
    assert [t.word_spans([]) for t in tokenizers.values()] == [[], []]


@pytest.mark.parametrize("plm", ["bert_plm", "xlmr_plm"])
def test_agrees_with_whole_words(plm, request, sentences):
    """On 3,000 sentences the spans of length one are the whole words, and spans are disjoint and in order."""
    tokenizer = PLM.load(request.getfixturevalue(plm)).tokenizer
    longer = 0
    for ids in tokenizer(sentences):
        spans = tokenizer.word_spans(ids)
        assert [start for start, end, _ in spans if end - start == 1] == np.flatnonzero(tokenizer.whole_words(ids)).tolist()
        borders = [border for start, end, _ in spans for border in (start, end)]
        assert borders == sorted(borders) and all(any(c.isalpha() for c in text) for *_, text in spans)
        longer += sum(end - start > 1 for start, end, _ in spans)
    assert longer > 1000
