"""fairseq's indexed binary format (``PREFIX.bin``, ``PREFIX.idx``), read and written without importing fairseq, which takes
longer than most commands here.

``.idx`` is magic, version, code of the type, number of sequences, their sizes (int32) and byte positions in ``.bin`` (int64).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import torch

from salt_fairseq.storage.manifest import Manifest

MAGIC, VERSION = b"MMIDIDX\x00\x00", 1
HEADER = struct.Struct("<9sQBQ")
TYPES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}


class IndexedSequences:
    """``len()`` sequences; ``sizes`` int32 (N,); item i is a LongTensor (T,) of its own.

    ``elements`` are all of them one after another, of type ``dtype``, and ``starts`` int64 (N,) where each begins there.
    Nothing is read before it is used.
    """

    def __init__(self, prefix: str):
        self._prefix = prefix
        with open(f"{prefix}.idx", "rb") as file:
            magic, version, code, count = HEADER.unpack(file.read(HEADER.size))
        if (magic, version) != (MAGIC, VERSION) or code not in TYPES:
            raise ValueError(f"{prefix}.idx is no index of integer sequences")
        self.dtype = np.dtype(TYPES[code])
        index = np.asarray(np.memmap(f"{prefix}.idx", np.uint8, "r"))
        self.sizes = np.frombuffer(index, np.int32, count, HEADER.size)
        self.starts = np.frombuffer(index, np.int64, count, HEADER.size + self.sizes.nbytes) // self.dtype.itemsize
        self.elements = np.asarray(np.memmap(f"{prefix}.bin", self.dtype, "r"))

    def __reduce__(self):  # other processes open the files themselves
        return IndexedSequences, (self._prefix,)

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, i: int) -> torch.Tensor:
        start = self.starts[i]
        return torch.from_numpy(self.elements[start : start + self.sizes[i]].astype(np.int64))


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The integers of all ranges ``start .. start + length``, one range after another, int64."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def best_fitting_int_dtype(vocabulary: int) -> type[np.integer]:
    """The type of stored ids, as fairseq chooses it."""
    return np.uint16 if vocabulary < 65500 else np.int32


def load_indexed(manifest: Manifest, name: str) -> IndexedSequences:
    """The :class:`IndexedSequences` ``NAME.bin`` of a directory with a :class:`Manifest`, as they were written."""
    manifest.verify(f"{name}.idx", f"{name}.bin")
    return IndexedSequences(str(manifest.directory / name))


def write_indexed(prefix: Path, sequences: Iterable[Sequence[int]], dtype: type[np.integer]) -> int:
    """Write an iterable of integer sequences; returns the number of elements."""
    return write_flat(prefix, ((np.array([len(sequence)]), np.asarray(sequence)) for sequence in sequences), dtype)


def write_flat(
    prefix: Path, chunks: Iterable[tuple[np.ndarray, np.ndarray]], dtype: type[np.integer], numbers: np.ndarray | None = None
) -> int:
    """Write ``chunks``, an iterable of ``(sizes, elements)``, integer arrays: the sizes of some sequences, and these one
    after another. Returns the number of elements. With ``numbers`` int64 (N,) item i is sequence ``numbers[i]`` of the chunks,
    so that equal ones are stored once."""
    with IndexedWriter(prefix, dtype, numbers) as writer:
        for sizes, elements in chunks:
            writer.write(sizes, elements)
    return writer.elements


class IndexedWriter:
    """A context in which ``PREFIX.bin`` grows, and at whose end ``PREFIX.idx`` is written, unless it fails."""

    def __init__(self, prefix: Path, dtype: type[np.integer], numbers: np.ndarray | None = None):
        """``numbers``: as in :func:`write_flat`."""
        self.elements, self._prefix, self._dtype = 0, prefix, np.dtype(dtype)
        self._sizes: list[np.ndarray] = []
        self._numbers = slice(None) if numbers is None else numbers
        self._file = open(f"{prefix}.bin", "wb")

    def __enter__(self) -> "IndexedWriter":
        return self

    def write(self, sizes: np.ndarray, elements: np.ndarray) -> None:
        """Add sequences: their sizes, and their elements one after another, integer arrays."""
        if sizes.sum() != len(elements):
            raise RuntimeError(f"{len(elements):,} elements for sequences of {sizes.sum():,}")
        self._file.write(elements.astype(self._dtype).tobytes())
        self._sizes.append(sizes.astype(np.int32))
        self.elements += len(elements)

    def __exit__(self, kind: type[BaseException] | None, *unused: BaseException | TracebackType | None) -> None:
        self._file.close()
        if kind is not None:
            return
        sizes = np.concatenate(self._sizes)
        starts = (np.cumsum(sizes, dtype=np.int64) - sizes)[self._numbers]
        sizes = sizes[self._numbers]
        code = next(code for code, known in TYPES.items() if known == self._dtype)
        with open(f"{self._prefix}.idx", "wb") as file:
            file.write(HEADER.pack(MAGIC, VERSION, code, len(sizes)))
            file.write(sizes.tobytes())
            file.write((starts * self._dtype.itemsize).tobytes())
