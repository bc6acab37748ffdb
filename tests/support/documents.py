"""The project's documents, and the commands that they show."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from support.running import ROOT

DOCUMENTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Shown:
    """A command as a document shows it."""

    document: str
    line: str  # lines that end with a backslash joined

    @property
    def words(self):
        return shlex.split(self.line.partition(" < ")[0])

    def __str__(self):
        return f"{self.document}: {self.line}"


def commands(path):
    """The commands of a document's bash blocks, in order."""
    blocks = [body for language, body in FENCE.findall(path.read_text(encoding="utf-8")) if language == "bash"]
    lines = [" ".join(line.split()) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [Shown(str(Path(path).relative_to(ROOT)), line) for line in lines if line]


def prose(text):
    """A document without its code blocks."""
    return FENCE.sub("", text)
