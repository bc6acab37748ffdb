"""Text with a tag for each word: every layout gives the same data, checked by hand and against the library ``tokenizers``."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Fast

from preprocess import binarize
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.tokenizer import Tokenizer
from support.in_process import call, error_of
from support.tagged import SENTENCES, binarized, conll, conllu, jsonl, stored
from support.tiny_plm import SPECIALS, UNIGRAMS, WORDPIECES, tiny_plm

NAMES = ["O", "B-LOC", "I-LOC", "E-LOC", "S-PER", "B-MISC"]
PIECES = {  # of SENTENCES by hand: each word's first piece with its tag
    "wordpiece": [
        [("The", "O"), ("house", "B-MISC"), ("##boat", None), ("##s", None), ("sleeps", "O"), (".", "O")],
        [("big", "B-LOC"), ("peniche", "I-LOC"), ("Haus", "E-LOC"), ("##boot", None), (",", "O"), ("[UNK]", "S-PER"), ("cat", "O")],
        [("chat", "S-PER")],
        [("the", "O"), ("big", "O"), ("cat", "O")] * 3,
    ],
    "sentencepiece": [
        [("▁The", "O"), ("▁house", "B-MISC"), ("boat", None), ("s", None), ("▁sleeps", "O"), ("▁", "O"), (".", None)],
        [("▁big", "B-LOC"), ("▁pen", "I-LOC"), ("iche", None), ("▁Haus", "E-LOC"), ("boot", None), ("▁", "O"), (",", None)]
        + [("▁", "S-PER"), ("<unk>", None), ("▁cat", "O")],
        [("▁chat", "S-PER")],
        [("▁the", "O"), ("▁big", "O"), ("▁cat", "O")] * 3,
    ],
}
LAYOUTS = {
    "tabs": (conll(), "a.tsv", "CoNLL"),
    "blanks": ("-DOCSTART- -X- -X- O\n\n" + conll(separator=" ", between=["NN", "I-NP"]), "a", "CoNLL"),
    "tabs after a document": ("-DOCSTART- -X- O\n\n" + conll(), "a.tsv", "CoNLL"),
    "panx": (conll(prefix="en:"), "a.tsv", "PAN-X"),
    "panx with blanks": (conll(prefix="en:", separator=" "), "train", "PAN-X"),
    "conllu": (conllu(), "a.conllu", "CoNLL-U"),
    "conllu with comments of another kind": (conllu().replace("# ", "#"), "a.conllu", "CoNLL-U"),
    "jsonl": (jsonl(), "a.jsonl", "JSONL"),
    "array": (json.dumps([{"words": w, "tags": t} for w, t in SENTENCES]), "a.json", "JSON array"),
}


@pytest.fixture(scope="module", params=["wordpiece", "sentencepiece"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def plm(kind, tmp_path_factory):
    return tiny_plm(tmp_path_factory.mktemp(kind) / "plm", kind)


def by_hand(kind):
    bos, pad, eos, unk, mask = SPECIALS[kind]
    pieces = [bos, pad, eos, unk, *(WORDPIECES if kind == "wordpiece" else UNIGRAMS), mask]
    return [([*(pieces.index(piece) for piece, _ in s), 2], [*(tag for _, tag in s), None]) for s in PIECES[kind]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, kind, plm, tmp_path, capsys):
    text, name, format = LAYOUTS[layout]
    data = binarized(plm, tmp_path / "data", text, "--tags", "detect", name=name)
    assert stored(data) == by_hand(kind)
    assert data.labels == sorted(NAMES) and data.has_token_labels and data.meta["labelled"] == "tokens"
    entry = data.meta["subsets"]["train"]
    assert (entry["format"], entry["examples"], entry["words"], data.is_pairs) == (format, 4, 20, False)
    assert "20 words with tags" in capsys.readouterr().out


def test_columns_numbers_and_missing_tags(kind, plm, tmp_path):
    """Columns that are chosen, integers with names, and tags that are missing: those words stay, without a label."""
    chosen = conll([(t, w) for w, t in SENTENCES], between=["x"])
    assert stored(binarized(plm, tmp_path / "a", chosen, "--tags", "conll", "--columns", "token=3,tag=1")) == by_hand(kind)
    numbers = jsonl(names=NAMES, token="t", tag="n")
    options = ("--tags", "json", "--columns", "token=t,tag=n", "--label-names", ",".join(NAMES))
    data = binarized(plm, tmp_path / "b", numbers, *options)
    assert data.labels == NAMES and stored(data) == by_hand(kind)
    data = binarized(plm, tmp_path / "c", conll(), "--tags", "conll", "--missing-label", "S-PER")
    hand = [(ids, [None if tag == "S-PER" else tag for tag in tags]) for ids, tags in by_hand(kind)]
    del hand[2]
    words = {"wordpiece": [0, 1, 2, 4, 5, 6], "sentencepiece": [0, 1, 3, 5, 7, 9]}[kind]  # the one without a tag is among them
    assert data.load("train").targets.words(1).tolist() == words
    assert stored(data) == hand and data.meta["subsets"]["train"]["skipped"]["without tags"] == 1
    assert data.ids("train") == ["1", "2", "4"]


def test_parts_of_speech_have_all_labels_of_universal_dependencies(plm, tmp_path):
    data = binarized(plm, tmp_path / "data", conll([(["The", "cat", "sleeps", "."], ["DET", "NOUN", "VERB", "PUNCT"])]), "--tags", "detect")
    assert data.labels == "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()


@pytest.mark.parametrize("option, prefix", [("panx", "en:"), ("panx", ""), ("udpos", "")])
def test_published_files(option, prefix, plm, tmp_path):
    """XTREME's names of files, and PAN-X's own folders; the labels of several blocks and processes are those of one."""
    for name, language in (("train", "en"), ("dev", "en"), ("dev", "fr"), ("test", "fr"), ("train", "fr")):
        path = tmp_path / "in" / (f"{language}/{name}" if prefix else f"{name}-{language}.tsv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(conll(SENTENCES * 3, prefix=prefix and f"{language}:"), encoding="utf-8")
    call(binarize, plm, tmp_path / "data", f"--{option}", tmp_path / "in")
    data = DataDirectory(tmp_path / "data")
    assert set(data.meta["subsets"]) == {"train", "valid", "valid.en", "valid.fr", "test.fr"} and data.has_token_labels
    assert stored(data, "test.fr") == stored(data) and len(stored(data)) == 12


ERRORS = {
    "one column": ("word\n", "a", [], ["line 1", "a word and its tag are needed"]),
    "width": (conll() + "two words here\tO\textra\n", "a", [], ["line 25", "3 columns", "has 2"]),
    "empty word": ("a\tO\n \tO\n", "a", [], ["line 2", "the word is empty"]),
    "header": ("token\ttag\nThe\tO\n", "a", [], ["line 1", "header", "delete"]),
    "no tag": ("The\tO\ncat\t\n", "a", [], ["line 2", "cat has no tag", "--missing-label"]),
    "underscore": (conllu().replace("E-LOC", "_"), "a", [], ["line 15", "Hausboot has no tag", "--missing-label _"]),
    "no sentences": ("cat\tO\n" * 2001, "a", [], ["line 2001", "blank lines must separate"]),
    "exchanged": (conll([(t, w) for w, t in SENTENCES]), "a", [], ["12 different tags of 6 different words", "--columns token="]),
    "panx language": (conll(prefix="en:") + "de:cat\tO\n", "a", ["panx"], ["line 25", "does not begin with en:", "--tags conll"]),
    "panx, a word without language": (conll(prefix="en:") + "cat\tO\n", "a", [], ["line 25", "does not begin with en:", "--tags conll"]),
    "panx of two languages": (conll(prefix="en:") + conll(prefix="de:"), "a", [], ["line 25", "does not begin with en:"]),
    "no panx": (conll(), "a", ["panx"], ["line 1", "does not begin with LANG:"]),
    "conllu id": (conllu() + "\nx\t" + "_\t" * 8 + "_\n", "a", [], ["'x' is no number of a word"]),
    "lengths": ('{"tokens": ["a", "b"], "tags": ["O"]}\n', "a.jsonl", [], ["line 1", "2 tokens and 1 tags"]),
    "keys": ('{"tokens": ["a"], "pos_tags": ["X"], "ner_tags": ["O"]}\n', "a.jsonl", [], ["2 of which", "--columns token=tokens,tag=ner_tags"]),
    "no lists": ('{"tokens": "a b", "tags": ["O"]}\n', "a.jsonl", [], ["line 1", "tokens is no list"]),
    "names": ('{"tokens": ["a", "b"], "tags": [0, 7]}\n', "a.jsonl", ["json", "--label-names", "O,B-X"], ["line 1", "tag 7 has no name"]),
    "ignored": ('{"tokens": ["a", "b"], "tags": [0, -100]}\n', "a.jsonl", ["json", "--label-names", "O,B-X"], ["'-100' in line 1", "--missing-label=-100"]),
    "json by name": ('{"tokens": ["a"], "tags": ["O"]}\n', "a.txt", [], ["line 1", "looks like JSON", "--tags json"]),
    "sentences": ("The cat sleeps\tA cat\tyes\nThe big house\tHome\tno\n", "a", [], ["most words are sentences ('The cat sleeps')", "leave --tags out"]),
    "CR": (conllu().replace("\n", "\r"), "a", ["conllu"], ["(CR)", "convert"]),
    "no blank lines": ("cat\tO\nRome\tB-LOC\n" * 51, "a", [], ["is one sentence of 102 words: blank lines must separate"]),
    "one label": ("cat\tO\n" * 3, "a", [], ["fewer than two classes", "--labels"]),
    "columns": (conll(), "a", ["conll", "--columns", "token=1,tag=9"], ["line 1", "2 columns; --columns asks for others"]),
    "roles": (conll(), "a", ["conll", "--columns", "sentence1=1,label=2"], ["--columns token=1,tag=4"]),
    "quoting": (conll(), "a", ["conll", "--quoting", "csv"], ["--quoting with tags"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case, tmp_path, plm, kind):
    if kind == "wordpiece":
        text, name, options, said = ERRORS[case]
        (tmp_path / name).write_text(text, encoding="utf-8")
        message = error_of(binarize, plm, tmp_path / "data", "--tags", *(options or ["detect"]), "--subset", f"train={tmp_path / name}")
        assert all(part in message for part in said), message
        assert not (tmp_path / "data").exists()


def test_tags_that_are_numbers(plm, kind, tmp_path, capsys):
    """As datasets stores them: without names no entity is known."""
    text = '{"tokens": ["a", "b"], "tags": [0, 1]}\n'
    binarized(plm, tmp_path / "numbers", text, "--tags", "json", name="a.jsonl")
    assert "the tags are numbers, of which accuracy is measured" in capsys.readouterr().err
    data = binarized(plm, tmp_path / "names", text, "--tags", "json", "--label-names", "O,B-LOC", name="a.jsonl")
    assert data.labels == ["O", "B-LOC"] and capsys.readouterr().err == ""


def test_kinds_of_data_are_not_mixed(plm, tmp_path):
    data = binarized(plm, tmp_path / "data", conll(), "--tags", "detect")
    (tmp_path / "b.tsv").write_text("the cat\tO\nthe house\tB-LOC\n", encoding="utf-8")
    assert "with a label for each token: add subsets of that kind, with --tags" in error_of(
        binarize, plm, data.path, "--subset", f"test.fr={tmp_path / 'b.tsv'}"
    )
    binarized(plm, data.path, conll(SENTENCES[:1]), "--tags", "detect", name="b.txt", subset="test.fr")
    assert len(stored(DataDirectory(data.path), "test.fr")) == 1
    (tmp_path / "c.txt").write_text("cat\tB-LOC\nthe\tB-ORG\n", encoding="utf-8")
    message = error_of(binarize, plm, data.path, "--tags", "detect", "--subset", f"test.de={tmp_path / 'c.txt'}")
    assert f"{tmp_path / 'c.txt'}, line 2: label 'B-ORG' is none of" in message


WORDS = st.text(st.sampled_from("theHousebatsmaiknpc'.,3漢- "), min_size=1, max_size=12).filter(str.strip)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(st.lists(WORDS, min_size=1, max_size=8))
def test_words_are_read_as_transformers_reads_them(kind, plm, words):
    """``is_pretokenized`` of the library that transformers' fast tokenizers are: the same pieces of each word."""
    reference = Fast.from_file(str(plm / "tokenizer.json")).encode(words, is_pretokenized=True, add_special_tokens=False)
    (pieces,) = Tokenizer.load(plm, kind).pieces_of_words([words])
    assert [i for word in pieces for i in word] == reference.ids
    first = np.cumsum([0, *map(len, pieces)])[:-1]
    assert [reference.word_ids[at] for at, word in zip(first, pieces) if word] == [i for i, word in enumerate(pieces) if word]
