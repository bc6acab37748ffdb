"""fairseq's indexed binary format (``PREFIX.bin``, ``PREFIX.idx``), read and written with fairseq's own classes."""

import struct

import numpy as np
import torch
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import (
    MMapIndexedDataset,
    MMapIndexedDatasetBuilder,
    _dtype_header_code,
    best_fitting_int_dtype,
)

__all__ = ["Dictionary", "best_fitting_int_dtype", "flat", "load_indexed", "write_flat", "write_indexed"]


def load_indexed(manifest, name):
    """The sequences ``NAME.bin`` of a directory with a :class:`~salt_fairseq.manifest.Manifest`, as they were written:
    ``len()``, ``.sizes`` int (N,), item i a LongTensor (T,) (shared: do not edit it)."""
    manifest.verified(f"{name}.idx", f"{name}.bin")
    return MMapIndexedDataset(str(manifest.directory / name))


def flat(sequences):
    """The elements of all sequences that :func:`load_indexed` returned, one after another: an integer array."""
    return np.array(np.frombuffer(sequences._bin_buffer, dtype=sequences._index.dtype))  # the file is closed with them


def write_indexed(prefix, sequences, dtype):
    """Write an iterable of integer sequences; returns the number of elements."""
    builder, elements = MMapIndexedDatasetBuilder(f"{prefix}.bin", dtype=dtype), 0
    for sequence in sequences:
        builder.add_item(torch.as_tensor(sequence))
        elements += len(sequence)
    builder.finalize(f"{prefix}.idx")
    return elements


def write_flat(prefix, chunks, dtype):
    """Write ``chunks``, an iterable of ``(sizes, elements)``, integer arrays: the sizes of some sequences, and these one
    after another. The files are those of :func:`write_indexed`, written many times as fast. Returns the number of elements."""
    every = []
    with open(f"{prefix}.bin", "wb") as file:
        for sizes, elements in chunks:
            if sizes.sum() != len(elements):
                raise RuntimeError(f"{len(elements):,} elements for sequences of {sizes.sum():,}")
            file.write(elements.astype(dtype).tobytes())
            every.append(sizes.astype(np.int64))
    sizes = np.concatenate(every)
    with open(f"{prefix}.idx", "wb") as file:
        file.write(MMapIndexedDataset.Index._HDR_MAGIC + struct.pack("<QBQ", 1, _dtype_header_code(dtype), len(sizes)))
        file.write(sizes.astype(np.int32).tobytes())
        file.write(((np.cumsum(sizes) - sizes) * np.dtype(dtype).itemsize).tobytes())
    return int(sizes.sum())
