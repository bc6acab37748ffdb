"""Bad input ends in one sentence that names file and line, and leaves the data directory as it was."""

import pytest

from preprocess import binarize
from support.in_process import call, error_of
from support.running import run

GOOD = b"A house\tA garden\t1\nThe dog\tThe cat\t0\n"
HEADER = b"id\tsentence1\tsentence2\tlabel\n"

# Content of train.tsv or train.jsonl, and what the sentence must say ({file}: the path).
CASES = {
    "unequal columns": ("tsv", GOOD + b"A house\t1\n", "{file}, line 3: 2 columns where line 1 has 3"),
    "unequal columns under a header": ("tsv", HEADER + b"1\ta\tb\t0\n2\ta\tb\n", "{file}, line 3: 3 columns where line 1 has 4"),
    "too many columns and no header": ("tsv", b"a\tb\tc\t1\n", "{file}, line 1: 4 columns and no header"),
    "header without label": ("tsv", b"id\tsentence1\tsentence2\tverdict\n1\ta\tb\t0\n", "{file}, line 1: 4 columns and no header"),
    "one column": ("tsv", b"just text\n", "{file}, line 1: 1 columns and no header"),
    "empty first sentence": ("tsv", GOOD + b"\tThe cat\t0\n", "{file}, line 3: sentence1 is empty"),
    "blank second sentence": ("tsv", HEADER + b"1\tThe cat\t \xc2\xa0\t0\n", "{file}, line 2: sentence2 is empty"),
    "invisible sentence": ("tsv", GOOD + "\u200b\u200b\tThe cat\t0\n".encode(), "{file}, line 3: the sentence has no visible"),
    "duplicate id": ("tsv", HEADER + b"5\ta\tb\t0\n6\ta\tb\t0\n5\tc\td\t1\n", "{file}, line 4: id 5 stands on line 2"),
    "empty label": ("tsv", GOOD + b"a\tb\t\n", "{file}, line 3: the label is empty"),
    "not UTF-8": ("tsv", GOOD + "für\tb\t1\n".encode("latin-1"), "{file}, line 3: not UTF-8"),
    "UTF-16": ("tsv", GOOD.decode().encode("utf-16"), "{file}, line 1: not UTF-8"),
    "empty file": ("tsv", b"", "{file} holds no examples"),
    "header alone": ("tsv", HEADER, "{file} holds no examples"),
    "only untranslated": ("tsv", b"NS\tNS\t0\n", "{file} holds no examples"),
    "wrong language": ("tsv", b"language\tsentence1\tsentence2\tlabel\nfr\ta\tb\t0\n", "{file} holds no examples in language 'en'"),
    "bad JSON": ("jsonl", b'{"sentence1": "a", "sentence2": "b", "label": 1}\n{"sentence1": \n', "{file}, line 2: not a JSON object"),
    "JSON list": ("jsonl", b'["a", "b", 1]\n', "{file}, line 1: not a JSON object"),
    "JSON number": ("jsonl", b"17\n", "{file}, line 1: not a JSON object"),
    "JSON without label": ("jsonl", b'\n{"sentence1": "a", "sentence2": "b"}\n', "{file}, line 2: the object needs the keys"),
    "JSON null": ("jsonl", b'{"sentence1": "a", "sentence2": null, "label": 1}\n', "{file}, line 1: sentence2 is null, not text"),
    "single and pair": (
        "jsonl",
        b'{"sentence1": "a", "label": 1}\n{"sentence1": "a", "sentence2": "b", "label": 1}\n',
        "{file}: some examples have one sentence, others two",
    ),
}


@pytest.fixture
def data(xlmr_plm, tmp_path):
    """A data directory, and the check that it is untouched afterwards."""
    (tmp_path / "good.tsv").write_bytes(GOOD)
    call(binarize, xlmr_plm, tmp_path / "out" / "data", "--subset", f"train={tmp_path / 'good.tsv'}")

    def content():
        return {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}

    before = content()
    yield tmp_path / "out" / "data"
    assert content() == before
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["data"]


