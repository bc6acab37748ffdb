"""The bytes of a file that may be compressed, or come from standard input or a pipe."""

import bz2
import gzip
import importlib
import lzma
import stat
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from salt_fairseq.errors import InputError, raised_by

STANDARD_INPUT = Path("-")
SUFFIXES = (".gz", ".xz", ".bz2", ".zst")
EXTRA = "pip install 'salt_fairseq[formats]'"


def require(package: str, path: Path) -> Any:
    """The module of an optional package that is needed for ``path``."""
    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(f"{path} needs the package {package.partition('.')[0]}: install it, {EXTRA}") from None


def _gzip(file: IO[bytes], path: Path) -> Iterator[bytes]:
    return _chunks(cast(IO[bytes], gzip.open(file)))


def _xz(file: IO[bytes], path: Path) -> Iterator[bytes]:
    return _chunks(lzma.open(file))


def _bzip2(file: IO[bytes], path: Path) -> Iterator[bytes]:
    return _chunks(bz2.open(file))


def _zstd(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """Frame by frame: the package's own reader of files takes the end of a file that is cut off for the end of the text."""
    decompressor, frame = require("zstandard", path).ZstdDecompressor(), None
    while content := file.read(1 << 12):  # so little, because a frame of equal bytes is 20,000 times as long
        while content:
            frame = frame or decompressor.decompressobj()
            yield frame.decompress(content)
            content = frame.unused_data
            if frame.eof:
                frame = None
    if frame:
        raise EOFError("the end of the last frame is missing")


COMPRESSIONS = {b"\x1f\x8b": _gzip, b"\xfd7zXZ\0": _xz, b"BZh": _bzip2, b"\x28\xb5\x2f\xfd": _zstd}  # by how a file begins


def open_unpacked(path: Path) -> IO[bytes]:
    """A regular file with the unpacked bytes of ``path`` (``-``: standard input), at its beginning.

    What is not a regular file already, and uncompressed, is copied into a temporary one without a name: it can then be read
    twice and by several processes, and nothing of it is left after a kill.
    """
    try:
        if path == STANDARD_INPUT:
            if sys.stdin is None:
                raise InputError("- is standard input, which is closed: pipe a file into the command, or name one")
            file = _copied(_chunks(sys.stdin.buffer))
        else:
            mode = path.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode) or stat.S_ISDIR(mode)):
                raise InputError(f"{path} is neither a file nor a pipe: write its text into a file")
            file = open(path, "rb")
            if stat.S_ISFIFO(mode):
                with file:
                    file = _copied(_chunks(file))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; give a TSV or JSONL file, or another that --help lists"
        ) from None
    begin = file.read(8)
    file.seek(0)
    for magic, unpack in COMPRESSIONS.items():
        if begin.startswith(magic):
            with file:
                return _unpacked(unpack(file, path), path)
    return file


def _unpacked(chunks, path):
    try:
        return _copied(chunks)
    except InputError:
        raise
    except Exception as error:
        damaged = isinstance(error, (EOFError, zlib.error, lzma.LZMAError)) or raised_by(error, "zstandard", "ZstdError")
        if damaged or (isinstance(error, OSError) and not error.errno):  # one with a number is about the temporary file
            raise InputError(f"{path} cannot be unpacked ({error}): it is damaged or incomplete, get it again") from None
        raise


def _chunks(file):
    return iter(lambda: file.read(1 << 20), b"")


def _copied(chunks):
    copy = tempfile.TemporaryFile()
    copy.writelines(chunks)
    copy.seek(0)
    return copy
