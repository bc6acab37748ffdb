"""The lines of a text file that a user gives."""

from __future__ import annotations

import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from salt_fairseq.errors import InputError
from salt_fairseq.storage.text_lines import text_lines


def numbered_lines(path: str | Path, kind: str = "text file") -> Iterator[tuple[int, str]]:
    """Yield ``(line number, text)`` of a UTF-8 file, plain or ``.xz``. Errors call it a ``kind``."""
    try:
        with cast(BinaryIO, lzma.open(path) if str(path).endswith(".xz") else open(path, "rb")) as file:
            yield from text_lines(file, path)
    except (OSError, EOFError, lzma.LZMAError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{kind} {path} cannot be read ({reason}): a UTF-8 text file is needed") from None
