"""Bad input ends in one sentence that names file and line, and leaves the data directory as it was."""

import pytest

from preprocess import binarize
from support.in_process import call, error_of
from support.running import run

pytestmark = pytest.mark.slow

GOOD = b"A house\tA garden\t1\nThe dog\tThe cat\t0\n"
HEADER = b"id\tsentence1\tsentence2\tlabel\n"

# Content of train.tsv or train.jsonl, and what the sentence must say ({file}: the path).
CASES = {
    "unequal columns": ("tsv", GOOD + b"A house\t1\n", "{file}, line 3: 2 columns where line 1 has 3"),
    # nyu-mll/GLUE-baselines#5: rows of QQP with three columns where the header has six
    "unequal columns under a header": ("tsv", HEADER + b"1\ta\tb\t0\n2\ta\tb\n", "{file}, line 3: 3 columns where line 1 has 4"),
    "too many columns and no header": ("tsv", b"a\tb\tc\t1\n", "{file}, line 1: 4 columns and no header"),
    "header without label": (
        "tsv",
        b"id\tsentence1\tsentence2\tverdict\n1\ta\tb\t0\n",
        "{file}, line 1: the line (id, sentence1, sentence2, verdict) has column name 'id', but not both a known sentence1 and label",
    ),
    "one column": ("tsv", b"just text\n", "{file}, line 1: 1 columns and no header"),
    # google-research-datasets/paws#4: machine translation left rows of PAWS-X without a sentence
    "empty first sentence": ("tsv", GOOD + b"\tThe cat\t0\n", "{file}, line 3: sentence1 is empty"),
    "blank second sentence": ("tsv", HEADER + b"1\tThe cat\t \xc2\xa0\t0\n", "{file}, line 2: sentence2 is empty"),
    "invisible sentence": ("tsv", GOOD + "\u200b\u200b\tThe cat\t0\n".encode(), "{file}, line 3: the sentence has no visible"),
    "duplicate id": ("tsv", HEADER + b"5\ta\tb\t0\n6\ta\tb\t0\n5\tc\td\t1\n", "{file}, line 4: id 5 stands on line 2"),
    "empty label": ("tsv", GOOD + b"a\tb\t\n", "{file}, line 3: the label is empty"),
    # ludwig-ai/ludwig#113: a CSV file that is not UTF-8 ended in pandas' traceback
    "not UTF-8": ("tsv", GOOD + "für\tb\t1\n".encode("latin-1"), "{file}, line 3: not UTF-8"),
    "UTF-16": ("tsv", GOOD.decode().encode("utf-16"), "{file}, line 1: not UTF-8"),
    "empty file": ("tsv", b"", "{file} holds no examples"),
    "header alone": ("tsv", HEADER, "{file} holds no examples"),
    # google-research-datasets/paws#15: NS stands for sentences that were never translated
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


def labelled(*labels):
    """Two columns, a sentence and each of these labels."""
    return "".join(f"A good house\t{label}\n" for label in labels).encode()


# Readings that are more likely a mistake: content, and what the sentence names, among it the option that settles it.
IMPLAUSIBLE = {
    "unknown name beside a known one": ("tsv", b"text\tverdict\nGood\tyes\nBad\tno\n", ["line 1", "text, verdict", "--columns"]),
    "no label": ("tsv", b"premise\thypothesis\nA\tB\nC\tB\n", ["line 1", "premise, hypothesis", "--columns"]),
    # google-research/bert#80: a column's name of the header was looked up as a label
    "unknown names only": ("tsv", b"tweet\tstance\n" + labelled(*["pro", "con"] * 3), ["'stance' in line 1", "--columns"]),
    "two labels": ("tsv", b"text\tlabel\tcategory\nGood\t1\t0\n", ["text, label, category", "may be label", "--columns"]),
    "two sentences": ("tsv", b"text\tsentence\tlabel\nGood\tBad\t1\n", ["may be sentence1", "--columns"]),
    "an unused text": (
        "tsv",
        b"question\tpassage\tlabel\n" + b"A\tThe house is good\t1\nB\tThe dog is bad\t0\n" * 2,
        ["'passage', which is not used", "--columns"],
    ),
    "an unused text of JSON": ("jsonl", b'{"text": "a", "context": "The dog is bad", "label": 1}\n' * 2, ["'context', which is not used", "--columns"]),
    "an unused text without spaces": ("tsv", "text\tcontext\tlabel\nA\t家はとても良いです。\t1\n".encode(), ["'context', which", "--columns"]),
    "two files joined": ("tsv", HEADER + b"1\ta\tb\t0\n" + HEADER + b"2\ta\tb\t1\n", ["line 3: the header (id, sentence1"]),
    "the header in other letters": ("tsv", HEADER + b"1\ta\tb\t0\n" + HEADER.upper() + b"2\ta\tb\t1\n", ["line 3: the header (ID, SENTENCE1"]),
    "another header": ("tsv", b"premise\thypothesis\tlabel\n" + GOOD + b"text_a\ttext_b\tclass\n" + GOOD, ["line 4: a header (text_a, text_b, class)"]),
    "headers amid examples": ("tsv", GOOD + b"premise\thypothesis\tlabel\n", ["line 3: a header (premise, hypothesis, label)"]),
    # yahoojapan/JGLUE#3: scores of similarity, stored as text, were trained as 26 classes
    "scores": ("tsv", labelled("3.8", "5.0", "0.25", "1.0"), ["'3.8' in line 1", "scores", "--labels"]),
    "scientific scores": ("tsv", labelled("1e-3", "1", "1", "0"), ["'1e-3'", "--labels"]),
    # bentrevett/pytorch-sentiment-analysis#100: the label in the first column was read as the text
    "labels first": ("tsv", b"yes\tThe house is good\nno\tThe dog is bad\n", ["as half of its 2", "The dog is bad", "--columns"]),
    "a class for each": ("tsv", labelled(*"abcdefgh"), ["as half of its 8", "--columns"]),
    "case": ("tsv", labelled("Entailment", "entailment", "neutral"), ["'Entailment' in line 1 and 'entailment' in line 2", "case", "--labels"]),
    "nan": ("tsv", labelled("1", "0", "nan", "1"), ["'nan' in line 3", "--missing-label=nan", "--labels"]),
    # huggingface/datasets#4467: the word null became a missing value
    "None": ("tsv", labelled("pro", "None", "con"), ["'None' in line 2", "--missing-label=None"]),
    "JSON NaN": ("jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label": NaN}\n', ["'nan' in line 2", "--missing-label=nan"]),
    "JSON null": ("jsonl", b'{"text": "a", "label": 1}\n{"text": "b", "label": null}\n', ["'null' in line 2", "--missing-label=null"]),
    # pandas-dev/pandas#24681: n/a in a TSV file became NaN, although quoting was off
    "NA": ("tsv", labelled("1", "0", "NA", "1"), ["'NA' in line 3", "--missing-label=NA"]),
    # huggingface/datasets#1452, #296: the labels of SNLI are 0, 1, 2 and -1
    "-1 of Hugging Face": ("tsv", labelled("0", "1", "2", "-1"), ["'-1' in line 4", "--missing-label=-1"]),
    # huggingface/datasets#245, #6506: all labels of GLUE's test sets are -1
    "only -1": ("tsv", labelled("-1", "-1"), ["'-1' in line 1", "--missing-label=-1"]),
    "a single class": ("tsv", labelled("1", "1", "1"), ["fewer than two classes", "--labels"]),
    "minus that is a label": ("tsv", labelled("+", "-", "+", "-"), ["2 rows the label '-'", "--labels", "--missing-label=-"]),
    "quoted": ("tsv", b'"A ""house"""\t1\n"The dog"\t0\n"The cat"\t0\n', ["quotation marks", "--quoting csv", "--quoting none"]),
    "gzip that is cut off": ("tsv", b"\x1f\x8b\x08\x00", ["cannot be unpacked", "damaged"]),
    "xz that is cut off": ("tsv", b"\xfd7zXZ\x00", ["cannot be unpacked", "damaged"]),
    "zip": ("tsv", b"PK\x03\x04", ["file of zip", "unpack"]),
    "Parquet that is cut off": ("tsv", b"PAR1", ["cannot be read after row 0", "damaged"]),
    "JSON called TSV": ("tsv", b'{"text": "a", "label": 1}\n', ["line 1", "looks like JSON", ".jsonl"]),
    "CR": ("tsv", b"a\t1\rb\t0\r", ["(CR)", "convert"]),
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
    message = error_of(binarize, xlmr_plm, data, "--replace", "--subset", f"train={file}")
    assert message.startswith(expected.format(file=file)), message


@pytest.mark.parametrize("case", IMPLAUSIBLE)
def test_implausible_file(case, data, xlmr_plm, tmp_path):
    """Never a data directory with exit code 0."""
    suffix, content, parts = IMPLAUSIBLE[case]
    file = tmp_path / f"train.{suffix}"
    file.write_bytes(content)
    message = error_of(binarize, xlmr_plm, data, "--replace", "--subset", f"train={file}")
    assert message.startswith(str(file)) and all(part in message for part in parts), message


@pytest.mark.parametrize("columns", ["premise", "label=x", "sentence1=a,label=a", "sentence1=1,label=b", "text=a,label=b", "sentence1=a,premise=b,label=c"])
def test_bad_columns(columns, data, xlmr_plm, tmp_path):
    message = error_of(binarize, xlmr_plm, data, "--replace", "--subset", f"train={tmp_path / 'good.tsv'}", "--columns", columns)
    assert message.startswith(f"--columns {columns}: ")


def test_columns_that_are_not_there(data, xlmr_plm, tmp_path):
    for columns, shown in (
        ("sentence1=claim,label=gold", "the columns are A house, A garden, 1; --columns sentence1=claim needs"),
        ("sentence1=1,label=4", "3 columns"),
    ):
        message = error_of(binarize, xlmr_plm, data, "--replace", "--subset", f"train={tmp_path / 'good.tsv'}", "--columns", columns)
        assert message.startswith(f"{tmp_path / 'good.tsv'}, line 1: ") and shown in message


@pytest.mark.parametrize("name", ["train1", "dev", "test.", "valid.en-de", "../test", "", "Train"])
def test_bad_subset_name(name, data, xlmr_plm, tmp_path):
    message = error_of(binarize, xlmr_plm, data, "--replace", "--subset", f"{name}={tmp_path / 'good.tsv'}")
    assert message.startswith(f"--subset {name}=") and "valid.LANG" in message


def test_bad_options(data, xlmr_plm, tmp_path):
    good = f"train={tmp_path / 'good.tsv'}"
    assert "nothing to binarize" in error_of(binarize, xlmr_plm, data, "--replace")
    assert "NAME=FILE" in error_of(binarize, xlmr_plm, data, "--replace", "--subset", str(tmp_path / "good.tsv"))
    for layout in ("xnli", "pawsx", "xtreme"):
        assert "no such directory" in error_of(binarize, xlmr_plm, data, "--replace", f"--{layout}", tmp_path / "absent")
        assert f"the layout of {layout}" in error_of(binarize, xlmr_plm, data, "--replace", f"--{layout}", tmp_path)
    assert str(tmp_path / "plm.json") in error_of(binarize, tmp_path, data, "--subset", good)
    message = error_of(binarize, xlmr_plm, data, "--replace", "--subset", good, "--labels", "yes,no")
    assert message.startswith(f"{tmp_path / 'good.tsv'}, line 1: label '1' is none of yes, no; correct it, list all labels with --labels, name the numbers")
    assert "twice" in error_of(binarize, xlmr_plm, data, "--replace", "--subset", good, "--labels", "0,1,0")


# Hironsan/anago#49: a label that only the validation set has ended in a KeyError
def test_label_that_training_lacks(data, xlmr_plm, tmp_path):
    (tmp_path / "test.tsv").write_bytes(GOOD + b"a\tb\t2\n")
    message = error_of(binarize, xlmr_plm, data, "--replace", "--subset", f"train={tmp_path / 'good.tsv'}", f"test.de={tmp_path / 'test.tsv'}")
    assert (
        message
        == f"{tmp_path / 'test.tsv'}, line 3: label '2' is none of 0, 1; correct it, list all labels with --labels, or skip such rows with --missing-label"
    )


def test_single_and_pair_subsets(data, xlmr_plm, tmp_path):
    (tmp_path / "single.tsv").write_bytes(b"a\t1\n")
    message = error_of(binarize, xlmr_plm, data, "--replace", "--subset", f"train={tmp_path / 'good.tsv'}", f"valid={tmp_path / 'single.tsv'}")
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
        done = run("python", "preprocess/binarize.py", xlmr_plm, data, "--replace", "--subset", f"train={file}", *words, check=False)
        *before, last = done.stderr.splitlines()
        assert done.returncode == 1 and done.stdout == "" and last.startswith(f"error: {message}")
        assert all(line.startswith("binarizing:") for line in before if line)
