"""Exceptions as sentences for the user: what is wrong, and what to do."""

from __future__ import annotations

import errno
import os
import traceback

from salt_fairseq.errors import ADVICE, InputError, out_of_memory, raised_by

DEBUG = "SALT_DEBUG"
# What fairseq, or numpy or torch called by it, raises for options that cannot work.
BAD_OPTIONS = (AssertionError, ValueError, TypeError, AttributeError, NameError, SyntaxError, ArithmeticError, OSError)


def sentence_of(error: BaseException) -> str | None:
    """The sentence that tells the user about ``error``, or None if nothing is known about it: then it is a defect."""
    lines = str(error).strip().splitlines() or [""]
    if isinstance(error, InputError):  # one from a worker of a data loader begins with that worker's traceback
        return str(error).strip().rpartition(f"{InputError.__module__}.{InputError.__name__}: ")[2]
    if out_of_memory(error):
        return "there is not enough memory: let the model read less at once (--max-tokens, --batch-size)"
    if isinstance(error, OSError) and error.errno and error.filename is not None:
        if error.errno in (errno.EACCES, errno.EPERM):  # of an input as well as of an output
            return f"{os.fsdecode(error.filename)}: {error.strerror}; change its permissions, or name another path"
        return f"{os.fsdecode(error.filename)}: {error.strerror}; {ADVICE.get(error.errno, 'check the path')}"
    if isinstance(error, OSError) and error.errno in ADVICE:
        return f"a file cannot be written: {error.strerror}; {ADVICE[error.errno]}"
    if isinstance(error, ImportError) and error.name and error.name.split(".")[0] not in ("salt_fairseq", "preprocess"):
        package = error.name.split(".")[0]
        return f"the package {package} cannot be imported ({lines[0]}): install it (pip install {package})"
    if isinstance(error, KeyError) and error.args == (None,) and _raised_in_fairseq(error):  # of fairseq-validate
        return "--task is missing: add --task salt_sentence_pair or --task salt_token_labelling"
    if isinstance(error, BAD_OPTIONS) and lines[0] and _raised_in_fairseq(error):
        return f"fairseq says: {lines[0]}; correct the options ({DEBUG}=1 shows where in the code)"
    if raised_by(error, "omegaconf.errors", "OmegaConfBaseException"):
        reasons = ", ".join(line.strip() for line in lines)
        return f"the configuration is invalid: {reasons}; correct the YAML or the command line"
    return None


def _raised_in_fairseq(error: BaseException) -> bool:
    """Whether the innermost code outside numpy and torch is fairseq's."""
    modules = [frame.f_globals.get("__name__", "").split(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)]
    callers = [module for module in modules if module not in ("numpy", "torch")]
    return bool(callers) and callers[-1].startswith("fairseq")
