"""Subsets are added to a data directory without loss, replaced only with --replace, and other directories are left alone."""

import os
from pathlib import Path

import pytest

from preprocess import binarize
from salt_fairseq.candidates import open_candidates
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.storage.files import locked
from support.in_process import call, error_of
from support.small_world import assert_refused, listing

pytestmark = pytest.mark.slow


def files_of(directory, subset):
    return {name: hash for name, hash in listing(directory).items() if Path(name).stem == subset or f"/{subset}." in name}


def test_nothing_is_lost(here, capsys):
    """Neither other subsets, nor candidates, nor a lexicon; and what is added is what a directory of its own would hold."""
    before = listing("data")
    call(binarize, "plm", "data", "--subset", "test.de=test.fr.tsv", "valid.de=test.fr.tsv")
    said = capsys.readouterr().out
    assert "wrote data: 2 subsets, 8 examples" in said and said.endswith("; kept train, valid, test.en, test.fr\n")
    after = listing("data")
    assert {name: after[name] for name in before if name != "data/meta.json"} == {name: before[name] for name in before if name != "data/meta.json"}
    data = DataDirectory("data")
    assert list(data.meta["subsets"]) == ["train", "valid", "test.en", "test.fr", "test.de", "valid.de"]
    for name in data.meta["subsets"]:
        assert len(data.load(name).targets) == data.meta["subsets"][name]["examples"]
    assert len(open_candidates("data", "train", "fr")) == 12
    call(binarize, "plm", "other", "--labels", "no,yes", "--subset", "test.de=test.fr.tsv")
    assert {name.removeprefix("data"): hash for name, hash in files_of("data", "test.de").items()} == {
        name.removeprefix("other"): hash for name, hash in files_of("other", "test.de").items()
    }


def test_a_training_set_is_added_to_a_test_set(here):
    call(binarize, "plm", "new", "--labels", "no,yes", "--subset", "test.fr=test.fr.tsv")
    call(binarize, "plm", "new", "--subset", "train=train.tsv")
    assert Path("new/label/dict.txt").read_text() == "no 6\nyes 6\n"
    assert list(DataDirectory("new").meta["subsets"]) == ["test.fr", "train"]


def test_replacing_keeps_candidates_of_equal_sentences(here):
    before = listing("data/candidates") | listing("data/lexicons")
    call(binarize, "plm", "data", "--replace", "--subset", "train=train.tsv", "test.fr=train.tsv")
    assert before and listing("data/candidates") | listing("data/lexicons") == before
    assert DataDirectory("data").meta["subsets"]["test.fr"]["examples"] == 12
    Path("train.tsv").write_text(Path("train.tsv").read_text() + "99\ta house\ta cat\tno\n")
    call(binarize, "plm", "data", "--replace", "--subset", "train=train.tsv")
    assert not Path("data/candidates").exists() and not Path("data/lexicons").exists()
    assert list(DataDirectory("data").meta["subsets"]) == ["valid", "test.en", "test.fr", "train"]


def test_all_are_replaced(here):
    """Then nothing binds the new ones: other labels, single sentences."""
    Path("new.tsv").write_text("a house\tpro\nthe cat\tcon\n")
    call(binarize, "plm", "data", "--replace", "--subset", *(f"{name}=new.tsv" for name in ("train", "valid", "test.en", "test.fr")))
    data = DataDirectory("data")
    assert data.labels == ["pro", "con"] and not data.is_pairs and sorted(os.listdir("data")) == ["id", "input0", "label", "meta.json"]


def test_a_file_system_without_links(here, monkeypatch):
    def link(*unused):
        raise PermissionError

    monkeypatch.setattr(os, "link", link)
    before = listing("data/candidates")
    call(binarize, "plm", "data", "--subset", "test.de=test.fr.tsv")
    assert listing("data/candidates") == before and DataDirectory("data").load("test.en")


def rewrite(name, text):
    return lambda: Path(name).write_text(text)


