"""A text file in blocks of whole lines, which several processes can read."""

import hashlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from salt_fairseq.errors import InputError
from salt_fairseq.storage.text_lines import LONGEST, text_lines

BLOCK = 1 << 18  # bytes, plus the rest of the last line: 1,300 sentence pairs


@dataclass(frozen=True)
class Block:
    """``size`` bytes from byte ``start`` on, preceded by ``before`` lines."""

    path: Path
    start: int
    size: int
    before: int

    def lines(self) -> Iterator[tuple[int, str]]:
        """``(line number, text)``, as :func:`~salt_fairseq.storage.text_lines.text_lines` yields them."""
        with open(self.path, "rb") as file:
            file.seek(self.start)
            content = file.read(self.size)
        if len(content) < self.size:
            raise InputError(f"{self.path} has become shorter while it was read: start again")
        return text_lines(io.BytesIO(content), self.path, self.before)


def blocks_of(path: Path) -> tuple[list[Block], str]:
    """The blocks of a file, and the hex SHA-256 of its bytes.

    The file is read once here and again block by block, because the hash must be known before any work begins: it decides
    whether the work that a killed run left behind can be used.
    """
    blocks, digest, start, before = [], hashlib.sha256(), 0, 0
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InputError(f"{path} is no regular file, and cannot be read twice: write its text into one")
            while content := file.read(BLOCK):
                if not content.endswith(b"\n"):
                    content += file.readline(LONGEST + 1)  # a longer line is cut here, and reported where it is read
                digest.update(content)
                blocks.append(Block(path, start, len(content), before))
                start, before = start + len(content), before + content.count(b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give a TSV or JSONL file") from None
    return blocks, digest.hexdigest()
