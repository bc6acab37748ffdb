"""Outputs: complete or absent, written by one process at a time, and the hashes that verify them."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal

import pytest

from preprocess import distill
from salt_fairseq import evaluate
from salt_fairseq.candidates import open_candidates
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import PLM
from salt_fairseq.storage.files import locked, replacing
from salt_fairseq.storage.manifest import read_verified, write_with_checksum
from support.in_process import error_of


def in_child(work, *args, daemon=True):
    """Start ``work`` in another process, which says by a pipe when it is ready."""
    parent, child = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=(*args, child), daemon=daemon)
    process.start()
    assert parent.recv() == "ready"
    return process


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


def write_half(path, pipe):
    with replacing(path, marker="meta.json") as temporary:
        temporary.mkdir()
        (temporary / "half").write_text("x")
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


def test_killed_writer_leaves_nothing_that_stays(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "meta.json").write_text("old")
    process = in_child(write_half, out)
    process.kill()
    process.join()
    assert (out / "meta.json").read_text() == "old" and sorted(os.listdir(tmp_path)) == [".out.lock", ".out.tmp", "out"]
    with replacing(out, marker="meta.json") as temporary:
        assert not temporary.exists()
        temporary.mkdir()
        (temporary / "meta.json").write_text("new")
    assert (out / "meta.json").read_text() == "new" and os.listdir(tmp_path) == ["out"]


def test_killed_between_the_two_renames(tmp_path):
    """The directory is aside, its successor not yet there: the next writer puts it back before anything else."""
    (tmp_path / ".out.old").mkdir()
    (tmp_path / ".out.old" / "meta.json").write_text("old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "out", marker="meta.json") as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert (tmp_path / "out" / "meta.json").read_text() == "old" and os.listdir(tmp_path) == ["out"]


def test_checksum_of_metadata(tmp_path):
    """Of the content in order of its keys, whatever the layout; without it, or with another, the file is refused."""
    path = tmp_path / "meta.json"
    write_with_checksum(path, {"b": [1, 2.5], "a": "é"})
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["checksum"] == hashlib.sha256(b'{"a": "\\u00e9", "b": [1, 2.5]}').hexdigest()
    assert read_verified(path, "it") == {"a": "é", "b": [1, 2.5]}
    for changed in ({**written, "b": [1, 2.6]}, {"a": "é", "b": [1, 2.5]}, {**written, "c": None}, [written], None):
        path.write_text(json.dumps(changed))
        with pytest.raises(InputError, match=f"{path} is not as it was written .its checksum does not fit.: make it again with it"):
            read_verified(path, "it")


def flipped(path, at):
    content = bytearray(path.read_bytes())
    content[at * len(content) // 5] ^= 4
    path.write_bytes(content)


USES = {  # the first use of a file of the data directory
    "input0/train.bin": lambda data: data.load("train"),
    "input1/train.idx": lambda data: data.load("train"),
    "label/test.fr.bin": lambda data: data.load("test.fr"),
    "label/test.fr.idx": lambda data: data.load("test.fr"),
    "id/test.de.txt": lambda data: data.load("test.en-de"),
    "input0/dict.txt": lambda data: data.dictionary,
    "candidates/fr/input0/train.bin": lambda data: open_candidates(data.path, "train", "fr"),
    "candidates/fr/input1/train.idx": lambda data: open_candidates(data.path, "train", "fr", "input1"),
    "candidates/fr/input0/train.log_probs.npy": lambda data: open_candidates(data.path, "train", "fr"),
    "candidates/fr/meta.json": lambda data: open_candidates(data.path, "train", "fr"),
    "meta.json": lambda data: data,
}


@pytest.mark.parametrize("name", USES)
def test_flipped_bit(bert_data, tmp_path, name):
    """One bit, near the beginning, in the middle, near the end: an error that names the file."""
    data = shutil.copytree(bert_data, tmp_path / "data")
    whole = (data / name).read_bytes()
    USES[name](DataDirectory(data))
    for at in (0, 1, 2, 4):
        flipped(data / name, at)
        with pytest.raises(InputError) as error:
            USES[name](DataDirectory(data))
        assert str(error.value).startswith(f"{data / name} ") and "again with preprocess/" in str(error.value)
        (data / name).write_bytes(whole)


@pytest.mark.parametrize("name", ["model.pt", "dict.txt", "tokenizer.json", "plm.json"])
def test_flipped_bit_in_a_plm(bert_plm, tmp_path, name):
    plm = shutil.copytree(bert_plm, tmp_path / "plm")
    flipped(plm / name, 2)
    with pytest.raises(InputError, match=f"^{plm / name} .*again"):
        PLM.load(plm)


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
