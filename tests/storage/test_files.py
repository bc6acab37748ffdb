"""Outputs are complete or absent, replace nothing but earlier ones, and follow no links."""

import json
import os
import signal
from unittest import mock

import pytest

from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import check_output, read_json, replacing, write_json
from salt_fairseq.storage.resumable import resuming
from support.children import in_child

pytestmark = pytest.mark.slow


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
