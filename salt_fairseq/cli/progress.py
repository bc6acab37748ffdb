"""How far a command has come: tqdm's bar on a terminal, and elsewhere, in logs, now and then a line."""

import sys
from typing import Any

from tqdm import tqdm

SECONDS = 30  # between the lines of a log


class _Lines:
    """A text stream for tqdm, which begins every display with a carriage return: displays become lines."""

    def __init__(self, stream: Any):
        self.stream = stream
        self.encoding = getattr(stream, "encoding", None)

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            self.stream.write(f"{line}\n")

    def flush(self) -> None:
        self.stream.flush()


def progress_bar(iterable: Any = None, **options: Any) -> tqdm:
    """``tqdm(iterable, **options)`` on standard error. Where that is no terminal, a line every 30 seconds, and none for what
    takes less; where it is closed, nothing."""
    if sys.stderr is None or sys.stderr.closed:
        options["disable"] = True
    elif not sys.stderr.isatty():
        # ncols 0: the numbers without a bar. delay keeps the first and, of short jobs, the last display back.
        options.update(file=_Lines(sys.stderr), ncols=0, mininterval=SECONDS, maxinterval=SECONDS, delay=SECONDS)
    return tqdm(iterable, **options)
