"""Lines of UTF-8 text from a binary file, checked to be text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from salt_fairseq.errors import InputError

LONGEST = 1 << 20  # bytes; what is longer is no sentence, and no word


def text_lines(file: IO[bytes], where: str | Path, before: int = 0) -> Iterator[tuple[int, str]]:
    """Yield ``(line number, text)`` without line ends; ``where`` names ``file`` in errors, and ``before`` is the number of
    lines that precede its position.

    A byte order mark is dropped. Never holds more than one line in memory, and none longer than :data:`LONGEST`.
    """
    number = before
    while line := file.readline(LONGEST + 1):
        number += 1
        if len(line) > LONGEST:
            raise InputError(
                f"{where}, line {number}: more than {LONGEST:,} bytes, which is no sentence: break the text into "
                "lines of one sentence or entry each"
            )
        if number == 1 and not line.endswith(b"\n") and b"\r" in line.rstrip(b"\r"):  # the whole text would be one line
            raise InputError(f"{where} has carriage returns (CR) alone as line ends: convert them, tr '\\r' '\\n' < OLD > NEW")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{where}, line {number}: not UTF-8 ({error.reason}), convert the text") from None
        if "\0" in text:
            raise InputError(f"{where}, line {number}: not UTF-8 text (a NUL byte), convert the text")
        yield number, text.rstrip("\r\n")
