"""Lines of text in blocks of whole lines, which several processes can read."""

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from salt_fairseq.errors import InputError
from salt_fairseq.storage.text_lines import LONGEST, text_lines

BLOCK = 1 << 18  # bytes, plus the rest of the last line: 1,300 sentence pairs


@dataclass(frozen=True)
class Block:
    """``size`` bytes of ``file`` from byte ``start`` on, preceded by ``before`` lines. Errors name ``path``."""

    path: Path
    file: IO[bytes]
    start: int
    size: int
    before: int

    def lines(self) -> Iterator[tuple[int, str]]:
        """``(line number, text)``, as :func:`~salt_fairseq.storage.text_lines.text_lines` yields them."""
        content = os.pread(self.file.fileno(), self.size, self.start)  # the processes share the position in the file
        if len(content) < self.size:
            raise InputError(f"{self.path} has become shorter while it was read: start again")
        return text_lines(io.BytesIO(content), self.path, self.before)


def blocks_of(file: IO[bytes], path: Path) -> tuple[list[Block], str]:
    """The blocks of a file, and the hex SHA-256 of its bytes.

    The file is read once here and again block by block, because the hash must be known before any work begins: it decides
    whether the work that a killed run left behind can be used.
    """
    blocks, digest, start, before = [], hashlib.sha256(), 0, 0
    file.seek(0)
    while content := file.read(BLOCK):
        if not content.endswith(b"\n"):
            content += file.readline(LONGEST + 1)  # a longer line is cut here, and reported where it is read
        digest.update(content)
        blocks.append(Block(path, file, start, len(content), before))
        start, before = start + len(content), before + content.count(b"\n")
    return blocks, digest.hexdigest()
