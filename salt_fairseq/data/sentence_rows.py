"""Sentences and pairs to be classified, line by line: TSV with or without a header, or JSONL."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from salt_fairseq.errors import InputError
from salt_fairseq.storage.text_lines import text_lines

# Names of columns and keys in published files, in lower case, by side. binarize.py reads the same.
SENTENCE1 = ("sentence1", "premise", "question1", "question", "sentence", "text", "text_a", "utterance")
SENTENCE2 = ("sentence2", "hypothesis", "hypo", "question2", "text_pair", "text_b")
SIDES = (SENTENCE1, SENTENCE2)
WHERE = "standard input"


class Row(NamedTuple):
    sentences: list[str]
    line: int
    further: dict[str, Any]  # what else the line holds, by the name of its column or key
    is_json: bool = False


def sentence_names(names: Iterable[str], sides: int) -> list[str] | None:
    """Those of the ``names`` under which each side's sentence stands, None unless that is clear."""
    lowered = {name.lower(): name for name in names}
    present = [[lowered[name] for name in side if name in lowered] for side in SIDES[:sides]]
    if sides == 2 and not present[1] and {name.lower() for name in present[0]} == {"question", "sentence"}:  # QNLI
        return [lowered["question"], lowered["sentence"]]
    return [own[0] for own in present] if all(len(own) == 1 for own in present) else None


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
            is_json = text.lstrip().startswith("{") and json_object(text) is not None
            if not is_json and sentence_names(cells, sides) and len(set(cells)) == len(cells):
                header = cells
                continue
            if not is_json and len(cells) > 1 and {cell.lower() for cell in cells} <= {*SENTENCE1, *SENTENCE2}:
                raise InputError(
                    f"{WHERE}, line 1: {', '.join(cells)} looks like a header that does not say which column is which: name "
                    f"the columns {' and '.join(f'sentence{side}' for side in range(1, sides + 1))}"
                )
        if is_json:
            values = json_object(text)
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


def json_object(text: str) -> dict[str, Any] | None:
    """The value of a line of JSONL, None if it is no JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _row(values: dict[str, Any], number: int, sides: int, needed: str, is_json: bool) -> Row:
    names, sentences = sentence_names(values, sides), []
    if names is None:
        if not any(str(value).strip() for value in values.values()):
            raise InputError(f"{WHERE}, line {number}: the line is empty, but {needed}")
        unclear = next(side for side in SIDES[:sides] if sum(name.lower() in side for name in values) != 1)
        raise InputError(f"{WHERE}, line {number}: one text called {' or '.join(unclear[:2])} is needed")
    for side, name in enumerate(names, 1):
        sentence = values[name]
        if not isinstance(sentence, str):
            raise InputError(f"{WHERE}, line {number}: {name} is no text")
        if not sentence.strip():
            what = f"sentence{side}" if len(values) > 1 else "the line"
            raise InputError(f"{WHERE}, line {number}: {what} is empty, but {needed}")
        sentences.append(sentence.strip())
    return Row(sentences, number, {name: value for name, value in values.items() if name not in names}, is_json)
