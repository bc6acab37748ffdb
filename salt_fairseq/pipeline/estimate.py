"""About how long a run takes and how much disk it needs, from its arithmetic and the speed of this machine."""

import time
from dataclasses import dataclass

import torch

from salt_fairseq.pipeline.plm_cache import Shape

CHARACTERS = 4.0  # of a piece, on average over languages in Latin script
SPECIAL = 3  # tokens beside the pieces of a pair
# Of the rate of large matrix products: the quickstart's PLM reaches 0.67 forward and 0.59 in training (16 pairs of 48 tokens, a
# CPU core).
EFFICIENCY = 0.6
START = 8  # seconds that a command takes to start
PRODUCT, REPEATS = 1024, 4  # size and number of the products that are timed


@dataclass(frozen=True)
class Work:
    """What is to be done: sentences and steps, by count."""

    tokens: float  # of an example, on average
    train: int  # examples of train
    evaluated: int  # examples that are evaluated after each training
    read: int  # examples that one training reads: updates x batch
    validated: int  # examples that one training validates, all times together
    languages: int  # that are distilled into
    seeds: int


def tokens_of(characters: float, max_length: int) -> float:
    """Tokens of an example, on average, from its number of characters."""
    return min(characters / CHARACTERS + SPECIAL, max_length)


def operations(work: Work, shape: Shape) -> dict[str, float]:
    """Floating-point operations of the parts of a run that take time; a product of n parameters takes 2 n for each token."""
    forward = 2 * shape.body * work.tokens
    head = 2 * shape.embeddings * work.tokens if work.languages else 0.0
    return {
        "distill": work.train * (forward + head) if work.languages else 0.0,
        "train": work.seeds * (3 * work.read + work.validated) * forward,
        "evaluate": work.seeds * work.evaluated * forward,
    }


def operations_per_second(device: str, precision: str) -> float:
    """How many floating-point operations this machine does in matrix products, measured in a part of a second."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.ones(PRODUCT, PRODUCT, dtype=dtype, device=device) for _ in range(2))
    (a @ b).sum().item()  # the first one starts the library
    took = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for a GPU
        took.append(time.perf_counter() - start)
    return 2 * PRODUCT**3 / min(took)


def seconds(work: Work, shape: Shape, device: str, precision: str) -> float:
    rate = EFFICIENCY * operations_per_second(device, precision)
    return sum(operations(work, shape).values()) / rate + START * (1 + work.seeds)


def disk(work: Work, shape: Shape, frozen: bool, is_imported: bool) -> int:
    """Bytes at most: the imported PLM, candidates, three checkpoints with Adam's two moments, one of each seed, the export."""
    parameters = shape.body + shape.embeddings
    trained = shape.body if frozen else parameters
    candidates = int(work.train * work.tokens * work.languages * 8)
    checkpoints = 3 * 4 * (parameters + 2 * trained)
    return 4 * parameters * (1 + work.seeds + (not is_imported)) + candidates + checkpoints


def duration(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"3.5 h"`` or ``"2.1 days"``."""
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min")):
        if seconds < limit:
            return f"{max(1, round(seconds / unit))} {name}"
    return f"{seconds / 3600:.1f} h" if seconds < 172800 else f"{seconds / 86400:.1f} days"


def size(count: float) -> str:
    """Bytes as ``"800 MB"`` or ``"3.2 GB"``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"
