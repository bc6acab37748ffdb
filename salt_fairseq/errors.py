"""Errors that the user can mend, and what to say of a write that failed."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

ADVICE = {
    errno.ENOSPC: "free some space, or choose a path on another disk",
    errno.EDQUOT: "free some space, or choose a path on another disk",
    errno.EFBIG: "choose a path on another disk, or raise the limit (ulimit -f)",
    errno.EROFS: "choose a path on another disk",
    errno.EACCES: "choose another output path, or change its permissions",
    errno.EPERM: "choose another output path, or change its permissions",
}
PROBE_BYTES = 1 << 16  # a writer that was refused leaves less room than this


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where, and what to do."""


def failed_write(error: BaseException, path: str | os.PathLike | None = None) -> str | None:
    """Why ``path`` could not be written and what to do, or None if ``error`` is about something else.

    torch reports a refused write by a RuntimeError without an errno, numpy by an OSError without one. The system's reason
    stands in the chain of exceptions, or is had by writing a little more to the unfinished file (or directory) ``path``.
    """
    for cause in exception_chain(error):
        if isinstance(cause, OSError) and cause.errno:
            names = [str(name) for name in (cause.filename, cause.filename2) if name is not None]
            if path is not None and names and not any(name.startswith(str(path)) for name in names):
                return None
            return f"{cause.strerror}; {ADVICE.get(cause.errno, 'choose another output path')}"
    if raised_by(error, "safetensors", "SafetensorError"):  # has no errno, and the unfinished file is gone
        return f"it cannot hold everything to be written; {ADVICE[errno.ENOSPC]}"
    return None if path is None else _probe(Path(path))


def _probe(path: Path) -> str | None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        try:
            if file.is_file():
                with open(file, "ab") as unfinished:
                    unfinished.write(bytes(PROBE_BYTES))
        except OSError as error:
            return failed_write(error)
    return None


def out_of_memory(error: BaseException) -> bool:
    """Whether memory could not be allocated, on a CPU or GPU."""
    # torch's CPU allocator raises a plain RuntimeError, so that its text is all there is to go by.
    cpu = type(error) is RuntimeError and "DefaultCPUAllocator: can't allocate memory" in str(error)
    return cpu or isinstance(error, MemoryError) or raised_by(error, "torch", "OutOfMemoryError")


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """``error``, what it was raised from or while handling, and so on, as a traceback shows them."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def raised_by(error: BaseException, module: str, name: str) -> bool:
    """Whether ``error`` is of the class ``name`` of a module, which is not imported for that."""
    return module in sys.modules and isinstance(error, getattr(sys.modules[module], name))
