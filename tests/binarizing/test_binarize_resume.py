"""Binarization that was killed goes on, and ends with the files of one that was not."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from unittest import mock

import pytest

from preprocess import binarize
from preprocess.text import blocks, data_writer
from preprocess.text.readers import TextFile
from salt_fairseq.storage import resumable
from salt_fairseq.storage.resumable import Resumable
from support.in_process import call, error_of
from support.running import QUICKSTART

SUBSETS = [f"{name}={QUICKSTART / name}.tsv" for name in ("test.en", "test.fr", "test.de")]
BLOCK = 2500  # bytes: 21 blocks


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", BLOCK)


def number_of_blocks():
    return sum(len(TextFile.open(Path(subset.partition("=")[2])).blocks) for subset in SUBSETS)


def contents(directory):
    return {
        path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "meta.json"
    }  # which holds the time


@pytest.mark.parametrize("saved", [{"due": True}, {"due": False, "most": 3}])
def test_interrupted(saved, bert_plm, tmp_path, monkeypatch):
    """After every fourth block; what was tokenized before, and saved, is not tokenized again."""
    words = ["--workers", 1, "--subset", *SUBSETS]
    call(binarize, bert_plm, tmp_path / "whole", *words)
    number = number_of_blocks()
    whole, encode_block, made = contents(tmp_path / "whole"), data_writer.encode_block, []
    monkeypatch.setattr(Resumable, "due", lambda self: saved["due"])
    monkeypatch.setattr(resumable, "MOST_UNSAVED", saved.get("most", 1000))

    def interrupted(*args):
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(args)
        return encode_block(*args)

    kills = 0
    with mock.patch.object(data_writer, "encode_block", interrupted):
        while not (tmp_path / "data").exists():
            made.clear()
            try:
                call(binarize, bert_plm, tmp_path / "data", *words)
            except KeyboardInterrupt:
                kills += 1
                assert [path.name for path in tmp_path.iterdir() if path.name != "whole"] == [".data.binarization"]
    kept = 4 if saved["due"] else 3  # of the four that were made
    assert kills == -(-(number - 4) // kept) > 3 and len(made) == number - kills * kept
    assert contents(tmp_path / "data") == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "whole"]


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("workers", [(3, 1), (1, 3), (2, 3)])
def test_killed(workers, bert_plm, tmp_path, monkeypatch):
    """By SIGKILL, and gone on with by another number of processes. Those of the killed run end by themselves."""
    call(binarize, bert_plm, tmp_path / "whole", "--subset", *SUBSETS)
    monkeypatch.setattr(Resumable, "due", lambda self: True)
    encode_block = data_writer.encode_block

    def slow(*args):
        (tmp_path / "pids" / str(os.getpid())).touch()
        time.sleep(0.02)
        return encode_block(*args)

    def run():
        monkeypatch.setattr(data_writer, "encode_block", slow)
        call(binarize, bert_plm, tmp_path / "data", "--workers", workers[0], "--subset", *SUBSETS)

    (tmp_path / "pids").mkdir()
    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    saved = tmp_path / ".data.binarization"
    while process.is_alive() and len(list(saved.glob("pieces.*"))) < 5:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (tmp_path / "data").exists()
    before, made = len(list(saved.glob("pieces.*"))), []
    (tmp_path / "resumed").mkdir()

    def counted(file, block, *more):
        (tmp_path / "resumed" / f"{file.path.stem}.{block.start}").touch()
        return encode_block(file, block, *more)

    with mock.patch.object(data_writer, "encode_block", counted):
        call(binarize, bert_plm, tmp_path / "data", "--workers", workers[1], "--subset", *SUBSETS)
    made = len(list((tmp_path / "resumed").iterdir()))
    assert before >= 5 and made + before == number_of_blocks()
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")
    pids = [int(path.name) for path in (tmp_path / "pids").iterdir()]
    assert len(pids) == workers[0]
    deadline = time.monotonic() + 20
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(is_alive, pids))


def test_other_files_are_not_mixed_in(bert_plm, tmp_path, monkeypatch):
    monkeypatch.setattr(Resumable, "due", lambda self: True)
    with mock.patch.object(data_writer, "write_manifest", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        call(binarize, bert_plm, tmp_path / "data", "--subset", *SUBSETS[:2])
    for others in (SUBSETS[:1], SUBSETS[1::-1]):
        assert error_of(binarize, bert_plm, tmp_path / "data", "--subset", *others) == (
            f"{tmp_path / '.data.binarization'} holds a binarization that was begun with another files: finish it with its own options, or delete it"
        )


@pytest.mark.parametrize("workers", [1, 3])
def test_bad_input_leaves_nothing(workers, bert_plm, tmp_path, monkeypatch):
    """Not what was saved before it was found either: corrected files are others."""
    monkeypatch.setattr(Resumable, "due", lambda self: True)
    rows = (QUICKSTART / "test.fr.tsv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "bad.tsv").write_text("\n".join([*rows, "99999\tA\t\u200b\t0"]), encoding="utf-8")
    assert f"bad.tsv, line {len(rows) + 1}: the sentence has" in error_of(
        binarize, bert_plm, tmp_path / "data", "--workers", workers, "--subset", f"train={tmp_path / 'bad.tsv'}"
    )
    (tmp_path / "bad.tsv").write_text("\n".join([*rows, rows[5]]), encoding="utf-8")
    assert f"bad.tsv, line {len(rows) + 1}: id {rows[5].split()[0]} stands on line 6 already" in error_of(
        binarize, bert_plm, tmp_path / "data", "--workers", workers, "--subset", f"train={tmp_path / 'bad.tsv'}"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["bad.tsv"]
