"""How bad input ends: one sentence on stderr and exit code 1, never a traceback."""

import os
import sys


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where, and what to do."""


def _print_sentence(kind, error, traceback, previous=sys.excepthook):
    if isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        previous(kind, error, traceback)


def install():
    """Let an uncaught :class:`InputError` print its sentence alone, and an interrupt one line; exit codes stay Python's.

    An exception hook, because ``fairseq-train`` and ``fairseq-validate`` call the plugin and not the other way round.
    """
    sys.excepthook = _print_sentence
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # or fairseq-hydra-train prints a traceback of its own and exits
