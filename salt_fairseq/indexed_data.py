"""fairseq's indexed binary format (``PREFIX.bin``, ``PREFIX.idx``), read and written with fairseq's own classes."""

from pathlib import Path

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset, MMapIndexedDatasetBuilder, best_fitting_int_dtype

from salt_fairseq.errors import InputError

__all__ = ["Dictionary", "best_fitting_int_dtype", "load_flat", "load_indexed", "write_indexed"]


def load_indexed(prefix, made_by="preprocess/binarize.py"):
    """The sequences of ``PREFIX``: ``len()``, ``.sizes`` int (N,), item i a LongTensor (T,) (shared: do not edit it)."""
    for suffix in (".idx", ".bin"):
        if not Path(f"{prefix}{suffix}").is_file():
            raise InputError(f"{prefix}{suffix} does not exist: make it with {made_by}")
    try:
        sequences = MMapIndexedDataset(str(prefix))
    except (AssertionError, ValueError, KeyError) as error:
        raise InputError(f"{prefix}.idx is damaged ({error}): make it again with {made_by}") from None
    expected = int(sequences.sizes.sum()) * np.dtype(sequences._index.dtype).itemsize
    found = Path(f"{prefix}.bin").stat().st_size
    if found != expected:
        raise InputError(f"{prefix}.bin has {found:,} bytes, its .idx says {expected:,}: make it again with {made_by}")
    return sequences


def load_flat(prefix, made_by="preprocess/binarize.py"):
    """The elements of all sequences of ``PREFIX``, one after another: an integer array."""
    return np.fromfile(f"{prefix}.bin", dtype=load_indexed(prefix, made_by)._index.dtype)


def write_indexed(prefix, sequences, dtype):
    """Write an iterable of integer sequences; returns the number of elements."""
    builder, elements = MMapIndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype), 0
    for sequence in sequences:
        builder.add_item(torch.as_tensor(sequence))
        elements += len(sequence)
    builder.finalize(f"{prefix}.idx")
    return elements
