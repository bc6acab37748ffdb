"""Answers of a checkpoint, line by line: against one example at a time, and everything that can be wrong with the input."""

import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from salt_fairseq import predict
from salt_fairseq.checkpoints import load_checkpoint
from salt_fairseq.data.sentence_rows import Row
from salt_fairseq.plm import PLM
from support.classifiers import LABELS, binarized, fine_tuned
from support.in_process import call
from support.predicting import error, typed
from support.running import QUICKSTART, ROOT, read_tsv
from support.zipped import zip_equal

pytestmark = pytest.mark.slow

MAX_LENGTH = {"pairs": 54, "single": 30}  # tokens: some of the examples are longer


@pytest.fixture(scope="module")
def made(bert_plm, xlmr_plm, tmp_path_factory):
    """Name to data directory, PLM directory and checkpoint: XLM-R on pairs, BERT on single sentences."""
    made = {}
    for name, plm, pairs in (("pairs", xlmr_plm, True), ("single", bert_plm, False)):
        directory = tmp_path_factory.mktemp(name)
        data = binarized(plm, directory / "data", pairs)
        made[name] = SimpleNamespace(data=data, plm=plm, path=fine_tuned(data, plm, directory / "ckpt", "--max-length", MAX_LENGTH[name]))
    return made


@pytest.fixture(scope="module")
def rows():
    return [(row["sentence1"], row["sentence2"]) for row in read_tsv(QUICKSTART / "test.fr.tsv")[:25]]


def cut(plm, row):
    """``PLM.encode`` of a row, cut a token at a time: from the longest sentence, of equal ones the second."""
    budget = MAX_LENGTH["pairs" if len(row) == 2 else "single"]
    sentences = [plm.encode(text)[1:-1].tolist() for text in row]
    separators = 2 if len(row) == 2 else 0
    while sum(map(len, sentences)) > budget - 2 - separators:
        (sentences[0] if len(row) == 1 or len(sentences[0]) > len(sentences[1]) else sentences[1]).pop()
    return torch.tensor([0, *sentences[0], 2, *([2, *sentences[1], 2] if len(row) == 2 else [])])


@torch.inference_mode()
def one_by_one(made, rows):
    """``(label, probability)`` of each row, one at a time."""
    plm, model = PLM.load(made.plm), load_checkpoint(made.path).model
    best = [model(cut(plm, row)[None])[0].softmax(1).max(1) for row in rows]
    return [(LABELS[b.indices.item()], b.values.item()) for b in best]


def assert_answers(output, expected):
    predicted = [line.split("\t") for line in output.decode().splitlines()]
    assert [label for label, _ in predicted] == [label for label, _ in expected]
    for (_, probability), (_, reference) in zip_equal(predicted, expected):
        assert len(probability) == len("0.1234") and abs(float(probability) - reference) <= 0.6e-4
    assert {label for label, _ in predicted} == set(LABELS)


def lines(rows):
    return "".join("\t".join(row) + "\n" for row in rows).encode()


def test_command_line(made, rows, tmp_path):
    command = [sys.executable, "-m", "salt_fairseq.predict", str(made["pairs"].path)]
    done = subprocess.run(command, input=lines(rows), capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, b"")
    assert_answers(done.stdout, one_by_one(made["pairs"], rows))


@pytest.mark.parametrize("name", ["pairs", "single"])
def test_order_in_chunks_and_batches(name, made, rows, tmp_path, capsys):
    """25 lines in chunks of 7 and batches of a few tokens, to a file; some of them are cut."""
    rows = rows if name == "pairs" else [row[:1] for row in rows]
    plm = PLM.load(made[name].plm)
    assert 0 < sum(len(plm.encode(*row)) > MAX_LENGTH[name] for row in rows) < 25
    with mock.patch.object(predict, "CHUNK", 7), mock.patch.object(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(lines(rows)))):
        call(predict, made[name].path, "--max-tokens", 60, "--out", tmp_path / "out.tsv")
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {tmp_path / 'out.tsv'}: 25 lines"
    assert_answers((tmp_path / "out.tsv").read_bytes(), one_by_one(made[name], rows))


def test_answers_come_before_the_input_ends(made, rows):
    checkpoint, out = load_checkpoint(made["pairs"].path), io.BytesIO()
    classifier = predict.Classifier(checkpoint, PLM.load(made["pairs"].plm).tokenizer)

    def watched():
        for number, row in enumerate(rows):
            assert out.getvalue().count(b"\n") == number // 7 * 7  # never more than a chunk is held
            yield Row(list(row), number + 1, {})

    with mock.patch.object(predict, "CHUNK", 7):
        assert predict.predict(classifier, watched(), predict.Answers(LABELS), out) == 25
    assert_answers(out.getvalue(), one_by_one(made["pairs"], rows))


def test_forms_of_input(made, rows):
    """A byte order mark, CRLF, spaces around sentences, no last line end, and no line at all."""
    plain = typed(lines(rows[:5]), made["pairs"].path)
    other = "\ufeff" + "\r\n".join(f" {a} \t{b}  " for a, b in rows[:5])
    assert plain.count(b"\n") == 5 and typed(other.encode(), made["pairs"].path) == plain
    assert typed(b"", made["pairs"].path) == b""


