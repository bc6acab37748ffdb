"""How a command ends that cannot go on: one sentence on stderr and exit code 1, a traceback only with ``--debug``.

``SALT_DEBUG=1`` in the environment means the same as ``--debug``, for fairseq's commands and the recipes.
"""

import atexit
import contextlib
import errno
import os
import signal
import sys
import traceback as tracebacks

DEBUG = "SALT_DEBUG"
ADVICE = {
    errno.ENOSPC: "free some space, or choose a path on another disk",
    errno.EDQUOT: "free some space, or choose a path on another disk",
    errno.EFBIG: "choose a path on another disk, or raise the limit (ulimit -f)",
    errno.EROFS: "choose a path on another disk",
    errno.EACCES: "choose another output path, or change its permissions",
    errno.EPERM: "choose another output path, or change its permissions",
}
# Where fairseq reads or writes a checkpoint: its functions, and their variable that is the path.
OF_CHECKPOINTS = {
    "load_checkpoint_to_cpu": "path",
    "torch_persistent_save": "filename",
    "load_checkpoint": "filename",
    "load_model_ensemble_and_task": "filename",
}
# What libraries say instead of raising an OSError when a file does not take all they write: torch, numpy, safetensors.
UNWRITTEN = (
    "PytorchStreamWriter",
    "inline_container",
    "iostream error",
    "requested and",
    "No space left",
    "File too large",
    "I/O error",
)
# What its code raises, itself or in the packages it calls, for options that cannot be meant.
OF_FAIRSEQ = (AssertionError, ValueError, TypeError, AttributeError, NameError, SyntaxError, ArithmeticError, OSError)
CALLED = ("numpy", "torch")
NO_MEMORY = ("can't allocate memory", "out of memory")


class InputError(ValueError):
    """Something the user gave is wrong; the message says what, where, and what to do."""


def failed_write(error, path=None):
    """Why ``path`` could not be written, with what to do, or None where ``error`` says something else."""
    if isinstance(error, OSError) and error.errno:
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        elsewhere = path is not None and named and not any(name.startswith(str(path)) for name in named)
        return None if elsewhere else f"{error.strerror}; {ADVICE.get(error.errno, 'choose another output path')}"
    if any(said in str(error) for said in UNWRITTEN):
        return f"it cannot hold all that is to be written; {ADVICE[errno.ENOSPC]}"
    return None


def sentence_of(error):
    """The sentence with which ``error`` is told, or None where nothing is known of it: then it is a defect."""
    lines = str(error).strip().splitlines() or [""]
    first = lines[-1].strip() if lines[0].endswith(":") else lines[0]  # "Error(s) in loading state_dict for SaltEncoder:"
    if isinstance(error, InputError):  # from a worker of a data loader, it comes with a traceback in front
        return str(error).strip().rpartition(f"{InputError.__module__}.InputError: ")[2]
    if isinstance(error, MemoryError) or any(said in first for said in NO_MEMORY):
        return "the memory is not large enough: let the model read less at once (--max-tokens, --batch-size)"
    path = _checkpoint(error.__traceback__)
    if path and (why := failed_write(error, path)):
        return f"cannot write {path}: {why}"
    if path and not os.path.exists(path):
        return f"{path} does not exist: name a checkpoint that fairseq-train wrote"
    if path:
        return (
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {first[:200]}): it is damaged, of another "
            "model, or holds more than tensors and plain values, which is not run; name another one"
        )
    if isinstance(error, OSError) and error.errno and error.filename is not None:
        return f"{error.filename}: {error.strerror}; {ADVICE.get(error.errno, 'check the path')}"
    if isinstance(error, OSError) and error.errno in ADVICE:
        return f"a file cannot be written: {error.strerror}; {ADVICE[error.errno]}"
    if isinstance(error, ImportError) and error.name and error.name.split(".")[0] not in ("salt_fairseq", "preprocess"):
        package = error.name.split(".")[0]
        return f"the package {package} cannot be imported ({first}): install it (pip install {package})"
    modules = [frame.f_globals.get("__name__", "") for frame, _ in tracebacks.walk_tb(error.__traceback__)]
    where = next((module for module in reversed(modules) if module.split(".")[0] not in CALLED), "")
    if isinstance(error, OF_FAIRSEQ) and first and where.startswith("fairseq"):
        return f"fairseq says: {first}; correct the options ({DEBUG}=1 shows where in the code)"
    if type(error).__module__.startswith("omegaconf."):
        return f"the configuration cannot be: {', '.join(line.strip() for line in lines)}; correct the YAML or the command line"
    return None


def _checkpoint(traceback):
    """Path of the checkpoint that fairseq was reading or writing, or None."""
    found = None
    for frame, _ in tracebacks.walk_tb(traceback):
        if frame.f_globals.get("__name__", "").startswith("fairseq."):
            found = frame.f_locals.get(OF_CHECKPOINTS.get(frame.f_code.co_name), found)
    return found


def _print_sentence(kind, error, traceback, previous=sys.excepthook):
    if isinstance(error, BrokenPipeError):  # "| head" has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    if isinstance(error, KeyboardInterrupt):
        sentence, start = "interrupted", ""
        atexit.register(_die_of, signal.SIGINT)
    else:
        sentence, start = sentence_of(error), "error: "
    if sentence is None or os.environ.get(DEBUG, "0") not in ("", "0"):
        previous(kind, error, traceback)
    if sentence is not None:
        print(f"{start}{sentence}", file=sys.stderr)


def _die_of(number):
    """End as a process ends that a signal stops: a shell shows 128 + number, and ends its script, too. Python does this for
    most interrupts, but exits with 1 after some."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def install():
    """Let an exception that ends the process print its sentence alone; the exit code stays 1, or, interrupted, 130.

    An exception hook, because ``fairseq-train`` and ``fairseq-validate`` call the plugin and not the other way round.
    """
    sys.excepthook = _print_sentence
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # or fairseq-hydra-train prints a traceback of its own and exits
