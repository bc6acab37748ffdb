"""How a command of this project begins and ends: an error is one sentence on stderr and exit code 1, an interrupt one word.

``--debug`` shows the traceback, too; so does ``SALT_DEBUG=1`` in the environment, for fairseq's commands and the recipes.
Nothing here happens when the package is imported as a library.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import logging
import os
import signal
import sys
from pathlib import Path
from types import TracebackType

from salt_fairseq.cli.end_with_parent import end_with_parent
from salt_fairseq.cli.printable import printable
from salt_fairseq.cli.sentences import DEBUG, sentence_of
from salt_fairseq.errors import exception_chain


def start_command() -> None:
    """Make this process a command's. Commands call it before they load the rest, which takes seconds, so that an interrupt
    meanwhile ends in one line, too."""
    sys.excepthook = print_sentence
    if "TORCHELASTIC_RUN_ID" in os.environ:  # a worker of torchrun's, before it waits for others that may have ended
        end_with_parent()
    _fill_closed_descriptors()
    for stream in (sys.stdout, sys.stderr):  # no work ends for a line that the terminal's encoding cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    keep_log_level()


def _fill_closed_descriptors() -> None:
    """Let no file that is opened later become standard output, which the C libraries write to, because the shell has closed
    that (``>&-``). ``sys.stdin`` stays None where there is none."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor
    sys.stdout = sys.stdout or open(os.devnull, "w")
    sys.stderr = sys.stderr or open(os.devnull, "w")


def keep_log_level() -> None:
    """Keep what the import of fairseq would change, if it is called before.

    fairseq imports all of its tasks and models. One of them sets the level to DEBUG, where nobody has set another before, and
    one reports that tensorboardX is not installed.
    """
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)


def start_under_fairseq() -> None:
    """The same for a command of fairseq's that has loaded this package by ``--user-dir``; nothing in any other process.

    fairseq calls a plugin and not the other way round, so the program that this process runs decides.
    """
    program = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    if program.name.startswith("fairseq-") or program.parent.name == "fairseq_cli":  # console script, or python -m
        start_command()
        os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # or fairseq-hydra-train prints a traceback of its own and exits


def print_sentence(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """``sys.excepthook`` of a command: Python then exits with 1, or, interrupted, by the signal."""
    if isinstance(error, BrokenPipeError):  # "| head" has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    # An interrupt while torch writes a file arrives as a RuntimeError of torch's.
    if any(isinstance(cause, KeyboardInterrupt) for cause in exception_chain(error)):
        line: str | None = "interrupted"
        atexit.register(_die_of, signal.SIGINT)
    else:
        sentence = sentence_of(error)
        line = sentence and f"error: {printable(sentence)}"
    if line is None or os.environ.get(DEBUG, "0") not in ("", "0"):
        sys.__excepthook__(kind, error, traceback)
    if line is not None:
        print(line, file=sys.stderr)


def _die_of(number: signal.Signals) -> None:
    """End as a process ends that a signal stops: a shell shows 128 + number, and ends its script, too. Python does this for
    most interrupts, but exits with 1 after some."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
