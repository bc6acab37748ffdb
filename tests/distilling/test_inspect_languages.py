"""Which languages can serve: every number of the table worked by hand for a vocabulary of a few words."""

import re

import pytest

from preprocess import inspect_languages
from preprocess.distillation import target_vocabularies
from support.in_process import call, error_of
from support.tiny_plm import binarized, tiny_plm

LISTS = {
    # grande is two pieces, Katze is katze, dom and дом are none; more than half as frequent in English: le (.4, and .25 here).
    "en": "the 6\nle 4\n",
    "fr": "la 4\nle 3\nmaison 2\nchat 1\nдом 1\ngrande 1\n",
    "ru": "la 4\nдом 2\n",
    "xx": "Katze 3\nдом 1\n",
}


@pytest.fixture(scope="module")
def plm(tmp_path_factory):
    return tiny_plm(tmp_path_factory.mktemp("tiny") / "plm")


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """The options that name the lists of some languages; English is the only language that they are compared with."""
    monkeypatch.setattr(target_vocabularies, "REFERENCES", ("en",))
    for language, text in LISTS.items():
        (tmp_path / language).write_text(text, encoding="utf-8")
    return lambda *languages: ["--languages", ",".join(languages), "--word-list", *(f"{k}={tmp_path / k}" for k in {"en", *languages})]


def rows(capsys):
    """Language to the cells of its row, and the lines on stderr and the last one of the table."""
    printed = capsys.readouterr()
    table = [re.split(r"\s{2,}", line) for line in printed.out.splitlines()]
    return {row[0]: row[1:] for row in table[1:-2]}, printed.err.splitlines(), printed.out.splitlines()[-1]


def test_numbers(plm, lists, capsys):
    call(inspect_languages, plm, *lists("fr", "ru", "xx"), "--device", "cpu")
    table, warnings, last = rows(capsys)
    assert list(table) == ["fr", "xx", "ru"] and not warnings
    assert table["fr"][:8] == ["weak", "Latn", "6", "5", "4", "66.7%", "1", "3"]
    assert table["xx"][:8] == ["weak", "any", "2", "2", "1", "50.0%", "0", "1"]
    assert table["ru"] == ["cannot serve", "Cyrl", "2", "1", "0", "0.0%", "0", "0"], "without examples"
    assert last == "recommended: another PLM, none of these is a good target; weak (words): fr 3, xx 1; cannot serve (words): ru 0"
    for language, words in (("fr", {"la", "maison", "chat"}), ("xx", {"katze"})):
        pairs = [pair.split("→") for pair in table[language][8].split(", ")]
        assert {target for _, target in pairs} <= words and {source for source, _ in pairs} <= {"house", "the", "The", "t", "s", "a"}


def test_good_language(plm, lists, capsys, monkeypatch):
    monkeypatch.setattr(target_vocabularies, "FEW", 3)
    call(inspect_languages, plm, *lists("xx", "fr"), "--device", "cpu", "--keep-shared-words")
    table, _, last = rows(capsys)
    assert table["fr"][0] == "good" and table["fr"][6:8] == ["0", "4"]
    assert last == "recommended: --languages fr, best first; weak (words): xx 1"


def test_sentences(plm, lists, tmp_path, capsys):
    """Examples are from the user's text or data; where no sentence of the source language is known, there are none."""
    data = binarized(plm, tmp_path / "data", [("big cat", "sleeps"), ("big", "cat"), ("big cat big", "cat")])
    (tmp_path / "text").write_text("\nbig cat\n\ncat 3\n", encoding="utf-8")
    for source in (["--text", tmp_path / "text"], ["--data", data]):
        call(inspect_languages, plm, *lists("fr"), *source, "--device", "cpu")
        table, *_ = rows(capsys)
        assert {pair.split("→")[0] for pair in table["fr"][8].split(", ")} == {"big", "cat"}
    call(inspect_languages, plm, *lists("fr", "xx"), "--source-language", "fr", "--device", "cpu")
    table, *_ = rows(capsys)
    assert len(table["xx"]) == 8
    (tmp_path / "text").write_text("housesboat sleepss\n" * 3, encoding="utf-8")
    call(inspect_languages, plm, *lists("fr"), "--text", tmp_path / "text", "--device", "cpu")
    assert rows(capsys)[1] == [
        "warning: only 0.0% of the tokens with a letter are whole words (source language en), so hardly anything can be substituted: use --positions tokens"
    ]


def test_refusals(plm, lists, tmp_path):
    assert "no word list for language 'sw' in wordfreq" in error_of(inspect_languages, plm, "--languages", "sw")
    assert "this list is not used" in error_of(inspect_languages, plm, *lists("fr"), "--word-list", f"ru={tmp_path / 'ru'}")
    assert "text.txt cannot be read" in error_of(inspect_languages, plm, *lists("fr"), "--text", tmp_path / "text.txt")
    assert "does not exist" in error_of(inspect_languages, plm, *lists("fr"), "--data", tmp_path / "absent")