def test_further_columns_and_all_probabilities(made, rows):
    """A header names the sentences in any order; other columns stand before the answer, and JSON stays JSON."""
    path, expected = made["pairs"].path, one_by_one(made["pairs"], rows[:3])
    table = "".join(f"{b}\t{i}\t{a}\tgold\n" for i, (a, b) in enumerate(rows[:3]))
    header, *lines = [line.split("\t") for line in typed(f"hypothesis\tid\tpremise\tlabel\n{table}".encode(), path, "--probabilities").decode().splitlines()]
    assert header == ["id", "label", "prediction", "probability", *LABELS]
    for i, (line, (label, probability)) in enumerate(zip_equal(lines, expected)):
        assert line[:3] == [str(i), "gold", label] and float(line[3]) == pytest.approx(probability, abs=1e-4)
        assert float(line[4 + LABELS.index(label)]) == float(line[3]) and float(line[4]) + float(line[5]) == pytest.approx(1, abs=2e-4)
    objects = "".join(json.dumps({"sentence1": a, "sentence2": b, "meta": {"n": i}}) + "\n" for i, (a, b) in enumerate(rows[:3]))
    qnli = "sentence\tquestion\n" + "".join(f"{b}\t{a}\n" for a, b in rows[:3])
    assert typed(qnli.encode(), path).decode().splitlines() == typed("".join(f"{a}\t{b}\n" for a, b in rows[:3]).encode(), path).decode().splitlines()
    for content, words, further in (
        (objects, [], [{"meta": {"n": i}} for i in range(3)]),
        ("".join(f"{a}\t{b}\n" for a, b in rows[:3]), ["--jsonl"], [{}] * 3),
    ):
        answers = [json.loads(line) for line in typed(content.encode(), path, *words).decode().splitlines()]
        assert [answer["prediction"] for answer in answers] == [label for label, _ in expected]
        assert [{k: v for k, v in answer.items() if k not in ("prediction", "probability")} for answer in answers] == further
    one = json.loads(typed(objects.encode(), path, "--probabilities").splitlines()[0])
    assert list(one["probabilities"]) == LABELS and max(one["probabilities"].values()) == one["probability"]


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("pairs", b"a\tb\nc\n", "standard input, line 2: 1 column, but sentence1 TAB sentence2 is needed"),
        ("pairs", b"a\tb\tc\n", "standard input, line 1: 3 columns, but sentence1 TAB sentence2 is needed"),
        ("single", b"a\rb\r", "standard input has carriage returns (CR) alone as line ends: convert them, tr '\\r' '\\n' < OLD > NEW"),
        ("single", b"a\nb\tc\n", "standard input, line 2: 2 columns, but one sentence is needed"),
        ("pairs", b"a\tb\na\t \n", "standard input, line 2: sentence2 is empty, but sentence1 TAB sentence2 is needed"),
        ("pairs", b"a\tb\n\na\tb\n", "standard input, line 2: the line is empty, but sentence1 TAB sentence2 is needed"),
        ("single", b"a\n  \nb\n", "standard input, line 2: the line is empty, but one sentence is needed"),
        ("pairs", b"a\tb\na\t\xe9t\xe9\n", "standard input, line 2: not UTF-8 (invalid continuation byte), convert the text"),
        ("pairs", b"premise\thypothesis\tid\na\tb\n", "standard input, line 2: 2 columns, but line 1 has 3"),
        ("pairs", b'{"premise": "a", "hypothesis": "b"}\nc\td\n', "standard input, line 2: not a JSON object, as line 1 is"),
        ("pairs", b'{"premise": "a"}\n', "standard input, line 1: one text called sentence2 or hypothesis is needed"),
        ("pairs", b'{"premise": "a", "hypothesis": 3}\n', "standard input, line 1: hypothesis is no text"),
        (
            "pairs",
            b"sentence1\tpremise\na\tb\n",
            "standard input, line 1: sentence1, premise looks like a header that does not say which column is which: name the columns sentence1 and sentence2",
        ),
        ("pairs", b"premise\thypothesis\tprediction\na\tb\tc\n", "standard input, line 2: prediction is a column of the input already: rename it"),
        ("pairs", b"a\tb\n" * 9 + "a\t\u200b\n".encode(), "standard input, line 10: a sentence has no visible character"),
    ],
)
def test_bad_lines(name, content, sentence, made, tmp_path):
    """Nothing is left at ``--out``; the line's number counts from the first chunk on."""
    with mock.patch.object(predict, "CHUNK", 4):
        assert error(content, made[name].path, "--out", tmp_path / "out.tsv") == sentence
    assert list(tmp_path.iterdir()) == []


def test_reader_that_has_enough(made, rows, capfd):
    """``| head``: the pipe is closed; no traceback, and the exit status of other tools."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with (
        open(write_end, "w") as pipe,
        pytest.raises(SystemExit) as left,
        mock.patch.multiple(sys, stdin=SimpleNamespace(buffer=io.BytesIO(lines(rows[:1]))), stdout=pipe),
    ):
        call(predict, made["pairs"].path)
    assert left.value.code == 141 and "BrokenPipe" not in capfd.readouterr().err


def test_no_such_gpu(made):
    assert error(b"a\tb\n", made["pairs"].path, "--device", "cuda:77").startswith("--device cuda:77 cannot be used here (")


def test_bf16(made, rows):
    """The matrix products are in bf16 if asked for, or if the checkpoint was trained so."""
    path, tokenizer = made["pairs"].path, PLM.load(made["pairs"].plm).tokenizer
    plain = predict.Classifier(load_checkpoint(path), tokenizer)(rows)
    rounded = predict.Classifier(load_checkpoint(path), tokenizer, dtype="bf16")(rows)
    assert 1e-4 < (rounded - plain).abs().max() < 0.1
    checkpoint = load_checkpoint(path)
    checkpoint.model.cfg.autocast_bf16 = True  # as --autocast-bf16 leaves it
    assert torch.equal(predict.Classifier(checkpoint, tokenizer)(rows), rounded)
    assert torch.equal(predict.Classifier(checkpoint, tokenizer, dtype="fp32")(rows), plain)
