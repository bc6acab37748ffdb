"""Sentences and pairs to be classified, line by line: TSV with or without a header, or JSONL."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from salt_fairseq.errors import InputError
from salt_fairseq.storage.text_lines import text_lines

NAMES = ({"sentence1", "sentence", "premise", "text"}, {"sentence2", "hypothesis"})  # of columns and keys, by side
WHERE = "standard input"


class Row(NamedTuple):
    sentences: list[str]
    line: int
    further: dict[str, Any]  # what else the line holds, by the name of its column or key
    is_json: bool = False


def read_rows(file: BinaryIO, sides: int) -> Iterator[Row]:
    """The rows of a binary file, with one or two sentences each; errors name the line.

    The first line decides: an object is JSONL; cells of which each side's sentence has a known name are a header, and other
    columns are kept; else each line is ``sentence1 TAB sentence2`` (or ``sentence``).
    """
    needed = "sentence1 TAB sentence2 is needed" if sides == 2 else "one sentence is needed"
    header: list[str] | None = None
    is_json = False
    for number, text in text_lines(file, WHERE):
        cells = [cell.strip() for cell in text.split("\t")]
        if number == 1:
            is_json = text.lstrip().startswith("{") and _object(text) is not None
            if not is_json and all(len(names & set(cells)) == 1 for names in NAMES[:sides]) and len(set(cells)) == len(cells):
                header = cells
                continue
        if is_json:
            values = _object(text)
            if values is None:
                raise InputError(f"{WHERE}, line {number}: not a JSON object, as line 1 is")
        elif header:
            if len(cells) != len(header):
                raise InputError(f"{WHERE}, line {number}: {_count(cells)}, but line 1 has {len(header)}")
            values = dict(zip(header, cells))
        else:
            if len(cells) != sides and text.strip():
                raise InputError(f"{WHERE}, line {number}: {_count(cells)}, but {needed}")
            values = dict(zip(("sentence1", "sentence2"), cells))
        yield _row(values, number, sides, needed, is_json)


def _count(cells: list[str]) -> str:
    return f"{len(cells)} column{'s'[: len(cells) != 1]}"


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _row(values: dict[str, Any], number: int, sides: int, needed: str, is_json: bool) -> Row:
    sentences = []
    for side, names in enumerate(NAMES[:sides], 1):
        present = [name for name in values if name in names]
        sentence = values[present[0]] if len(present) == 1 else None
        if not isinstance(sentence, str):
            raise InputError(f"{WHERE}, line {number}: one text called {' or '.join(sorted(names))} is needed")
        if not sentence.strip():
            what = f"sentence{side}" if len(values) > 1 else "the line"
            raise InputError(f"{WHERE}, line {number}: {what} is empty, but {needed}")
        sentences.append(sentence.strip())
    used = set().union(*NAMES[:sides])
    return Row(sentences, number, {name: value for name, value in values.items() if name not in used}, is_json)
