"""Labelled sentences and sentence pairs from TSV and JSONL files: those of XNLI, PAWS-X and XTREME, and your own."""

import contextlib
import csv
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from preprocess.text.blocks import Block, blocks_of
from preprocess.text.columns import EXAMPLE, KNOWN, NAMES, Columns, check_unused, named_columns, tsv_columns
from salt_fairseq.errors import InputError

ALIASES = {"contradictory": "contradiction"}  # XNLI-MT's training file
UNWRITABLE = re.compile("[\n\r\ud800-\udfff]")  # in a list with one id or label per line
UNTRANSLATED, UNDECIDED = "NS", "-"  # PAWS-X's sentence without a translation; NLI's label without a majority
BLANK, OTHER_LANGUAGE = "blank", "other language"
REASONS = (UNTRANSLATED, UNDECIDED, BLANK, OTHER_LANGUAGE)  # why rows are skipped
PACKED = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"PK\x03\x04": "zip",
    b"PAR1": "Parquet",
}
SAMPLE = 1000  # rows from which is seen what a file is like


@dataclass(slots=True)  # there are millions of them
class Example:
    id: str | int  # where the file has no ids, the number of the row, from 1
    sentence1: str
    sentence2: str | None
    label: str
    line: int


@dataclass(frozen=True)
class Reading:
    """How to read text files: ``--columns``, ``--quoting`` ("csv", "none" or None), ``--missing-label`` and ``--labels``."""

    columns: dict[str, str] = field(default_factory=dict)
    quoting: str | None = None
    missing: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()


AS_PUBLISHED = Reading()


@dataclass(frozen=True)
class TextFile:
    """A file with examples; ``columns`` are those of line 1, or of the first JSON object."""

    path: Path
    blocks: list[Block]
    sha256: str
    is_json: bool
    columns: Columns | None
    reading: Reading

    @classmethod
    def open(cls, path: Path, reading: Reading = AS_PUBLISHED) -> "TextFile":
        blocks, sha256 = blocks_of(path)
        is_json = str(path).endswith((".jsonl", ".json", ".ndjson"))
        columns = None
        if blocks:
            _check_format(path, is_json)
            columns = _columns_of(path, blocks, reading, is_json)
        return cls(path, blocks, sha256, is_json, columns, reading)


def _check_format(path, is_json):
    """Raise for files of other formats, each with what makes a text file of it."""
    with open(path, "rb") as file:
        begin = file.read(1 << 16)
    for magic, name in PACKED.items():
        if begin.startswith(magic):
            raise InputError(f"{path} is a file of {name}, no text: unpack it, or export it as TSV or JSONL, first")
    if b"\r" in begin and b"\n" not in begin:
        raise InputError(f"{path} has carriage returns (CR) alone as line ends: convert them, tr '\\r' '\\n' < OLD > NEW")
    line = begin.decode("utf-8-sig", "ignore").lstrip().partition("\n")[0].strip()
    if not is_json and "\t" not in line and line.startswith(("{", "[")):
        raise InputError(f"{path}, line 1: this looks like JSON: name the file .jsonl, with one object on each line")
    if not is_json and "\t" not in line and ("," in line or ";" in line) and str(path).lower().endswith(".csv"):
        raise InputError(f"{path}, line 1: values separated by commas (CSV): export it with tabs (TSV), or as JSONL")


def _columns_of(path, blocks, reading, is_json):
    """The columns, after a look at the first rows."""
    if is_json:
        keys: dict[str, list[str]] = {}
        with contextlib.suppress(InputError):  # raised again when all lines are read
            for _, value in itertools.islice(_objects(blocks[0], dict.fromkeys(REASONS, 0)), SAMPLE):
                for key, cell in value.items():
                    keys.setdefault(key, []).append(cell if isinstance(cell, str) else "")
        columns = named_columns(list(keys), reading.columns, str(path)) if keys else None
        if columns:
            check_unused(columns, list(itertools.zip_longest(*keys.values(), fillvalue="")), str(path))
        return columns
    lines = ((number, line) for block in blocks for number, line in block.lines() if not _is_blank(line))
    for number, line in lines:
        where = f"{path}, line {number}"
        columns = tsv_columns(_cells(line, reading, where), reading.columns, where)
        break
    else:
        return None
    sample: list[list[str]] = []
    with contextlib.suppress(InputError):  # raised again when all lines are read
        sample.extend(_cells(line, reading, where) for _, line in itertools.islice(lines, SAMPLE))
    check_unused(columns, sample, where)
    for role in () if reading.quoting else ("sentence1", "sentence2"):
        if len(sample) > 1 and role in columns.positions:
            cells = [row[columns.positions[role]] for row in sample if len(row) == columns.width]
            if cells and all(len(cell) > 2 and cell[0] == cell[-1] == '"' for cell in cells):
                raise InputError(
                    f"{path}: every {role} stands in quotation marks ({cells[0][:60]}): --quoting csv reads them as CSV does, "
                    "--quoting none keeps them"
                )
    return columns


