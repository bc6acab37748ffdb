"""The formats of labelled text: which one a file has, and its rows.

Formats with an example on each line are read block by block. The others are converted, once, into a temporary file with one
JSON value on each line, so that everything after them is the same for all.
"""

from __future__ import annotations

import contextlib
import csv
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from preprocess.text.blocks import Block
from preprocess.text.columns import KNOWN
from preprocess.text.tables import ARROW_FILE, ARROW_STREAM, PARQUET, Table, files_of_dataset
from preprocess.text.unpacking import STANDARD_INPUT, SUFFIXES, open_unpacked
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.errors import InputError
from salt_fairseq.storage.text_lines import LONGEST, text_lines

DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";"}
JSON_ENDINGS = (".json", ".jsonl", ".ndjson")


class Lines:
    """One example on each line, cells between delimiters. Quotation marks mean nothing: XNLI has unpaired ones."""

    unit, has_objects = "line", False

    def __init__(self, delimiter: str = "tab"):
        self.name, self._delimiter = "TSV" if delimiter == "tab" else f"lines with {delimiter}s", DELIMITERS[delimiter]

    def prepare(self, file: IO[bytes] | None, path: Path) -> IO[bytes]:
        """The file whose blocks :meth:`rows` reads, made from the unpacked ``file`` (None: ``path`` is a directory)."""
        assert file
        return file

    def rows(self, block: Block) -> Iterator[tuple[int, Any]]:
        """``(number, cells)``, or ``(number, {key: value})`` if ``has_objects``, or ``(number, None)`` for blank lines.
        The numbers are those of lines, or rows if that is the ``unit``."""
        for number, line in block.lines():  # empty cells between tabs are no blank line
            yield number, line.split(self._delimiter) if line.strip(" ") else None


class JsonLines(Lines):
    """One JSON object on each line."""

    name, has_objects = "JSONL", True

    def __init__(self) -> None:
        pass

    def rows(self, block: Block) -> Iterator[tuple[int, Any]]:
        for number, line in block.lines():
            if not line.strip():
                yield number, None
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict):
                raise InputError(
                    f"{block.path}, line {number}: not a JSON object; one object is needed on each line, or a JSON array in a "
                    "file that is named .json"
                )
            yield number, value


class Converted(Lines):
    """A format whose rows are found from the beginning of the file only."""

    def prepare(self, file: IO[bytes] | None, path: Path) -> IO[bytes]:
        copy = tempfile.TemporaryFile()
        for number, row in progress_bar(self.read(file, path), desc=f"reading {path.name}", unit=" rows", leave=False):
            line = json.dumps([number, row]).encode()
            if len(line) > LONGEST:
                raise InputError(
                    f"{path}, {self.unit} {number}: more than {LONGEST:,} bytes, which is no sentence: break the text"
                )
            copy.write(line + b"\n")
        copy.seek(0)
        return copy

    def read(self, file: IO[bytes] | None, path: Path) -> Iterable[tuple[int, Any]]:
        """What :meth:`rows` gives back."""
        raise NotImplementedError

    def rows(self, block: Block) -> Iterator[tuple[int, Any]]:
        for _, line in block.lines():
            yield tuple(json.loads(line))


class Csv(Converted):
    """Cells between delimiters, in quotation marks where they hold a delimiter, a quotation mark (doubled) or a line end."""

    def __init__(self, delimiter: str):
        self.name, self._delimiter = f"CSV with {delimiter}s", DELIMITERS[delimiter]

    def read(self, file, path):
        lines = (f"{line}\n" for _, line in text_lines(file, path))
        reader, first = csv.reader(lines, delimiter=self._delimiter, strict=True), 1
        try:
            for cells in reader:
                yield first, cells if len(cells) > 1 or any(map(str.strip, cells)) else None
                first = reader.line_num + 1
        except csv.Error as error:
            raise InputError(
                f"{path}, line {first}: not quoted as in CSV ({error}); double the quotation marks in a field, or if they "
                "mean nothing, --quoting none"
            ) from None


class JsonArray(Converted):
    """A JSON array of objects."""

    name, unit, has_objects = "JSON array", "item", True

    def __init__(self) -> None:
        pass

    def read(self, file, path):
        try:
            items = json.loads(file.read().decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: not UTF-8 ({error.reason}), convert the text") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} is no JSON array ({error}): correct it, or write one object on each line") from None
        for number, item in enumerate(items, 1):
            if not isinstance(item, dict):
                raise InputError(f"{path}, item {number}: not a JSON object; an array of objects is needed")
            yield number, item


class ArrowTable(Converted):
    """Parquet, Arrow, or a directory of datasets' ``save_to_disk``."""

    unit, has_objects = "row", True

    def __init__(self, name: str):
        self.name, self._table = name, Table()

    @property
    def class_names(self) -> dict[str, list[str]]:
        """The names of the integers in columns of ``ClassLabel``, once the file is prepared."""
        return self._table.class_names

    def read(self, file, path):
        with contextlib.ExitStack() as opened:
            parts = [file] if file else [opened.enter_context(open_unpacked(part)) for part in files_of_dataset(path)]
            yield from self._table.rows(parts, path)


def format_of(path: Path, begin: bytes, delimiter: str | None, quoting: str | None) -> Lines:
    """The format of a file, from its name and how its bytes, unpacked, ``begin``. Raises where these do not decide it."""
    if path.is_dir():
        return ArrowTable("data set of datasets")
    if begin.startswith((PARQUET, ARROW_FILE, ARROW_STREAM)):
        return ArrowTable("Parquet" if begin.startswith(PARQUET) else "Arrow")
    if begin.startswith(b"PK\x03\x04"):
        raise InputError(f"{path} is a file of zip, no text: unpack it, and name the files in it")
    name = str(path).lower()
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    line = begin.decode("utf-8-sig", "ignore").lstrip().partition("\n")[0].strip()
    looks_like_json = "\t" not in line and line.startswith(("{", "["))
    if name.endswith(JSON_ENDINGS) or (path == STANDARD_INPUT and looks_like_json):
        return JsonArray() if line.startswith("[") and not name.endswith(JSON_ENDINGS[1:]) else JsonLines()
    if looks_like_json and not delimiter:
        raise InputError(f"{path}, line 1: this looks like JSON: name the file .jsonl (one object on each line) or .json")
    if not delimiter:
        delimiter = _delimiter_of_csv(path, line) if name.endswith(".csv") else "tab"
    if quoting == "csv" or (quoting is None and delimiter != "tab"):
        return Csv(delimiter)
    return Lines(delimiter)


def _delimiter_of_csv(path, line):
    """What separates the cells of line 1 of a file that is named .csv."""
    cells = {name: _cells(line, character) for name, character in DELIMITERS.items()}
    possible = [name for name in cells if len(cells[name]) > 1] or ["comma"]
    if len(possible) > 1:  # text may hold commas and semicolons, and names of columns do not
        possible = [name for name in possible if KNOWN & {cell.strip().lower() for cell in cells[name]}] or possible
    if len(possible) > 1:
        raise InputError(
            f"{path}, line 1: its columns may be separated by {' or by '.join(possible)}: say which with --delimiter"
        )
    return possible[0]


def _cells(line, delimiter):
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []
