"""What salt train refuses before it does anything, each with a sentence that says what to do."""

import json
import sys

import pytest

from preprocess.text.readers import Example
from salt_fairseq import api
from salt_fairseq.errors import InputError
from salt_fairseq.pipeline import train
from salt_fairseq.pipeline.inputs import held_out
from salt_fairseq.pipeline.rows import rows_of
from salt_fairseq.pipeline.systems import System, names

ROWS = [(f"sentence {i}", f"other {i}", "yes" if i % 3 else "no") for i in range(30)]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "train.tsv").write_text("sentence1\tsentence2\tlabel\n" + "".join("\t".join(row) + "\n" for row in ROWS))
    (tmp_path / "few.tsv").write_text("a cat\tb\tyes\na dog\td\tno\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("")
    (tmp_path / "bad.yaml").write_text("epoch: 3\n")
    (tmp_path / "odd.yaml").write_text("seeds: many\n")
    return tmp_path


@pytest.mark.parametrize(
    "words, said",
    [
        ("", "nothing to train on"),
        ("--train train.tsv --out new", "--model is missing"),
        ("--model embedded --train train.tsv --out new", "--targets is missing, and SALT needs the languages to transfer to"),
        ("--model embedded --train train.tsv --system RS-DA --out new", "--system RS-DA takes substitutes from files: name them with --synonyms"),
        ("--model embedded --train few.tsv --targets fr --out new", "--train has only 2 examples, too few to hold some out"),
        ("--model embedded --train train.tsv --targets fr --out full", "--out full exists and holds no run.yaml"),
        ("--model embedded --train none.tsv --targets fr --out new", "none.tsv"),
        ("--model embedded --train train.tsv --targets fr --out new --hold-out all", "--hold-out all: a percentage between 0 and 100"),
        ("--model embedded --train train.tsv --targets fr --out new --test fr", "--test fr: LANG=FILE is needed"),
        ("--model embedded --train - --targets fr --out new", "standard input cannot be read again when the run goes on"),
        ("--model embedded --train train.tsv --targets fr --out new --test fr=-", "standard input cannot be read again"),
        ("--config none.yaml", "none.yaml does not exist"),
        ("--config bad.yaml", "bad.yaml has the setting 'epoch', which there is not"),
        ("--config odd.yaml", 'odd.yaml: seeds is "many", and should be'),
    ],
)
def test_refused(here, monkeypatch, words, said):
    before = set(here.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["salt train", *words.split()])
    with pytest.raises(InputError) as error:
        train.main()
    assert said in str(error.value) and "\n" not in str(error.value), error.value
    assert set(here.rglob("*")) == before


def test_systems_are_those_of_the_recipes():
    """What each YAML says, with base.yaml's four languages where it names none."""
    assert System.read("vanilla").augment("en", ["fr"]) == [] and System.read("vanilla").streams([]) == 1
    assert System.read("SALT").augment("de", ["fr", "de"]) == ["de", "fr"]
    assert System.read("SALT-en-only").augment("en", ["fr"]) == ["en"]
    assert System.read("SALT-without-mixup").augment("en", ["fr", "es"]) == ["en", "fr", "es"]
    assert System.read("SALT").streams(["en", "fr"]) == 3
    lexical = System.read("RS-DA")
    assert (lexical.lexicon, lexical.streams([]), lexical.needs_targets) == ("synonyms", 3, False)
    assert all(System.read(name).name == name for name in names())
    with pytest.raises(InputError, match="^--system BERT is none of "):
        System.read("BERT")


def test_held_out_whatever_the_order():
    """100 examples, every premise in two: ten are held out, both of a premise, the same ones in any order."""
    examples = [Example(i, f"premise {i // 2}", f"hypothesis {i}", "yes", i) for i in range(100)]
    chosen = held_out(examples, 10)
    ids = {example.id for example, out in zip(examples, chosen) if out}
    assert len(ids) == 10 and all(i ^ 1 in ids for i in ids)
    assert ids == {example.id for example, out in zip(examples[::-1], held_out(examples[::-1], 10)) if out}
    assert ids != {example.id for example, out in zip(examples, held_out(examples, 10, seed=1)) if out}


class Table:
    """As much of a pandas.DataFrame as is used."""

    columns = ["text", "label"]

    def to_dict(self, orient):
        assert orient == "records"
        return [{"text": "a", "label": float("nan")}, {"text": "b", "label": 1}]


class Names:
    """A datasets.ClassLabel."""

    def int2str(self, number):
        return ["no", "yes"][number]


class Dataset(list):
    features = {"text": object(), "label": Names()}


def test_rows():
    assert list(rows_of(Table())) == [{"text": "a", "label": None}, {"text": "b", "label": 1}]
    assert list(rows_of(Dataset([{"text": "a", "label": 1}]))) == [{"text": "a", "label": "yes"}]
    assert list(rows_of([("a", "yes"), ("a", "b", "no")])) == [
        {"sentence1": "a", "label": "yes"}, {"sentence1": "a", "sentence2": "b", "label": "no"}
    ]  # fmt: skip
    with pytest.raises(InputError, match="^row 2 is 'text': a mapping, "):
        list(rows_of([("a", "yes"), "text"]))


def test_data_in_memory_are_files_named_by_their_content(here, monkeypatch):
    """The same rows are the same file, so that a repeated call goes on."""
    planned = []
    monkeypatch.setattr("salt_fairseq.pipeline.plan.make_plan", lambda given: planned.append(given))
    monkeypatch.setattr("salt_fairseq.pipeline.run.run", lambda plan, given: "nowhere")
    for rows in (ROWS, ROWS, ROWS[1:]):
        with pytest.raises(InputError, match="^nowhere holds no classifier"):
            api.train(model="embedded", train=rows, targets=("fr",), out="new", batch_size=8)
    first, second, third = (given["train"] for given in planned)
    assert first == second != third and planned[0]["targets"] == ["fr"] and planned[0]["batch_size"] == 8
    assert [tuple(json.loads(line).values()) for line in open(first)] == ROWS
