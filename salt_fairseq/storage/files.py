"""Files that are either complete or absent, that one process at a time writes, and their hashes."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path

from salt_fairseq.errors import InputError, failed_write

_held = set()  # what this process has locked


def sha256(path):
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path):
    """Let no other process write ``path`` until the block ends; raises where one does already, and for devices and pipes.

    The system releases the lock of a process that dies. Within a process, a lock may be taken again.
    """
    path = Path(path).resolve()
    if path in _held:
        yield
        return
    if path.exists() and not (path.is_file() or path.is_dir()):  # renaming onto it would take away even /dev/null
        raise InputError(f"{path} is no regular file: choose another output path")
    lock = path.with_name(f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _acquired(lock, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {failed_write(error)}") from None
    _held.add(path)
    try:
        yield
    finally:
        _held.discard(path)
        lock.unlink(missing_ok=True)  # while it is held, so that it is nobody else's
        file.close()


def _acquired(lock, path):
    while True:
        file = open(lock, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip()
            file.close()
            raise InputError(
                f"{path} is being written by process {owner}: wait until it has finished, or choose another output path"
            ) from None
        if lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat()):
            try:
                file.truncate(0)
                file.write(str(os.getpid()))
                file.flush()
            except OSError:  # a full disk
                lock.unlink()
                raise
            return file
        file.close()  # its last owner removed it between the two calls


@contextlib.contextmanager
def replacing(path, marker=None):
    """Yield a temporary path beside ``path`` (a file or a directory) that replaces it when the block ends well.

    When the block fails, the temporary is removed and ``path`` is as it was; what a killed process left is removed by the
    next one. A directory is replaced only if it holds the file ``marker`` (or nothing), so that a mistyped output path
    never costs somebody else's files.
    """
    path = Path(path).resolve()  # what a link points to is replaced, not the link
    if path.is_dir() and not marker:
        raise InputError(f"{path} is a directory: name a file")
    if path.is_dir() and any(path.iterdir()) and not (marker and (path / marker).is_file()):
        raise InputError(f"{path} exists and holds no {marker}: choose another output directory, or empty it")
    if marker and path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: choose another output directory")
    temporary, old = path.with_name(f".{path.name}.tmp"), path.with_name(f".{path.name}.old")
    with locked(path):
        _tidy(path, temporary, old)
        try:
            yield temporary
            if temporary.is_dir() and path.is_dir():
                os.replace(path, old)
            os.replace(temporary, path)
        except Exception as error:
            if not isinstance(error, InputError) and (why := failed_write(error, temporary)):
                raise InputError(f"cannot write {path}: {why}") from error
            raise
        finally:
            _tidy(path, temporary, old)


def _tidy(path, temporary, old):
    if old.exists() and not path.exists():  # stopped between the two renames
        os.replace(old, path)
    for leftover in (temporary, old):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        leftover.unlink(missing_ok=True)


def write_json(path, value):
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path, made_by):
    """The JSON value of ``path``; ``made_by`` names the command that writes such a file, for the error."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: make it with {made_by}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): make it again with {made_by}") from None