@pytest.mark.parametrize("case", CASES)
def test_bad_file(case, data, xlmr_plm, tmp_path):
    suffix, content, expected = CASES[case]
    file = tmp_path / f"train.{suffix}"
    file.write_bytes(content)
    message = error_of(binarize, xlmr_plm, data, "--subset", f"train={file}")
    assert message.startswith(expected.format(file=file)), message


@pytest.mark.parametrize("name", ["train1", "dev", "test.", "valid.en-de", "../test", "", "Train"])
def test_bad_subset_name(name, data, xlmr_plm, tmp_path):
    message = error_of(binarize, xlmr_plm, data, "--subset", f"{name}={tmp_path / 'good.tsv'}")
    assert message.startswith(f"--subset {name}=") and "valid.LANG" in message


def test_bad_options(data, xlmr_plm, tmp_path):
    good = f"train={tmp_path / 'good.tsv'}"
    assert "nothing to binarize" in error_of(binarize, xlmr_plm, data)
    assert "NAME=FILE" in error_of(binarize, xlmr_plm, data, "--subset", str(tmp_path / "good.tsv"))
    for layout in ("xnli", "pawsx", "xtreme"):
        assert "no such directory" in error_of(binarize, xlmr_plm, data, f"--{layout}", tmp_path / "absent")
        assert f"the layout of {layout}" in error_of(binarize, xlmr_plm, data, f"--{layout}", tmp_path)
    assert str(tmp_path / "plm.json") in error_of(binarize, tmp_path, data, "--subset", good)
    message = error_of(binarize, xlmr_plm, data, "--subset", good, "--labels", "yes,no")
    assert message == f"{tmp_path / 'good.tsv'}, line 1: label '1' is none of yes, no"
    assert "twice" in error_of(binarize, xlmr_plm, data, "--subset", good, "--labels", "0,1,0")


def test_label_that_training_lacks(data, xlmr_plm, tmp_path):
    (tmp_path / "test.tsv").write_bytes(GOOD + b"a\tb\t2\n")
    message = error_of(binarize, xlmr_plm, data, "--subset", f"train={tmp_path / 'good.tsv'}", f"test.de={tmp_path / 'test.tsv'}")
    assert message == f"{tmp_path / 'test.tsv'}, line 3: label '2' is none of 0, 1"


def test_single_and_pair_subsets(data, xlmr_plm, tmp_path):
    (tmp_path / "single.tsv").write_bytes(b"a\t1\n")
    message = error_of(binarize, xlmr_plm, data, "--subset", f"train={tmp_path / 'good.tsv'}", f"valid={tmp_path / 'single.tsv'}")
    assert message == f"{tmp_path / 'single.tsv'}: some subsets are sentence pairs, others single sentences"


def test_output_that_is_not_ours(data, xlmr_plm, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for output in (tmp_path / "mine", tmp_path / "good.tsv", tmp_path / "good.tsv" / "data"):
        assert "choose another output" in error_of(binarize, xlmr_plm, output, "--subset", f"train={tmp_path / 'good.tsv'}")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_on_the_command_line(data, xlmr_plm, tmp_path):
    """Exit code 1 and one line on stderr, after a progress bar if one has begun."""
    absent, bad = tmp_path / "absent.tsv", tmp_path / "bad.tsv"
    bad.write_bytes(b"a\tb\t0\na\tb\t5\n")
    for file, words, message in ((absent, [], f"{absent} cannot be read"), (bad, ["--labels", "0,1"], f"{bad}, line 2: label '5'")):
        done = run("python", "preprocess/binarize.py", xlmr_plm, data, "--subset", f"train={file}", *words, check=False)
        *before, last = done.stderr.splitlines()
        assert done.returncode == 1 and done.stdout == "" and last.startswith(f"error: {message}")
        assert all(line.startswith("binarizing:") for line in before if line)
