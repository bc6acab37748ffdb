"""Processes that do not outlive the one that started them."""

import ctypes
import signal

PR_SET_PDEATHSIG = 1  # of Linux's sys/prctl.h


def end_with_parent() -> None:
    """Have Linux end this process when its parent ends, even by SIGKILL, which a parent cannot pass on: it would go on for
    hours, unseen, and hold the lock of its output."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
