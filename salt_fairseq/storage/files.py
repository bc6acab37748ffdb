"""Files that are either complete or absent and written by one process at a time, and their hashes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from salt_fairseq.errors import InputError, failed_write

OLD = ".old"  # in a temporary directory: the directory that is being replaced
LONGEST_BEGINNING = 1 << 16  # bytes


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: str | Path, wait: bool = False) -> Iterator[None]:
    """Let no other process write ``path`` until the block ends.

    Raises if another process is writing it (with ``wait``, the block begins when that one has ended), for devices and pipes,
    and where the lock file is a link to another file. The system releases the lock of a process that dies, whatever processes
    it has forked. A process may lock a path that it has locked already.
    """
    path = Path(path).resolve()
    if path.exists() and not (path.is_file() or path.is_dir()):  # renaming onto it would replace even /dev/null
        raise InputError(f"{path} is not a regular file: choose another output path")
    lock_file = path.with_name(f".{path.name}.lock")
    lock = FileLock(lock_file, is_singleton=True, fallback_to_soft=False)

    def remove_lock_file() -> None:
        if lock.lock_counter == 1:  # while it is held, so that it is not another process's
            lock_file.unlink(missing_ok=True)

    with contextlib.ExitStack() as release:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                found = lock_file.lstat()
                if stat.S_ISLNK(found.st_mode) or found.st_nlink > 1:
                    raise InputError(f"{lock_file}, the lock of {path}, is a link to another file: delete it")
            release.enter_context(lock.acquire(blocking=wait))
            release.callback(remove_lock_file)
            with open(os.open(lock_file, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW), "w") as file:
                file.write(str(os.getpid()))
        except Timeout:
            owner = ""
            with contextlib.suppress(FileNotFoundError):  # it has just ended
                owner = f" {lock_file.read_text()}"
            raise InputError(
                f"{path} is being written by process{owner}: wait until it has finished, or choose another output path"
            ) from None
        except OSError as error:
            raise InputError(f"cannot write {path}: {failed_write(error)}") from None
        yield


def check_output(
    path: str | Path, inputs: Iterable[str | Path | int] = (), marker: str | None = None, begins: bytes | None = None
) -> None:
    """Raise where writing ``path`` would cost anything but an earlier output of the same command.

    ``inputs`` are the files (or descriptors) that the command reads: none of them may be the output, or in it. ``marker`` is
    the name of a file that every such directory holds, and ``begins`` a regular expression with which every such file begins;
    what is empty may be replaced.
    """
    path = Path(path).resolve()  # what a link points to is replaced, not the link
    if path.is_dir():
        if not marker:
            raise InputError(f"{path} is a directory: name a file")
        if any(path.iterdir()) and not (path / marker).is_file():
            raise InputError(f"{path} exists and holds no {marker}: choose another output directory, or empty it")
    elif marker and path.exists():
        raise InputError(f"{path} is a file: choose another output directory")
    for source in inputs:
        with contextlib.suppress(OSError):  # there is no such input, or no such output
            if os.path.samefile(source, path):
                raise InputError(f"{path} is read by this command: choose another output path")
        if not isinstance(source, int) and os.path.exists(source) and Path(source).resolve().is_relative_to(path):
            raise InputError(f"{path} holds {source}, which is read by this command: choose another output path")
    if begins and path.is_file() and path.stat().st_size:
        with open(path, "rb") as file:
            if not re.match(begins, file.read(LONGEST_BEGINNING)):
                raise InputError(f"{path} is not an earlier output of this command: choose another path, or delete it")


@contextlib.contextmanager
def replacing(
    path: str | Path, marker: str | None = None, begins: bytes | None = None, inputs: Iterable[str | Path | int] = ()
) -> Iterator[Path]:
    """Yield a temporary path near ``path`` (a file or a directory) that replaces it when the block succeeds.

    When the block fails, the temporary is removed and ``path`` is as it was; what a killed process leaves behind, the next
    one removes. What may be replaced is what :func:`check_output` allows, so that a mistyped output path never costs other
    files.
    """
    path = Path(path).resolve()
    check_output(path, inputs, marker, begins)
    with locked(path):
        _tidy(path)
        temporary: Path | None = None
        try:
            # Nobody else can have put a link into a new directory of this user alone.
            temporary = Path(tempfile.mkdtemp(".tmp", f".{path.name}.", path.parent), path.name)
            yield temporary
            if temporary.is_dir() and path.is_dir():
                os.replace(path, temporary.with_name(OLD))
            os.replace(temporary, path)
        except Exception as error:
            if not isinstance(error, InputError) and (why := failed_write(error, temporary)):
                raise InputError(f"cannot write {path}: {why}") from error
            raise
        finally:
            _tidy(path)


def _tidy(path: Path) -> None:
    """Remove what writers of ``path`` have left behind, of this user and no links."""
    leftover = re.compile(re.escape(f".{path.name}.") + r"\w{8}\.tmp")  # no name of a writer of path.XXX
    for entry in os.scandir(path.parent):
        if leftover.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False) and entry.stat().st_uid == os.getuid():
            old = Path(entry) / OLD
            if old.is_dir() and not path.exists():  # stopped between the two renames
                os.replace(old, path)
            shutil.rmtree(entry)


def write_json(path: str | Path, value: Any, compact: bool = False) -> None:
    """Write a JSON value, indented, or on a single line without spaces."""
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 1}
    with replacing(path) as temporary:
        text = json.dumps(value, ensure_ascii=False, **layout) + "\n"
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))  # JSON's escapes, for names that are no UTF-8


def read_json(path: str | Path, made_by: str) -> Any:
    """The JSON value of ``path``; errors name ``made_by``, the command that writes such a file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: make it with {made_by}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): make it again with {made_by}") from None
