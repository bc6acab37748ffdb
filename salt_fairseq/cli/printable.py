"""What is printed to a terminal: text of other people, as it may be, and counts."""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

# Control characters, C0 and C1, of which ESC begins the sequences that move the cursor, hide text or write the clipboard; the
# separators of lines and paragraphs; what reverses the direction of text; halves of surrogate pairs.
UNPRINTABLE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text on one line, with such characters as escapes: ``\\x1b`` for ESC."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def counted(number: int, noun: str) -> str:
    """``1 subset``, ``5,010 subsets``: a noun whose plural takes an s."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def print_line(text: str, file: TextIO | None = None) -> None:
    """Print it so, at once. No work fails for a line that nobody reads any more, or that a full disk cannot take."""
    stream = file or sys.stdout
    try:
        print(printable(text), file=stream, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
