"""Labelled sentences and sentence pairs from files: those of XNLI, PAWS-X and XTREME, and your own."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preprocess.text.blocks import Block, blocks_of
from preprocess.text.columns import EXAMPLE, KNOWN, NAMES, Columns, check_unused, named_columns, tsv_columns
from preprocess.text.formats import ArrowTable, Csv, Lines, format_of
from preprocess.text.unpacking import open_unpacked
from salt_fairseq.errors import InputError

ALIASES = {"contradictory": "contradiction"}  # XNLI-MT's training file
UNWRITABLE = re.compile("[\n\r\ud800-\udfff]")  # in a list with one id or label per line
UNTRANSLATED, UNDECIDED = "NS", "-"  # PAWS-X's sentence without a translation; NLI's label without a majority
BLANK, OTHER_LANGUAGE = "blank", "other language"
REASONS = (UNTRANSLATED, UNDECIDED, BLANK, OTHER_LANGUAGE)  # why rows are skipped
QUOTED = re.compile(r'"(?:[^"]|"")+"')  # a cell as CSV quotes it
SAMPLE = 1000  # rows from which is seen what a file is like


@dataclass
class Example:
    __slots__ = ("id", "sentence1", "sentence2", "label", "line")  # there are millions of them

    id: str | int  # where the file has no ids, the number of the row, from 1
    sentence1: str
    sentence2: str | None
    label: str
    line: int  # or row, or item: the unit of the file's format


@dataclass(frozen=True)
class Reading:
    """How to read files: the options ``--columns``, ``--quoting`` ("csv", "none" or None), ``--missing-label``, ``--labels``,
    ``--delimiter`` (a key of ``DELIMITERS`` or None), ``--label-names`` and ``--tags`` (None for sentences with one label)."""

    columns: dict[str, str] = field(default_factory=dict)
    quoting: str | None = None
    missing: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    delimiter: str | None = None
    label_names: tuple[str, ...] = ()
    tags: str | None = None


AS_PUBLISHED = Reading()


@dataclass(frozen=True)
class TextFile:
    """A file with examples; ``columns`` are those of line 1, or of the first objects. ``label_names`` are the names of
    integer labels, empty where they have none."""

    path: Path
    format: Lines
    blocks: list[Block]
    sha256: str  # of the text, unpacked
    columns: Columns | None
    reading: Reading
    label_names: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: Path, reading: Reading = AS_PUBLISHED) -> "TextFile":
        file = None if path.is_dir() else open_unpacked(path)
        begin = b"" if file is None else os.pread(file.fileno(), 1 << 16, 0)
        format = format_of(path, begin, reading.delimiter, reading.quoting)
        blocks, sha256 = blocks_of(format.prepare(file, path), path)
        text = cls(path, format, blocks, sha256, None, reading)
        columns = _columns_of_objects(text) if format.has_objects else _columns_of_cells(text)
        return dataclasses.replace(text, columns=columns, label_names=_label_names(text, columns))

    def where(self, number: int) -> str:
        """A row of the file, as errors name it."""
        return f"{self.path}, {self.format.unit} {number}"

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Those of all blocks that are not blank."""
        return ((number, row) for block in self.blocks for number, row in self.format.rows(block) if row is not None)


def _label_names(file, columns):
    """Those of ``--label-names``, or those that the file itself has."""
    option = file.reading.label_names
    if columns is None or not isinstance(file.format, ArrowTable):
        return option
    own = tuple(file.format.class_names.get(columns.names[columns.positions["label"]], ()))
    if own and option and own != option:
        raise InputError(f"{file.path} names its labels {', '.join(own)}: leave out --label-names, or give the same names")
    return own or option


def _columns_of_objects(file):
    """The columns, after a look at the first objects."""
    keys: dict[str, list[str]] = {}
    with contextlib.suppress(InputError):  # raised again when all lines are read
        for _, value in itertools.islice(file.rows(), SAMPLE):
            for key, cell in value.items():
                keys.setdefault(key, []).append(cell if isinstance(cell, str) else "")
    columns = named_columns(list(keys), file.reading.columns, str(file.path)) if keys else None
    if columns:
        check_unused(columns, list(itertools.zip_longest(*keys.values(), fillvalue="")), str(file.path))
    return columns


def _columns_of_cells(file):
    """The columns, after a look at the first lines."""
    rows = file.rows()
    if (first := next(rows, None)) is None:
        return None
    where = file.where(first[0])
    columns = tsv_columns(first[1], file.reading.columns, where)
    sample: list[list[str]] = []
    with contextlib.suppress(InputError):  # raised again when all lines are read
        sample.extend(cells for _, cells in itertools.islice(rows, SAMPLE))
    check_unused(columns, sample, where)
    if file.reading.quoting is None and not isinstance(file.format, Csv):
        _check_quotes(file.path, columns, sample)
    return columns