def _is_blank(line):
    return not line.strip(" ")  # empty cells between tabs are no blank line


def _cells(line, reading, where):
    if reading.quoting != "csv":
        return line.split("\t")
    try:
        return next(csv.reader([line], delimiter="\t", strict=True))
    except csv.Error as error:
        raise InputError(f"{where}: not quoted as in CSV ({error}); a field may not go on in the next line") from None


def _tsv_rows(file, block, skipped):
    """``(line number, values of NAMES)``, None for columns that do not exist. Quotation marks mean nothing, unless
    ``--quoting csv`` is given: XNLI has unpaired ones."""
    columns, header = file.columns, None
    for number, line in block.lines():
        if _is_blank(line):
            skipped[BLANK] += 1
            continue
        where = f"{block.path}, line {number}"
        cells = _cells(line, file.reading, where)
        if len(cells) != columns.width:
            raise InputError(f"{where}: {len(cells)} columns where line 1 has {columns.width}")
        if columns.names and tuple(cells) == columns.names:
            if block.start == 0 and header is None:
                header = number
                continue
            raise InputError(f"{where}: the header ({', '.join(cells)}) again; remove the line")
        if columns.names is None and set(map(str.lower, cells)) <= KNOWN and len(set(cells)) > 1:
            raise InputError(f"{where}: a header ({', '.join(cells)}) amid the examples; put it into line 1, or remove it")
        yield number, [cells[columns.positions[name]].strip() if name in columns.positions else None for name in NAMES]


def _objects(block, skipped):
    """``(line number, object)`` of the lines that are not blank."""
    for number, line in block.lines():
        if not line.strip():
            skipped[BLANK] += 1
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InputError(
                f"{block.path}, line {number}: not a JSON object; one object is needed on each line, "
                "which jq -c '.[]' OLD makes of a JSON array"
            ) from None
        yield number, value


def _json_rows(file, block, skipped):
    for number, value in _objects(block, skipped):
        columns, cells = named_columns(list(value), file.reading.columns, str(file.path)), list(value.values())
        if columns is None:
            raise InputError(
                f"{block.path}, line {number}: the object needs the keys sentence1, sentence2 and label, and has "
                f"{', '.join(value) or 'none'}; if theirs are other names, {EXAMPLE}"
            )
        values = {name: cells[at] for name, at in columns.positions.items()}
        if values["label"] is None:
            values["label"] = "null"
        for name, cell in values.items():
            if not isinstance(cell, str | int | float):
                raise InputError(f"{block.path}, line {number}: {name} is {json.dumps(cell)}, not text")
        yield number, [str(values[name]).strip() if name in values else None for name in NAMES]


def label_of(text: str) -> str:
    """A label by its usual name: ``1.0`` is ``1``, and ``contradictory`` is ``contradiction``."""
    return re.sub(r"^([+-]?\d+)\.0+$", r"\1", ALIASES.get(text, text))


class Examples:
    """Iterates over the examples of a block, counting all its rows and, by reason, the rows it skips.

    If the file has a column ``language``, as XNLI's has, only rows in ``language`` count.
    """

    def __init__(self, file: TextFile, block: Block, language: str):
        self.rows, self.skipped = 0, dict.fromkeys(REASONS, 0)
        self._values = (_json_rows if file.is_json else _tsv_rows)(file, block, self.skipped)
        self._path, self._language, self._missing = (
            file.path,
            language,
            (file.reading.missing | {UNDECIDED}) - file.reading.labels,
        )

    def __iter__(self) -> Iterator[Example]:
        for number, (language, id, *sentences, label) in self._values:
            if language not in (None, self._language):
                self.skipped[OTHER_LANGUAGE] += 1
                continue
            self.rows += 1
            if UNTRANSLATED in sentences:
                self.skipped[UNTRANSLATED] += 1
                continue
            label = label_of(label)
            if label in self._missing:
                self.skipped[UNDECIDED] += 1
                continue
            if "" in sentences:
                raise InputError(f"{self._path}, line {number}: sentence{sentences.index('') + 1} is empty")
            if not label:
                raise InputError(f"{self._path}, line {number}: the label is empty; --missing-label '' skips such rows")
            for name, value in (("id", id), ("label", label)):
                if value is not None and UNWRITABLE.search(value):
                    raise InputError(
                        f"{self._path}, line {number}: the {name} {value!r} holds a line break or half a character: remove it"
                    )
            sentence1, sentence2 = sentences
            yield Example(self.rows if id is None else id, sentence1, sentence2, label, number)


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