HEADER = "sentence1\tsentence2\tlabel\n"
REFUSED = [  # words after --subset, what is done before, what the sentence says
    ("test.fr=test.fr.tsv", None, "data has test.fr already: name other subsets, or replace them with --replace"),
    ("train=train.tsv", None, ["data has train already", "--replace (other training sentences delete the candidates and lexicons)"]),
    ("test.de=test.fr.tsv --source-language de", None, "with source language en: add subsets with --source-language en"),
    # huggingface/optimum#197: data and model number the same labels in different orders, which swapped two of MNLI's
    ("test.de=test.fr.tsv --labels yes,no", None, "with the labels no,yes: add subsets with the same, in this order, --labels=no,yes"),
    ("test.de=x.tsv", rewrite("x.tsv", HEADER + "a\tb\tYes\n"), "x.tsv, line 2: label 'Yes' is none of no, yes, which has 'yes'; correct it"),
    ("test.de=x.tsv", rewrite("x.tsv", HEADER + "a\tb\t1\n"), "x.tsv, line 2: label '1' is none of no, yes; correct it, list all labels with --labels, name"),
    ("test.de=x.tsv", rewrite("x.tsv", HEADER + "a\tb\t-1\n" * 9), "x.tsv, line 2: label '-1' is none of no, yes"),
    ("test.de=x.tsv", rewrite("x.tsv", HEADER + "a\tb\t-\n" * 9), "x.tsv holds no examples"),
    ("test.de=x.tsv", rewrite("x.tsv", HEADER + "a\tb\t-\na\tb\tno\n" * 9), ["has the labels no, and 9 rows the label '-'", "--missing-label=-"]),
    ("test.de=x.tsv", rewrite("x.tsv", HEADER + "a\tb\tno\n" * 21), ["has the labels no, the same for all of its 21 examples", "--columns", "--labels"]),
    ("test.de=x.tsv", rewrite("x.tsv", "sentence\tlabel\na house\tno\n"), "some subsets are sentence pairs, others single sentences"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)), ids=[f"{case[0]}-{case[2]}"[:60] for case in REFUSED])
def test_refused(case, here):
    words, prepare, said = REFUSED[case]
    if prepare:
        prepare()
    assert_refused("binarize", f"plm data --subset {words}", said)


@pytest.mark.parametrize(
    "out, said",
    [
        ("data/candidates/fr", "data/candidates/fr lies in the data directory"),
        ("data/candidates/de", "lies in the data directory"),
        ("data/lexicons/muse", "lies in the data directory"),
        ("data/input0/more", "lies in the data directory"),
        ("plm", "plm exists and holds no meta.json: choose another output directory"),
    ],
)
def test_no_data_directory(out, said, here):
    assert_refused("binarize", f"plm {out} --replace --subset train=train.tsv", said)


def test_candidates_elsewhere(here):
    """A directory with a meta.json of its own; a data directory that is damaged."""
    Path("data/candidates/fr").rename("fr")
    assert_refused("binarize", "plm fr --replace --subset train=train.tsv", "fr/meta.json is not that of a data directory of this version")
    Path("data/meta.json").write_text(Path("data/meta.json").read_text().replace("yes", "yeah"))
    assert_refused("binarize", "plm data --replace --subset train=train.tsv", "data/meta.json is not that of a data directory of this version")


def test_another_plm(here):
    from support.tiny_plm import tiny_plm

    tiny_plm(Path("other"), "sentencepiece")
    said = "data has train, valid, test.en, test.fr, tokenized by tiny, another PLM than tiny: add subsets with that PLM"
    assert_refused("binarize", "other data --subset test.de=test.fr.tsv", said)
    tiny_plm(Path("lower"), lowercase=True)  # the same pieces
    assert_refused("binarize", "lower data --subset test.de=test.fr.tsv", said)


@pytest.mark.parametrize("name", ["data", "data/candidates", "data/lexicons/muse"])
def test_while_another_command_writes(name, here):
    """As distill.py and look_up.py hold the lock of what they write."""
    with locked(name):
        for words in ("test.de=test.fr.tsv", "train=train.tsv --replace"):
            message = error_of_another_process("plm", "data", "--subset", *words.split())
            assert message.startswith(f"{here / name} is being written by process {os.getpid()}"), message
    call(binarize, "plm", "data", "--subset", "test.de=test.fr.tsv")
    assert not list(Path("data").rglob("*.lock"))


def error_of_another_process(*words):
    """A process may lock again what it has locked."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        try:
            os.write(writing, error_of(binarize, *words).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with open(reading, encoding="utf-8") as file:
        return file.read()


def test_changed_meanwhile(here, monkeypatch):
    """By another command, after the directory was read and before it was locked."""
    from preprocess.text import data_writer

    read = data_writer.existing_data

    def overtaken(data, names, replace):
        existing = read(data, names, replace)
        monkeypatch.setattr(data_writer, "existing_data", read)
        call(binarize, "plm", "data", "--subset", "test.es=test.fr.tsv")
        return existing

    monkeypatch.setattr(data_writer, "existing_data", overtaken)
    assert "data was changed by another command meanwhile" in error_of(binarize, "plm", "data", "--subset", "test.de=test.fr.tsv")
    assert "test.es" in DataDirectory("data").meta["subsets"]
