"""What the report refuses, and what the sentences say."""

import json
import math

import pytest

from salt_fairseq.report import __main__ as report
from support.in_process import error_of
from support.result_files import evaluated, published

LABELS = [0, 1, 1, 0]
TARGETS = {"test.en": LABELS, "test.fr": LABELS}
RIGHT = {"test.en": LABELS, "test.fr": [0, 1, 1, 1]}


@pytest.fixture
def one(tmp_path):
    return evaluated(tmp_path / "one.json", TARGETS, RIGHT)


def refused(tmp_path, *words):
    return error_of(report, *words, "--out", tmp_path / "out")


def changed(path, to, change):
    """A copy of a results file after ``change`` was called on its content."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    to.write_text(json.dumps(content), encoding="utf-8")
    return to


def test_what_is_no_result(tmp_path):
    (tmp_path / "log.json").write_text("| test.fr | nothing\n", encoding="utf-8")
    (tmp_path / "empty.json").write_text("", encoding="utf-8")
    for name, content in (("list.json", []), ("none.json", {"checkpoints": []}), ("odd.json", {"checkpoints": [3]})):
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    for name, said in (
        ("absent.json", "does not exist: make it with python -m salt_fairseq.evaluate"),
        ("log.json", "cannot be read"),
        ("empty.json", "cannot be read"),
        ("list.json", "holds no checkpoints"),
        ("none.json", "holds no checkpoints"),
        ("odd.json", "is not as python -m salt_fairseq.evaluate writes"),
    ):
        message = refused(tmp_path, f"a={tmp_path / name}")
        assert name in message and said in message, message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words, said",
    [
        (["a"], "system a: NAME=FILE"),
        (["=x.json"], "NAME=FILE"),
        (["a=x.json,"], "NAME=FILE"),
        (["a=x.json", "a=y.json"], "a is given twice"),
        (["a b=x.json", "a/b=y.json"], "figures of a b and a/b"),
        (["a=x.json", "--baseline", "b"], "--baseline b is none of the systems"),
    ],
)
def test_command_line(tmp_path, words, said):
    assert said in refused(tmp_path, *words)


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda content: content["data"]["subsets"]["test.fr"]["sha256"].update(input0="other"), "sha256 of test.fr"),
        (lambda content: content["data"]["subsets"]["test.fr"].update(examples=5), "examples of test.fr"),
        (lambda content: content.update(labels=["yes", "no"]), "labels"),
        (lambda content: content["targets"].update({"test.fr": [1, 1, 1, 0]}), "targets of test.fr"),
    ],
)
def test_different_data(tmp_path, one, change, what):
    other = changed(one, tmp_path / "other.json", change)
    message = refused(tmp_path, f"a={one}", f"b={other}")
    assert message.startswith(f"{other} and {one} were evaluated on different data (the {what} differ)")


@pytest.mark.parametrize("accuracy", [-0.1, 100.1, math.nan, math.inf, "61", None, True])
def test_accuracies_that_are_none(tmp_path, accuracy):
    file = published(tmp_path / "p.json", {"test.en": 80, "test.fr": accuracy})
    assert f"{file}: the accuracy of test.fr is {accuracy!r}; it must be a percentage" in refused(tmp_path, f"a={file}")


def test_accuracy_that_contradicts_the_predictions(tmp_path, one):
    def change(content):
        content["checkpoints"][0]["accuracy"]["test.fr"] = 75.00001

    file = changed(one, tmp_path / "other.json", change)
    assert "the accuracy of test.fr is 75.00001, but its predictions and targets give 75.000000" in refused(tmp_path, f"a={file}")


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda content: content["checkpoints"][0]["predictions"].update({"test.fr": [0, 1, 1]}), "has 4 targets but 3 predictions"),
        (lambda content: content["checkpoints"][0]["predictions"].update({"test.fr": ["a", "b"]}), "are no list of label numbers"),
        (lambda content: content["targets"].update({"test.fr": [0, 1, [1], 0]}), "are no list of label numbers"),
        (lambda content: content["targets"].update({"test.fr": [0, 1, 1]}), "has 4 examples but 3 targets"),
        (lambda content: content.update(data=3), "data is not as"),
    ],
)
def test_targets_and_predictions(tmp_path, one, change, said):
    file = changed(one, tmp_path / "other.json", change)
    message = refused(tmp_path, f"a={file}")
    assert said in message and str(file) in message


def test_a_checkpoint_twice_is_not_two_seeds(tmp_path, one):
    def rename(content):
        content["checkpoints"][0]["path"] = "a copy.pt"

    copy = changed(one, tmp_path / "copy.json", rename)
    for again in (one, copy):
        message = refused(tmp_path, f"vanilla={one},{again}")
        assert f"{again} and {one} hold the same checkpoint" in message and "vanilla would count it as two seeds" in message


def test_missing_languages(tmp_path):
    two, three = (
        published(tmp_path / f"{len(languages)}.json", {f"test.{language}": 50.0 for language in languages}) for languages in (["en", "fr"], ["en", "fr", "de"])
    )
    said = f"{two} has no accuracy of test.de, which {three} names"
    assert said in refused(tmp_path, f"a={two}", f"b={three}") and said in refused(tmp_path, f"a={three}", f"b={two}")
    assert f"{two} has no accuracy of test.ru, which --languages names" in refused(tmp_path, f"a={two}", "--languages", "en,ru")
    assert "no language but en to average over" in refused(tmp_path, f"a={two}", "--languages", "en")
    for words in (["--source-language", "sw"], ["--languages", "fr"]):
        assert "no accuracy of the source language" in refused(tmp_path, f"a={two}", *words)
    assert "no accuracy of a subset valid.LANGUAGE" in refused(tmp_path, f"a={two}", "--split", "valid")


def test_seeds_on_different_pairs(tmp_path):
    seeds = [{"test.en": 80.0, "test.fr": 60.0}, {"test.en": 80.0, "test.fr": 60.0, "test.en-fr": 50.0}]
    file = published(tmp_path / "p.json", *seeds)
    assert "are seeds of a but were evaluated on different subsets (only one has en-fr)" in refused(tmp_path, f"a={file}")


def test_a_subset_under_two_names(tmp_path):
    file = published(tmp_path / "p.json", {"test.en": 80.0, "test.fr": 60.0, "test.fr-fr": 60.0})
    assert "has test.fr-fr twice, also as test.fr" in refused(tmp_path, f"a={file}")
