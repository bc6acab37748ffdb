"""Outputs: complete or absent, written by one process at a time, and the hashes that verify them."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from unittest import mock

import pytest

from preprocess import distill
from salt_fairseq import evaluate
from salt_fairseq.candidates import open_candidates
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import PLM
from salt_fairseq.storage.files import check_output, locked, read_json, replacing, write_json
from salt_fairseq.storage.manifest import read_verified, write_with_checksum
from salt_fairseq.storage.resumable import resuming
from support.in_process import error_of

pytestmark = pytest.mark.slow


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


def die_between_the_renames(path, pipe):
    replace = os.replace

    def once(source, target):
        replace(source, target)
        pipe.send("ready")
        os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch.object(os, "replace", once), replacing(path, marker="meta.json") as temporary:
        temporary.mkdir()
        (temporary / "meta.json").write_text("new")


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


def test_killed_writer_leaves_nothing_that_stays(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "meta.json").write_text("old")
    process = in_child(write_half, out)
    process.kill()
    process.join()
    assert (out / "meta.json").read_text() == "old" and len(os.listdir(tmp_path)) == 3  # the lock and the temporary, too
    with replacing(out, marker="meta.json") as temporary:
        assert not temporary.exists()
        temporary.mkdir()
        (temporary / "meta.json").write_text("new")
    assert (out / "meta.json").read_text() == "new" and os.listdir(tmp_path) == ["out"]


def test_killed_between_the_two_renames(tmp_path):
    """The directory is aside, its successor not yet there: the next writer puts it back before anything else."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "meta.json").write_text("old")
    process = in_child(die_between_the_renames, out)
    process.join()
    assert process.exitcode == -signal.SIGKILL and not out.exists()
    with pytest.raises(RuntimeError), replacing(out, marker="meta.json") as temporary:
        temporary.mkdir()
        raise RuntimeError
    assert (out / "meta.json").read_text() == "old" and os.listdir(tmp_path) == ["out"]


LINKS = {  # names beside "out" that used to be written, emptied or removed
    "lock": ".out.lock",
    "temporary": ".out.tmp",
    "old directory": ".out.old",
    "temporary of today": ".out.abcdefgh.tmp",
}


@pytest.mark.parametrize("to", ["file", "directory"])
@pytest.mark.parametrize("name", LINKS)
def test_links_are_not_followed(name, to, tmp_path):
    """Whatever is planted beside an output: the file or directory that it points to stays as it is."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "letter").write_text("dear")
    (tmp_path / LINKS[name]).symlink_to(victim if to == "directory" else victim / "letter")
    for _ in range(2):
        try:
            with replacing(tmp_path / "out", marker="meta.json") as temporary:
                temporary.mkdir()
                (temporary / "meta.json").write_text("new")
        except InputError as error:
            assert name == "lock" and str(error) == f"{tmp_path / '.out.lock'}, the lock of {tmp_path / 'out'}, is a link to another file: delete it"
    assert (victim / "letter").read_text() == "dear" and os.listdir(victim) == ["letter"]
    assert (tmp_path / "out" / "meta.json").exists() == (name != "lock") and (tmp_path / LINKS[name]).is_symlink()


def test_lock_that_is_a_file_of_two_names(tmp_path):
    (tmp_path / "letter").write_text("dear")
    os.link(tmp_path / "letter", tmp_path / ".out.lock")
    with pytest.raises(InputError, match="the lock of .*/out, is a link to another file: delete it"), locked(tmp_path / "out"):
        pass
    assert (tmp_path / "letter").read_text() == "dear"


def test_state_of_unfinished_work_is_no_link(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / ".out.training").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="the training of .*/out, is a link to another directory: delete it"), resuming(tmp_path / "out", {}, "training"):
        pass
    assert not os.listdir(tmp_path / "victim")


def test_temporary_of_another_writer(tmp_path):
    """A writer of "out" leaves those of "out.abcdefgh" and "out.x" alone, which are at work meanwhile."""
    with replacing(tmp_path / "out.abcdefgh") as first, replacing(tmp_path / "out.x") as second:
        with replacing(tmp_path / "out") as temporary:
            temporary.write_text("0")
        first.write_text("1")
        second.write_text("2")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"out": "0", "out.abcdefgh": "1", "out.x": "2"}


def test_what_an_output_may_replace(tmp_path):
    """Nothing, an empty file, or what begins as the command's outputs do; never what the command reads."""
    out, link, inner = tmp_path / "out", tmp_path / "link", tmp_path / "directory" / "input"
    inner.parent.mkdir()
    inner.write_text("{1")
    (inner.parent / "meta.json").write_text("{}")
    check_output(out, begins=rb"\{1")
    for content in ("", "{1", "{1}"):
        out.write_text(content)
        check_output(out, begins=rb"\{1")
    for content in (" ", "{", "x{1", "{2"):
        out.write_text(content)
        with pytest.raises(InputError, match=f"^{out} is not an earlier output of this command: choose another path, or delete it$"):
            check_output(out, begins=rb"\{1")
    link.symlink_to(inner)
    for path in (inner, link):
        with pytest.raises(InputError, match=f"^{inner} is read by this command: choose another output path$"):
            check_output(path, [inner])
    with open(inner) as file, pytest.raises(InputError, match="is read by this command"):
        check_output(inner, [file.fileno()])
    with pytest.raises(InputError, match=f"^{inner.parent} holds {link}, which is read by this command: choose another"):
        check_output(inner.parent, [link], marker="meta.json")
    check_output(inner.parent, [out], marker="meta.json")


def test_names_that_are_no_utf_8(tmp_path):
    """They stand in JSON as JSON escapes them, and are read as they were."""
    name = os.fsdecode(b"caf\xe9 caf\xc3\xa9")
    write_json(tmp_path / "a.json", {"path": name})
    assert "café".encode() in (tmp_path / "a.json").read_bytes()
    assert read_json(tmp_path / "a.json", "it") == {"path": name} == json.loads((tmp_path / "a.json").read_bytes())


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
