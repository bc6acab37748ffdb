"""Labelled sentences and sentence pairs from TSV and JSONL files: those of XNLI, PAWS-X and XTREME, and your own."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocess.text.blocks import Block, blocks_of
from salt_fairseq.errors import InputError

COLUMNS = {  # names of the four columns in published files, in lower case
    "id": ("id", "pairid", "idx"),
    "sentence1": ("sentence1", "premise", "question1", "sentence", "text"),
    "sentence2": ("sentence2", "hypothesis", "hypo", "question2"),
    "label": ("label", "gold_label", "is_duplicate"),
}
NAMES = ("language", *COLUMNS)
ALIASES = {"contradictory": "contradiction"}  # XNLI-MT's training file
UNWRITABLE = re.compile("[\n\r\ud800-\udfff]")  # in a list with one id or label per line
UNTRANSLATED, UNDECIDED = "NS", "-"  # PAWS-X's sentence without a translation; NLI's label without a majority


@dataclass(slots=True)  # there are millions of them
class Example:
    id: str | int  # where the file has no ids, the number of the row, from 1
    sentence1: str
    sentence2: str | None
    label: str
    line: int


@dataclass(frozen=True)
class TextFile:
    """A file with examples; ``columns`` is what :func:`_columns` says of a TSV file, and None for other files."""

    path: Path
    blocks: list[Block]
    sha256: str
    columns: tuple | None

    @classmethod
    def open(cls, path: Path) -> "TextFile":
        blocks, sha256 = blocks_of(path)
        is_tsv = blocks and not str(path).endswith((".jsonl", ".json"))
        return cls(path, blocks, sha256, _columns(path, blocks[0]) if is_tsv else None)


def _positions(cells):
    """Column name to position if ``cells`` are a header, else None."""
    lowered = [cell.strip().lower() for cell in cells]
    aliases = {"language": ("language",), **COLUMNS}
    at = {name: lowered.index(alias) for name in NAMES for alias in aliases[name][::-1] if alias in lowered}
    return at if {"sentence1", "label"} <= at.keys() else None


def _columns(path, block):
    """``(width, positions of NAMES, whether line 1 is a header)`` of a TSV file, from its first line."""
    _, line = next(block.lines())
    cells = line.split("\t")
    width, positions = len(cells), _positions(cells)
    if positions is None and width not in (2, 3):
        raise InputError(
            f"{path}, line 1: {width} columns and no header; without a header the columns are "
            "sentence1, sentence2, label (or sentence, label), separated by tabs"
        )
    at = positions or dict(zip(("sentence1", "sentence2", "label") if width == 3 else ("sentence1", "label"), range(3)))
    return width, [at.get(name) for name in NAMES], positions is not None


def _tsv_rows(block, columns):
    """``(line number, values of NAMES)``, None for columns that do not exist. Quotation marks mean nothing: XNLI has unpaired
    ones."""
    width, positions, header = columns
    for number, line in block.lines():
        cells = line.split("\t")
        if len(cells) != width:
            raise InputError(f"{block.path}, line {number}: {len(cells)} columns where line 1 has {width}")
        if number > 1 or not header:
            yield number, [None if at is None else cells[at].strip() for at in positions]


def _jsonl_rows(block):
    for number, line in block.lines():
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InputError(f"{block.path}, line {number}: not a JSON object") from None
        positions, cells = _positions(list(value)), list(value.values())
        if positions is None:
            raise InputError(f"{block.path}, line {number}: the object needs the keys sentence1, sentence2 and label")
        for name, at in positions.items():
            if not isinstance(cells[at], str | int | float):
                raise InputError(f"{block.path}, line {number}: {name} is {json.dumps(cells[at])}, not text")
        yield number, [str(cells[positions[name]]).strip() if name in positions else None for name in NAMES]


class Examples:
    """Iterates over the examples of a block, counting all its rows and, by reason, the rows it skips.

    If the file has a column ``language``, as XNLI's has, only rows in ``language`` count.
    """

    def __init__(self, file: TextFile, block: Block, language: str):
        self.rows, self.skipped = 0, {UNTRANSLATED: 0, UNDECIDED: 0}
        self._values = _tsv_rows(block, file.columns) if file.columns else _jsonl_rows(block)
        self._path, self._language = file.path, language

    def __iter__(self) -> Iterator[Example]:
        for number, (language, id, *sentences, label) in self._values:
            if language not in (None, self._language):
                continue
            self.rows += 1
            if UNTRANSLATED in sentences:
                self.skipped[UNTRANSLATED] += 1
                continue
            if label == UNDECIDED:
                self.skipped[UNDECIDED] += 1
                continue
            if "" in sentences:
                raise InputError(f"{self._path}, line {number}: sentence{sentences.index('') + 1} is empty")
            if not label:
                raise InputError(f"{self._path}, line {number}: the label is empty")
            for name, value in (("id", id), ("label", label)):
                if value is not None and UNWRITABLE.search(value):
                    raise InputError(
                        f"{self._path}, line {number}: the {name} {value!r} holds a line break or half a character: remove it"
                    )
            sentence1, sentence2 = sentences
            yield Example(self.rows if id is None else id, sentence1, sentence2, ALIASES.get(label, label), number)


def every_example(file: TextFile, language: str) -> Iterator[Example]:
    """The examples of all blocks, whose ids are strings."""
    rows = 0
    for block in file.blocks:
        examples = Examples(file, block, language)
        for example in examples:
            if isinstance(example.id, int):
                example.id = str(rows + example.id)
            yield example
        rows += examples.rows
