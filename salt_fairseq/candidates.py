"""Candidates: for every token and target language, the PLM's most probable other word and its log-probability.

They are stored beside the binarized sentences, ``candidates/LANG/input0/train.{bin,idx}`` (ids) and ``train.log_probs.npy``,
token by token; thresholds are applied when they are used (paper §2.1). A repeated sentence is stored once: the index points to
it wherever it occurs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch

from salt_fairseq.errors import InputError
from salt_fairseq.storage.indexed_data import load_indexed, ranges, write_flat
from salt_fairseq.storage.manifest import Manifest, check_made_from

BLOCK = 1 << 17  # sentences whose log-probabilities are read at once


class Candidates:
    """``len()`` sentences; item i is ``(ids LongTensor (T,), log_probs FloatTensor (T,))``.

    ``log_probs`` are natural logarithms over the whole vocabulary, ``-inf`` where the token is no candidate position
    (there the id is the token's own).
    """

    def __init__(self, manifest: Manifest, name: str):
        self._ids = load_indexed(manifest, name)
        manifest.verify(f"{name}.log_probs.npy")
        path = manifest.directory / f"{name}.log_probs.npy"
        self._log_probs = np.load(path, mmap_mode="r", allow_pickle=False)  # an element for each of the ids'
        self.sizes = self._ids.sizes

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        start = self._ids.starts[i]
        return self._ids[i], torch.from_numpy(self._log_probs[start : start + self.sizes[i]].astype(np.float32))

    def log_probs(self) -> Iterator[np.ndarray]:
        """Yield those of all tokens, one sentence after another, in float32 arrays (n,): together they may be larger than the
        memory."""
        for first in range(0, len(self), BLOCK):
            block = slice(first, first + BLOCK)
            yield self._log_probs[ranges(self._ids.starts[block], self.sizes[block])]


def languages(data: str | Path) -> list[str]:
    """The languages in which the data directory has candidates."""
    directory = Path(data) / "candidates"
    return sorted(p.name for p in directory.iterdir() if p.is_dir()) if directory.is_dir() else []


def open_candidates(data: str | Path, subset: str, language: str, side: str = "input0") -> Candidates:
    """The :class:`Candidates` of ``data/SIDE/SUBSET`` in a language, after checking that they belong to these sentences and
    are in this language (which directories of older versions do not say)."""
    data = Path(data)
    directory = data / "candidates" / language
    if not directory.is_dir():
        known = ", ".join(languages(data)) or "none"
        raise InputError(f"{data} has no candidates in language {language!r} (it has: {known}): run preprocess/distill.py")
    manifest = Manifest(directory, "preprocess/distill.py", {"sentences_sha256": {str: str}})
    named = manifest.values.get("language", language)  # older ones do not name it
    if named != language:
        raise InputError(
            f"{directory} holds candidates in language {named!r}: name the directory {named}, or make it again with "
            "preprocess/distill.py"
        )
    asked, answered = (manifest.values.get(name, 0) for name in ("candidate_positions", "answered_positions"))
    if not type(asked) is type(answered) is int:
        raise InputError(f"{directory} does not count its positions in numbers: make it again with preprocess/distill.py")
    if answered < asked:
        raise InputError(
            f"{directory} has candidates at {answered:,} of {asked:,} positions: make it again with preprocess/distill.py"
        )
    check_made_from(manifest, data, subset, side)
    return Candidates(manifest, f"{side}/{subset}")


def write_candidates(
    prefix: Path,
    numbers: np.ndarray,
    tokens: int,
    chunks: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]],
    dtype: type[np.integer],
) -> None:
    """Write the candidates of one input, whose sentence i is distinct sentence ``numbers[i]``, int64 (N,).

    ``chunks`` are ``(sizes, ids, log_probs)`` of consecutive distinct sentences, which have ``tokens`` tokens together: the
    sizes of the sentences, and the ids and float32 log-probabilities of their tokens one after another."""
    log_probs, written = np.lib.format.open_memmap(f"{prefix}.log_probs.npy", "w+", np.float32, (tokens,)), 0

    def ids() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        nonlocal written
        for sizes, chunk, values in chunks:
            log_probs[written : written + len(values)] = values
            written += len(values)
            yield sizes, chunk

    write_flat(prefix, ids(), dtype, numbers)
    log_probs.flush()
