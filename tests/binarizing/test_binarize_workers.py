"""Any number of processes gives the same files and the same errors, and none of them outlives the command."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from preprocess import binarize
from preprocess.text import blocks, data_writer
from preprocess.text.parallel import AHEAD, in_order, usable_cores
from salt_fairseq.errors import InputError
from support.in_process import call, error_of
from support.running import QUICKSTART, ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 1000)


def contents(directory):
    return {
        path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "meta.json"
    }  # which holds the time


def test_blocks_and_workers_do_not_show(xlmr_plm, tmp_path, monkeypatch):
    """Labels known by the last block alone, a column of languages, rows that are skipped, ids and row numbers as ids, JSONL."""
    rows = [line.split("\t") for line in (QUICKSTART / "test.en.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    rows = [(a, b, str(i * 7 % 5) if i > 50 else "3") for i, (_, a, b, _) in enumerate(rows)]
    rows[5:5] = [("NS", "NS", "0"), ("Yes.", "No.", "-")]
    (tmp_path / "train.tsv").write_bytes("\ufeff".encode() + "".join("\t".join(row) + "\r\n" for row in rows).encode())
    (tmp_path / "both.tsv").write_text(
        "language\tpairID\tgold_label\tpremise\thypo\n"
        + "".join(f"{'fr' if i % 3 else 'de'}\t{'' if i % 3 else 'x'}{i}\t{label}\t{a}\t{b}\n" for i, (a, b, label) in enumerate(rows)),
        encoding="utf-8",
    )
    (tmp_path / "mine.jsonl").write_text(
        "\n\n".join(json.dumps({"premise": a, "hypothesis": b, "label": label} | ({"id": f"mine{i}"} if i % 2 else {})) for i, (a, b, label) in enumerate(rows))
    )
    words = [
        "--subset",
        f"test.fr={tmp_path / 'both.tsv'}",
        f"valid={tmp_path / 'mine.jsonl'}",
        f"train={tmp_path / 'train.tsv'}",
        f"test.de={tmp_path / 'both.tsv'}",
    ]
    call(binarize, xlmr_plm, tmp_path / "whole", *words)
    expected, meta = contents(tmp_path / "whole"), json.loads((tmp_path / "whole" / "meta.json").read_text())
    assert meta["labels"] == ["0", "1", "2", "3", "4"] and {s["skipped"]["-"] for s in meta["subsets"].values()} == {0, 1}
    for size, workers in ((700, 1), (700, 3), (2000, 2)):
        monkeypatch.setattr(blocks, "BLOCK", size)
        call(binarize, xlmr_plm, tmp_path / "data", "--replace", "--workers", workers, *words)
        assert contents(tmp_path / "data") == expected
        again = json.loads((tmp_path / "data" / "meta.json").read_text())
        assert {**again, "created": 0, "checksum": 0} == {**meta, "created": 0, "checksum": 0}
        assert not multiprocessing.active_children()


HEADER = b"id\tsentence1\tsentence2\tlabel\n"
GOOD = [f"{i}\tThe house number {i}\tA garden of {i} trees\t{i % 2}\n".encode() for i in range(100)]  # 4 kB
TOO_LONG = b"100\tA " + b"house " * 200_000 + b"\tA\t1\n"
LATE = {  # bad lines instead of lines 90 and 95 (None: as it was), and what is said of them
    "columns": (b"89\ta\tb\n", None, "line 90: 3 columns where line 1 has 4"),
    "NUL": (b"89\ta\0\tb\t1\n", b"89\ta\tb\n", "line 90: not UTF-8 text (a NUL byte)"),
    "not UTF-8": (None, b"94\tf\xfcr\tb\t1\n", "line 95: not UTF-8 (invalid start byte)"),
    "too long": (None, TOO_LONG, "line 95: more than 1,048,576 bytes"),
    "invisible, then another": ("89\tA\t\u200b\t1\n".encode(), b"94\tA\t\t1\n", "line 90: the sentence has no visible character"),
    "another, then invisible": (b"89\tA\t\t1\n", "94\t\u200b\tA\t1\n".encode(), "line 90: sentence2 is empty"),
    "same id": (None, b"17\tA\tB\t1\n", "line 95: id 17 stands on line 19 already"),
    "same ids": (b"98\tA\tB\t1\n", b"17\tA\tB\t1\n", "line 95: id 17 stands on line 19 already"),
    "label": (b"89\tA\tB\t7\n", b"94\tA\tB\t8\n", "line 90: label '7' is none of 0, 1"),
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("case", LATE)
def test_first_error(case, workers, xlmr_plm, tmp_path, small_blocks):
    first, second, expected = LATE[case]
    lines = [HEADER, *GOOD]
    lines[89], lines[94] = first or lines[89], second or lines[94]
    (tmp_path / "train.tsv").write_bytes(b"".join(lines))
    message = error_of(binarize, xlmr_plm, tmp_path / "data", "--labels", "0,1", "--workers", workers, "--subset", f"train={tmp_path / 'train.tsv'}")
    assert message.startswith(f"{tmp_path / 'train.tsv'}, {expected}"), message
    assert [path.name for path in tmp_path.iterdir()] == ["train.tsv"] and not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [1, 3])
def test_single_and_pair_in_different_blocks(workers, xlmr_plm, tmp_path, small_blocks):
    row = {"sentence1": "The house", "label": 1}
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(row | ({"sentence2": "A cat"} if i > 80 else {})) + "\n" for i in range(100)))
    assert error_of(binarize, xlmr_plm, tmp_path / "data", "--workers", workers, "--subset", f"train={tmp_path / 'x.jsonl'}") == (
        f"{tmp_path / 'x.jsonl'}: some examples have one sentence, others two"
    )


def test_pipe(xlmr_plm, tmp_path):
    """As of a shell's <(command), which can be read once; and the shell's own standard input."""
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cp", QUICKSTART / "test.en.tsv", tmp_path / "pipe"], stderr=subprocess.DEVNULL):
        call(binarize, xlmr_plm, tmp_path / "piped", "--subset", f"test.en={tmp_path / 'pipe'}")
    with mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO((QUICKSTART / "test.en.tsv").read_bytes()))):
        call(binarize, xlmr_plm, tmp_path / "typed", "--subset", "test.en=-")
    call(binarize, xlmr_plm, tmp_path / "data", "--subset", f"test.en={QUICKSTART / 'test.en.tsv'}")
    assert contents(tmp_path / "piped") == contents(tmp_path / "typed") == contents(tmp_path / "data")


def test_text_that_changes(xlmr_plm, tmp_path, monkeypatch):
    (tmp_path / "train.tsv").write_bytes(HEADER + b"".join(GOOD))
    cut = blocks.blocks_of

    def shortened(file, path):
        found = cut(file, path)
        path.write_bytes(HEADER + b"".join(GOOD[:-1]))
        return found

    monkeypatch.setattr("preprocess.text.readers.blocks_of", shortened)
    assert "train.tsv has become shorter while it was read" in error_of(binarize, xlmr_plm, tmp_path / "data", "--subset", f"train={tmp_path / 'train.tsv'}")


def test_killed_worker(xlmr_plm, tmp_path, small_blocks, monkeypatch):
    """As the system kills one when the memory is full."""
    (tmp_path / "train.tsv").write_bytes(HEADER + b"".join(GOOD))
    encode_block = data_writer.encode_block

    def killed(file, block, *more):
        if block.before > 50:
            os.kill(os.getpid(), signal.SIGKILL)
        return encode_block(file, block, *more)

    monkeypatch.setattr(data_writer, "encode_block", killed)
    assert error_of(binarize, xlmr_plm, tmp_path / "data", "--workers", 2, "--subset", f"train={tmp_path / 'train.tsv'}") == (
        "a worker process was stopped (exit code -9), as happens when memory runs out: start the same command again, with fewer --workers"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["train.tsv"] and not multiprocessing.active_children()


def test_interrupt(xlmr_plm, tmp_path):
    """Ctrl-C reaches the command and its workers at once."""
    (tmp_path / "train.tsv").write_bytes(HEADER + b"".join(b"%d." % i + line for i in range(2000) for line in GOOD))
    words = [sys.executable, ROOT / "preprocess" / "binarize.py", xlmr_plm, tmp_path / "data", "--workers", "3", "--subset", f"train={tmp_path / 'train.tsv'}"]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(
            words,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            while process.poll() is None and len(children.read_text().split()) < 3:  # its workers
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(60)
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
        finally:
            process.kill()
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert process.returncode == -signal.SIGINT and "Traceback" not in text
    assert text.rstrip().splitlines()[-1].split("\r")[-1] == "interrupted"
    left = {path.name for path in tmp_path.iterdir()} - {".data.binarization"}  # to go on from, if a block was done
    assert left == {"log", "train.tsv"}


def test_results_are_bounded():
    """A slow reader: processes wait instead of filling the memory with results."""
    begun = multiprocessing.get_context("fork").Value("i", 0)

    def work(task):
        with begun.get_lock():
            begun.value += 1
        return task * task

    with in_order(work, list(range(500)), 3) as results:
        found = results(100)
        assert [next(found) for _ in range(5)] == [task * task for task in range(100, 105)]
        time.sleep(0.3)
        assert begun.value <= 5 + 3 * AHEAD
        assert list(found) == [task * task for task in range(105, 500)] and begun.value == 400
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_first_exception(count):
    """Of tasks 3 and 4, which fail, the first is slower; what was before is seen."""

    def work(task):
        time.sleep(0.2 if task == 3 else 0)
        if task in (3, 4):
            raise InputError(f"line {task}")
        return task

    seen = []
    with pytest.raises(InputError) as raised, in_order(work, range(9), count) as results:
        for result in results(0):
            seen.append(result)
    assert str(raised.value) == "line 3" and seen == [0, 1, 2] and not multiprocessing.active_children()


@pytest.mark.parametrize(("quota", "cores"), [("max 100000", 3), ("200000 100000", 2), ("50000 100000", 1), ("900000 100000", 3), (None, 3)])
def test_usable_cores(quota, cores, monkeypatch):
    """Of a process that is kept to three cores, in a container that has a quota of processor time, or none."""

    def read_text(path):
        if quota is None:
            raise FileNotFoundError(path)
        return quota

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2, 5})
    monkeypatch.setattr("pathlib.Path.read_text", read_text)
    assert usable_cores() == cores
