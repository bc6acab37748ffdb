"""Batches under a budget of tokens, ``--max-tokens``."""

from collections.abc import Iterator

import numpy as np


def token_batches(sizes: np.ndarray, max_tokens: int, similar: float = 0.0) -> Iterator[tuple[int, int]]:
    """Yield ``(start, stop)`` of consecutive batches of sequences with these ``sizes``, int (N,), longest first.

    A batch has at most ``max_tokens`` tokens with padding, but at least one sequence, and none that is shorter than the
    fraction ``similar`` of its longest, which would be mostly padding.
    """
    start = 0
    while start < len(sizes):
        longest = int(sizes[start])
        stop = min(len(sizes), start + max(1, max_tokens // longest))
        stop = start + int(np.searchsorted(-sizes[start:stop], -similar * longest, side="right"))
        yield start, stop
        start = stop
