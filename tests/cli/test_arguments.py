"""Options that several commands read the same way."""

import pytest

from salt_fairseq.cli.arguments import name_value_pairs
from salt_fairseq.errors import InputError


def test_pairs():
    """The first equals sign separates; order and values stay as they are typed."""
    assert name_value_pairs("--word-list", ["fr=b.txt", "zh-TW=a=1.txt", "de="]) == {"fr": "b.txt", "zh-TW": "a=1.txt", "de": ""}
    assert list(name_value_pairs("--subset", ["valid=x", "train=y"], "NAME=FILE", "train|valid")) == ["valid", "train"]
    assert name_value_pairs("--word-list", []) == {}


@pytest.mark.parametrize("text", ["fr.txt", "=fr.txt", "../fr=fr.txt", "fr de=fr.txt", ""])
def test_refused_pairs(text):
    with pytest.raises(InputError) as error:
        name_value_pairs("--word-list", ["en=en.txt", text])
    assert str(error.value) == f"--word-list {text}: LANG=FILE is needed"


def test_a_name_given_twice():
    with pytest.raises(InputError) as error:
        name_value_pairs("--subset", ["train=a.tsv", "valid=a.tsv", "train=b.tsv"], "NAME=FILE")
    assert str(error.value) == "--subset train=b.tsv: train is given twice, also as a.tsv; leave one of them out"


def test_only_whole_names_match():
    with pytest.raises(InputError, match="^--subset trains=a.tsv: NAME=FILE with NAME one of train, valid is needed$"):
        name_value_pairs("--subset", ["trains=a.tsv"], "NAME=FILE with NAME one of train, valid", "train|valid")
