"""Which column of a text file holds what: from its header, from its width, or from ``--columns``."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from salt_fairseq.data.sentence_rows import SENTENCE1, SENTENCE2
from salt_fairseq.errors import InputError

ROLES = {  # names of columns in published files, in lower case; of several ids the first counts
    "language": ("language", "lang", "locale"),
    "id": ("id", "guid", "pairid", "index_id", "idx", "index"),
    "sentence1": SENTENCE1,
    "sentence2": SENTENCE2,
    "label": ("label", "gold_label", "gold", "is_duplicate", "class", "category", "intent", "topic"),
}
NAMES = tuple(ROLES)
TAGGED = ("token", "tag")  # roles in text with a tag for each word
KNOWN = {name for names in ROLES.values() for name in names}
SYNONYMS = {"premise": "sentence1", "hypothesis": "sentence2"}  # of roles in --columns
DERIVED = re.compile(r"sentence[12]_(binary_parse|parse|tokenized)")  # XNLI's and MultiNLI's other forms of their sentences
EXAMPLE = "--columns sentence1=COLUMN,sentence2=COLUMN,label=COLUMN (without sentence2 for single sentences)"


def parse_columns(text: str) -> dict[str, str]:
    """``premise=sentence1,label=gold`` to a dict of role (a key of :data:`ROLES`) to column name, or to number from 1."""
    chosen: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = (word.strip() for word in part.partition("="))
        role = SYNONYMS.get(role, role)
        if not equals or not column or role not in ROLES or role in chosen or column in chosen.values():
            raise InputError(f"--columns {text}: {EXAMPLE} is needed, also with id or language, each once")
        chosen[role] = column
    if not {"sentence1", "label"} <= chosen.keys() or len({column.isdecimal() for column in chosen.values()}) > 1:
        raise InputError(f"--columns {text}: sentence1 and label are needed, by names in a header or all by number")
    return chosen


@dataclass(frozen=True)
class Columns:
    """``positions`` of the roles in a row; ``names`` is the header, None without one."""

    positions: Mapping[str, int]
    names: tuple[str, ...] | None
    width: int
    chosen: bool = False  # by --columns

    def __str__(self) -> str:
        def name(at):
            return self.names is not None and self.names[at].strip() or f"column {at + 1}"

        roles = sorted(self.positions, key=(*NAMES, *TAGGED).index)
        read = ", ".join(f"{role} = {name(self.positions[role])}" for role in roles)
        unused = [name(at) for at in self.unused]
        kind = (
            "words with tags" if "tag" in self.positions else "pairs" if "sentence2" in self.positions else "single sentences"
        )
        return f"{kind} ({read}; not used: {', '.join(unused) or 'none'})"

    @property
    def unused(self) -> list[int]:
        return [at for at in range(self.width) if at not in self.positions.values()]


@functools.lru_cache(maxsize=64)
def _by_name(names: tuple[str, ...], chosen: tuple[tuple[str, str], ...], where: str) -> Columns | None:
    lowered = [name.strip().lower() for name in names]
    shown = f"{where}: the columns are {', '.join(names)}"
    positions: dict[str, int] = {}
    for role, column in chosen:
        if lowered.count(column.lower()) != 1:
            raise InputError(f"{shown}; --columns {role}={column} needs one column of that name")
        positions[role] = lowered.index(column.lower())
    for role, aliases in ROLES.items():
        present = [alias for alias in aliases if alias in lowered]
        if role in positions or not present or (chosen and role not in ("id", "language")):
            continue
        if set(present) == {"question", "sentence"}:  # QNLI
            positions["sentence2"] = lowered.index("sentence")
        elif role != "id" and (len(present) > 1 or lowered.count(present[0]) > 1):
            raise InputError(f"{shown}, several of which may be {role}; name them: {EXAMPLE}")
        positions[role] = lowered.index(present[0])
    return Columns(positions, names, len(names), bool(chosen)) if {"sentence1", "label"} <= positions.keys() else None


def named_columns(names: Sequence[str], chosen: Mapping[str, str], where: str) -> Columns | None:
    """The columns of a header or a JSON object, None if sentence1 or label is missing; ``where`` begins errors."""
    return _by_name(tuple(names), tuple(chosen.items()), where)


def tsv_columns(cells: Sequence[str], chosen: Mapping[str, str], where: str) -> Columns:
    """The columns of a TSV file from the cells of line 1."""
    width = len(cells)
    if chosen and next(iter(chosen.values())).isdecimal():
        positions = {role: int(column) - 1 for role, column in chosen.items()}
        if not all(0 <= at < width for at in positions.values()):
            raise InputError(f"{where}: {width} columns; --columns asks for others")
        return Columns(positions, None, width, True)
    if columns := named_columns(cells, chosen, where):
        return columns
    if known := [cell.strip() for cell in cells if cell.strip().lower() in KNOWN]:
        raise InputError(
            f"{where}: the line ({', '.join(cells)[:200]}) has column name {known[0]!r}, but not both a known sentence1 and "
            f"label: name the columns, {EXAMPLE}, or by number if line 1 is an example"
        )
    if width not in (2, 3):
        raise InputError(
            f"{where}: {width} columns and no header; without a header the columns are sentence1, sentence2, label (or "
            f"sentence, label), separated by tabs; or name them: {EXAMPLE}"
        )
    roles = ("sentence1", "sentence2", "label") if width == 3 else ("sentence1", "label")
    return Columns({role: at for at, role in enumerate(roles)}, None, width)


def looks_like_text(values: Sequence[str]) -> bool:
    """Whether most values are three words or more, or eight characters of a script other than Latin."""
    filled = [value for value in values if value.strip()]
    text = [value for value in filled if len(value.split()) > 2 or (len(value) >= 8 and sum(c > "\u02af" for c in value) > 4)]
    return 2 * len(text) > len(filled)


def check_unused(columns: Columns, rows: Sequence[Sequence[str]], where: str) -> None:
    """Raise if a column that is not used looks like the sentences of a pair; ``rows`` are the cells of some lines."""
    if columns.chosen or columns.names is None:
        return
    for at in columns.unused:
        name = columns.names[at].strip()
        values = [cells[at] for cells in rows if at < len(cells)]
        if not DERIVED.fullmatch(name.lower()) and looks_like_text(values):
            raise InputError(
                f"{where}: read as {columns}, but {name!r}, which is not used, looks like text "
                f"({next(filter(str.strip, values))[:60]!r}): name the columns, {EXAMPLE}"
            )
