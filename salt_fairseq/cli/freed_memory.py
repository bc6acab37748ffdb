"""What the C library does with freed memory."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks of up to 32 MiB (the most it allows) for the next allocations.

    Otherwise it returns large ones to the operating system, which then clears each of their pages again: 60,000 in a step of
    mBERT's shape on a CPU, 5 to 10 % of its time. Does nothing with another C library.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 32 << 20)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Have glibc return freed memory to the operating system, even between blocks in use. Does nothing with another C
    library."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
