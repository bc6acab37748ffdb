"""Files that are either complete or absent and written by one process at a time, and their hashes."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from salt_fairseq.errors import InputError, failed_write


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Let no other process write ``path`` until the block ends.

    Raises if another process is writing it, and for devices and pipes. The system releases the lock of a process that dies,
    whatever processes it has forked. A process may lock a path that it has locked already.
    """
    path = Path(path).resolve()
    if path.exists() and not (path.is_file() or path.is_dir()):  # renaming onto it would replace even /dev/null
        raise InputError(f"{path} is not a regular file: choose another output path")
    lock_file = path.with_name(f".{path.name}.lock")
    lock = FileLock(lock_file, blocking=False, is_singleton=True, fallback_to_soft=False)

    def remove_lock_file() -> None:
        if lock.lock_counter == 1:  # while it is held, so that it is not another process's
            lock_file.unlink(missing_ok=True)

    with contextlib.ExitStack() as release:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            release.enter_context(lock)
            release.callback(remove_lock_file)
            lock_file.write_text(str(os.getpid()))
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


@contextlib.contextmanager
def replacing(path: str | Path, marker: str | None = None) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` (a file or a directory) that replaces it when the block succeeds.

    When the block fails, the temporary is removed and ``path`` is as it was; what a killed process leaves behind, the next
    one removes. A directory is replaced only if it is empty or holds the file ``marker``, so that a mistyped output path
    never costs other files.
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


def _tidy(path: Path, temporary: Path, old: Path) -> None:
    if old.exists() and not path.exists():  # stopped between the two renames
        os.replace(old, path)
    for leftover in (temporary, old):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        leftover.unlink(missing_ok=True)


def write_json(path: str | Path, value: Any, compact: bool = False) -> None:
    """Write a JSON value, indented, or on a single line without spaces."""
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 1}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, **layout) + "\n", encoding="utf-8")


def read_json(path: str | Path, made_by: str) -> Any:
    """The JSON value of ``path``; errors name ``made_by``, the command that writes such a file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: make it with {made_by}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): make it again with {made_by}") from None