def _check_quotes(path, columns, sample):
    """Raise where quotation marks are those of CSV, and would stay in the sentences."""
    for role in ("sentence1", "sentence2"):
        if len(sample) < 2 or role not in columns.positions:
            continue
        cells = [row[columns.positions[role]] for row in sample if len(row) == columns.width]
        marked = [cell for cell in cells if '"' in cell]
        if cells and all(len(cell) > 2 and cell[0] == cell[-1] == '"' for cell in cells):
            what = f"every {role} stands in quotation marks ({cells[0][:60]})"
        elif marked and all(map(QUOTED.fullmatch, marked)) and any('""' in cell[1:-1] for cell in marked):
            what = f"each {role} with quotation marks has them as in CSV ({marked[0][:60]})"
        else:
            continue
        raise InputError(f"{path}: {what}: --quoting csv reads them as CSV does, --quoting none keeps them")


def _values_of_cells(file, block, skipped):
    """``(number, values of NAMES)``, None for columns that do not exist."""
    columns, header = file.columns, None
    for number, cells in file.format.rows(block):
        if cells is None:
            skipped[BLANK] += 1
            continue
        where = file.where(number)
        if len(cells) != columns.width:
            quoted = '"' in "".join(cells) and not isinstance(file.format, Csv)
            hint = "; if its cells are quoted as in CSV, --quoting csv" if quoted else ""
            raise InputError(f"{where}: {len(cells)} columns where line 1 has {columns.width}{hint}")
        if columns.names and block.start == 0 and header is None:
            header = number
            continue
        names = [cell.strip().lower() for cell in cells]
        if columns.names and names == [name.strip().lower() for name in columns.names]:
            raise InputError(f"{where}: the header ({', '.join(cells)}) again; remove the line")
        if set(names) <= KNOWN and len(set(names)) > 1:
            raise InputError(f"{where}: a header ({', '.join(cells)}) amid the examples; put it into line 1, or remove it")
        yield number, [cells[columns.positions[name]].strip() if name in columns.positions else None for name in NAMES]


def _values_of_objects(file, block, skipped):
    """The same of JSON objects, or of the rows of a table."""
    for number, value in file.format.rows(block):
        if value is None:
            skipped[BLANK] += 1
            continue
        columns, cells = named_columns(list(value), file.reading.columns, str(file.path)), list(value.values())
        if columns is None:
            raise InputError(
                f"{file.where(number)}: the object needs the keys sentence1, sentence2 and label, and has "
                f"{', '.join(value) or 'none'}; if theirs are other names, {EXAMPLE}"
            )
        values = {name: cells[at] for name, at in columns.positions.items()}
        if values["label"] is None:
            values["label"] = "null"
        for name, cell in values.items():
            if not isinstance(cell, (str, int, float)):
                raise InputError(f"{file.where(number)}: {name} is {json.dumps(cell)[:60]}, not text")
        yield number, [str(values[name]).strip() if name in values else None for name in NAMES]


def label_of(text: str) -> str:
    """A label by its usual name: ``1.0`` is ``1``, and ``contradictory`` is ``contradiction``."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", ALIASES.get(text, text))


class Examples:
    """Iterates over the examples of a block, counting all its rows and, by reason, the rows it skips.

    If the file has a column ``language``, as XNLI's has, only rows in ``language`` count, in any of its regions: en-US is en.
    """

    def __init__(self, file: TextFile, block: Block, language: str):
        self.rows, self.skipped = 0, dict.fromkeys(REASONS, 0)
        self._values = (_values_of_objects if file.format.has_objects else _values_of_cells)(file, block, self.skipped)
        self._file, self._language = file, language
        self._missing = (file.reading.missing | {UNDECIDED}) - file.reading.labels

    def __iter__(self) -> Iterator[Example]:
        for number, (language, id, *sentences, label) in self._values:
            if language not in (None, self._language) and re.split("[-_]", language)[0] != self._language:
                self.skipped[OTHER_LANGUAGE] += 1
                continue
            self.rows += 1
            if UNTRANSLATED in sentences:
                self.skipped[UNTRANSLATED] += 1
                continue
            label = self._named(label_of(label), number)
            if label in self._missing:
                self.skipped[UNDECIDED] += 1
                continue
            if "" in sentences:
                raise InputError(f"{self._file.where(number)}: sentence{sentences.index('') + 1} is empty")
            if not label:
                raise InputError(f"{self._file.where(number)}: the label is empty; --missing-label '' skips such rows")
            for name, value in (("id", id), ("label", label)):
                if value is not None and UNWRITABLE.search(value):
                    raise InputError(
                        f"{self._file.where(number)}: the {name} {value!r} holds a line break or half a character: remove it"
                    )
            sentence1, sentence2 = sentences
            yield Example(self.rows if id is None else id, sentence1, sentence2, label, number)

    def _named(self, label, number):
        names = self._file.label_names
        if not names or not re.fullmatch(r"\d+", label):
            return label
        if int(label[:9]) >= len(names):
            raise InputError(f"{self._file.where(number)}: label {label} has no name; those from 0 on are {', '.join(names)}")
        return names[int(label)]


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
