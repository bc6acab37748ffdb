"""Labelled data in memory as a file that ``salt binarize`` reads."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import replacing

KEYS = {2: ("sentence1", "label"), 3: ("sentence1", "sentence2", "label")}


def rows_of(data: Any) -> Iterator[dict[str, Any]]:
    """Each row as column name to value, of a pandas.DataFrame, a datasets.Dataset (whose ClassLabels become their names), or
    an iterable of mappings, ``(text, label)`` or ``(text, text, label)``."""
    if hasattr(data, "columns") and hasattr(data, "to_dict"):  # pandas
        data = data.to_dict(orient="records")
    features = getattr(data, "features", None) or {}
    name_of = {column: feature.int2str for column, feature in features.items() if hasattr(feature, "int2str")}
    for number, row in enumerate(data, 1):
        if isinstance(row, Mapping):
            values = dict(row)
        elif isinstance(row, Sequence) and not isinstance(row, str) and len(row) in KEYS:
            values = dict(zip(KEYS[len(row)], row))
        else:
            raise InputError(f"row {number} is {row!r:.80}: a mapping, (text, label) or (text, text, label) is needed")
        yield {column: name_of.get(column, _plain)(value) for column, value in values.items()}


def _plain(value: Any) -> Any:
    """A value of JSON: numpy's numbers as Python's, a missing one as None."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and math.isnan(value) else value


def as_file(data: Any, folder: Path, name: str) -> str:
    """The path of a file with ``data``: its own if it is one, else that of a JSONL file in ``folder``, named by its content."""
    if isinstance(data, (str, os.PathLike)):
        return os.fspath(data)
    if not isinstance(data, Iterable):
        raise InputError(f"{name} is a {type(data).__name__}: a path, a table or a list of rows is needed")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(data)).encode("utf-8", "backslashreplace")
    path = folder / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}.jsonl"
    if not path.is_file():
        with replacing(path) as temporary:
            temporary.write_bytes(text)
    return str(path)
