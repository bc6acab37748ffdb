"""Rows of Parquet and Arrow files and of the directories that datasets' ``save_to_disk`` writes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from preprocess.text.unpacking import require
from salt_fairseq.errors import InputError

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"  # how the files begin
ROWS = 1000  # held in memory at once


class Table:
    """Reads the rows of a table as dicts; ``class_names`` are then the names of the integers in columns of ``ClassLabel``."""

    def __init__(self) -> None:
        self.class_names: dict[str, list[str]] = {}

    def rows(self, files: list[IO[bytes]], path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """``(number from 1, {column: value})``; a value that is no text, number or truth value becomes its type."""
        number = 0
        try:
            for file in files:
                for batch in self._batches(file, path):
                    for row in batch:
                        number += 1
                        yield number, row
        except (ValueError, OSError) as error:  # pyarrow's
            if isinstance(error, InputError) or getattr(error, "errno", None):
                raise
            reason = str(error).splitlines()[0]
            raise InputError(f"{path} cannot be read after row {number} ({reason}): it is damaged, write it again") from None

    def _batches(self, file, path):
        pyarrow = require("pyarrow", path)
        begin = file.read(8)
        file.seek(0)
        if begin.startswith(PARQUET):
            parquet = require("pyarrow.parquet", path).ParquetFile(file)
            schema, flat = self._open(parquet.schema_arrow, path)
            batches = parquet.iter_batches(ROWS, columns=flat, use_threads=False)
        else:
            opened = pyarrow.ipc.open_file(file) if begin.startswith(ARROW_FILE) else pyarrow.ipc.open_stream(file)
            schema, flat = self._open(opened.schema, path)
            numbered = hasattr(opened, "num_record_batches")
            each = (opened.get_batch(i) for i in range(opened.num_record_batches)) if numbered else opened
            batches = (part.select(flat) for batch in each for part in _parts(batch))
        for batch in batches:
            nested = {field.name: {"type": str(field.type)[:60]} for field in schema if field.name not in flat}
            yield [{name: _plain(value) for name, value in row.items()} | nested for row in batch.to_pylist()]

    def _open(self, schema, path):
        """The schema and the names of its columns of single values."""
        if len(set(schema.names)) < len(schema.names):
            raise InputError(f"{path} has two columns of the same name ({', '.join(schema.names)}): rename one")
        self.class_names = _class_names(schema.metadata or {})
        return schema, [field.name for field in schema if field.type.num_fields == 0]


def _class_names(metadata):
    """Column to the names of its integers, where datasets has stored them."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"].items()
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}
    return {name: list(map(str, feature["names"])) for name, feature in features if _is_class_label(feature)}


def _is_class_label(feature):
    return isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)


def _parts(batch):
    return (batch.slice(first, ROWS) for first in range(0, batch.num_rows, ROWS))


def _plain(value):
    return value if value is None or isinstance(value, (str, int, float)) else {"type": type(value).__name__}


def files_of_dataset(directory: Path) -> list[Path]:
    """The Arrow files of a directory that ``Dataset.save_to_disk`` wrote, in order."""
    if (directory / "dataset_dict.json").is_file():
        splits = ", ".join(sorted(str(path.parent) for path in directory.glob("*/state.json")))
        raise InputError(f"{directory} holds several splits: name one of {splits or 'them'}")
    try:
        state = json.loads((directory / "state.json").read_text(encoding="utf-8"))
        files = [directory / Path(file["filename"]).name for file in state["_data_files"]]
    except FileNotFoundError:
        raise InputError(
            f"{directory} cannot be read: Is a directory, and not of datasets' save_to_disk; give a TSV or JSONL file, or "
            "one that --help lists"
        ) from None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        raise InputError(
            f"{directory / 'state.json'} is not as datasets' save_to_disk writes it: save the data set again"
        ) from None
    return files
