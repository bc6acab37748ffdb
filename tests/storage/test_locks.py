"""An output is written by one process at a time, whatever becomes of it."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from preprocess import distill
from salt_fairseq import evaluate
from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import locked, replacing
from support.children import in_child
from support.in_process import error_of

pytestmark = pytest.mark.slow


def hold(path, pipe):
    with locked(path):
        pipe.send("ready")
        signal.pause()


def hold_and_fork(path, workers, pipe):
    """As a training does whose data loader has workers."""
    with locked(path):
        worker = multiprocessing.get_context("fork").Process(target=signal.pause)
        worker.start()
        workers.put(worker.pid)
        pipe.send("ready")
        signal.pause()


def test_second_writer_stops(tmp_path):
    """Until the first one ends, even by SIGKILL; the lock file goes with the lock."""
    out = tmp_path / "out"
    process = in_child(hold, out)
    with pytest.raises(InputError, match=f"{out} is being written by process {process.pid}: wait until it has finished, or"):
        with replacing(out):
            pass
    process.kill()
    process.join()
    with locked(out), replacing(out) as temporary:
        temporary.write_text("new")
    assert out.read_text() == "new" and os.listdir(tmp_path) == ["out"]


def test_waiting_for_the_first_one(tmp_path):
    """It is killed in half a second; nothing is left."""
    out = tmp_path / "out"
    process = in_child(hold, out)
    threading.Timer(0.5, process.kill).start()
    began = time.monotonic()
    with locked(out, wait=True):
        assert time.monotonic() - began > 0.4 and (tmp_path / ".out.lock").read_text() == str(os.getpid())
    process.join()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("look", [1, 2])
def test_released_while_another_looks_at_the_lock(look, tmp_path, monkeypatch):
    """The lock's file, which its owner removes, vanishes after the first or second look at it."""
    lock_file, stat, looks = tmp_path / ".out.lock", Path.stat, []

    def then_released(path, **options):
        result = stat(path, **options)
        if path == lock_file:
            looks.append(path)
            if len(looks) == look:
                lock_file.unlink()
        return result

    lock_file.touch()
    monkeypatch.setattr(Path, "stat", then_released)
    with locked(tmp_path / "out"):
        assert lock_file.read_text() == str(os.getpid())


def test_workers_do_not_inherit_the_lock(tmp_path):
    """A writer is killed and its worker lives on: the next writer need not wait for the worker."""
    out, workers = tmp_path / "out", multiprocessing.get_context("fork").SimpleQueue()
    process = in_child(hold_and_fork, out, workers, daemon=False)
    worker = workers.get()
    process.kill()
    process.join()
    os.kill(worker, 0)
    try:
        with replacing(out) as temporary:
            temporary.write_text("new")
    finally:
        os.kill(worker, signal.SIGKILL)
    assert out.read_text() == "new"


def test_locked_again_by_the_same_process(tmp_path):
    """Until the outer block ends, nobody else gets the lock."""
    out = tmp_path / "out"
    with locked(out):
        with locked(out), replacing(out) as temporary:
            temporary.write_text("new")
        assert os.listdir(tmp_path).count(".out.lock") == 1
        process = multiprocessing.get_context("fork").Process(target=hold, args=(out, None))
        process.start()
        process.join()
        assert process.exitcode == 1
    assert os.listdir(tmp_path) == ["out"]


def test_lock_that_is_a_file_of_two_names(tmp_path):
    (tmp_path / "letter").write_text("dear")
    os.link(tmp_path / "letter", tmp_path / ".out.lock")
    with pytest.raises(InputError, match="the lock of .*/out, is a link to another file: delete it"), locked(tmp_path / "out"):
        pass
    assert (tmp_path / "letter").read_text() == "dear"


def test_commands_lock_what_they_write(bert_data, bert_plm, tmp_path):
    """From their beginning, before any work is done twice."""
    data = shutil.copytree(bert_data, tmp_path / "data")
    for path, command in (
        (data / "candidates", (distill, bert_plm, data)),
        (tmp_path / "out.json", (evaluate, data, "--path", tmp_path / "none.pt", "--out", tmp_path / "out.json")),
    ):
        process = in_child(hold, path)
        sentence = error_of(*command)
        process.kill()
        process.join()
        assert sentence.startswith(f"{path} is being written by process {process.pid}: wait")
