"""The layouts of text with a tag for each word: CoNLL, PAN-X's, CoNLL-U, and JSON with lists of words and tags.

The first three are converted, once, into a temporary file with a sentence on each line, as JSON has it from the beginning: an
object with the lists ``tokens`` and ``tags``, and ``lines``, the number of the line on which each word stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from preprocess.text.columns import Columns
from preprocess.text.formats import JSON_ENDINGS, Converted, JsonArray, JsonLines, Lines
from preprocess.text.tables import ARROW_FILE, ARROW_STREAM, PARQUET
from preprocess.text.unpacking import STANDARD_INPUT, SUFFIXES
from salt_fairseq.errors import InputError
from salt_fairseq.storage.text_lines import text_lines

LAYOUTS = ("conll", "conllu", "panx", "json")
ROLES = {  # names of keys of JSON, and of columns that a header would have
    "token": ("tokens", "words", "token", "word", "form"),
    "tag": ("tags", "ner_tags", "pos_tags", "upos", "upos_tags", "labels", "tag", "label", "ner", "pos"),
}
BY_NUMBER = "--columns token=1,tag=4"
BY_KEY = "--columns token=tokens,tag=ner_tags"
DOCUMENT = "-DOCSTART-"  # CoNLL-2003's line between documents
LANGUAGE_PREFIX = re.compile(r"([a-z]{2,3}(?:-[a-z]+)*):.")  # of PAN-X's words
CONLLU_COLUMNS, FORM, UPOS = 10, 2, 4
CONLLU_ID = re.compile(r"(\d+)(-\d+|\.\d+)?")  # of a word, of a multiword token, of an empty node
MOST_WORDS = 2000  # in a sentence; without blank lines, a file is one


def parse_columns(text: str) -> dict[str, str]:
    """``token=1,tag=4`` to a dict of role (a key of :data:`ROLES`) to the number of a column, from 1, or the name of a key."""
    chosen: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = (word.strip() for word in part.partition("="))
        if not equals or not column or role not in ROLES or role in chosen or column in chosen.values():
            raise InputError(f"--columns {text}: with tags, {BY_NUMBER} or {BY_KEY} is needed")
        chosen[role] = column
    if len(chosen) < len(ROLES) or len({column.isdecimal() for column in chosen.values()}) > 1:
        raise InputError(f"--columns {text}: with tags, {BY_NUMBER} or {BY_KEY} is needed")
    return chosen


class Conll(Converted):
    """A word and its tag on each line, in columns between tabs, or blanks where line 1 has no tab; blank lines end sentences.

    The word is in the first column and the tag in the last one, unless they are ``chosen`` by number.
    """

    name, has_objects = "CoNLL", True

    def __init__(self, chosen: Mapping[str, str] = {}):
        if chosen and not all(column.isdecimal() for column in chosen.values()):
            raise InputError(f"--columns: the columns of {self.name} have no names; give their numbers, as in {BY_NUMBER}")
        self._at = {role: int(column) for role, column in chosen.items()}
        self._is_chosen, self._width, self._separator = bool(chosen), 0, ""

    @property
    def columns(self) -> Columns:
        """Known once the file is prepared."""
        return Columns({role: at - 1 for role, at in self._at.items()}, None, self._width, self._is_chosen)

    def read(self, file: IO[bytes] | None, path: Path) -> Iterator[tuple[int, dict[str, list]]]:
        assert file
        words: list[tuple[str, str, int]] = []
        for number, line in text_lines(file, path):
            if not line.strip(" \t"):
                yield from self._sentence(words)
                words = []
                continue
            word = self._word(line, f"{path}, line {number}")
            if word is not None:
                words.append((*word, number))
            if len(words) > MOST_WORDS:
                raise InputError(
                    f"{path}, line {number}: a sentence of more than {MOST_WORDS:,} words; blank lines must separate sentences"
                )
        yield from self._sentence(words)

    @staticmethod
    def _sentence(words: Sequence[tuple[str, str, int]]) -> Iterator[tuple[int, dict[str, list]]]:
        if words:
            tokens, tags, lines = map(list, zip(*words))
            yield lines[0], {"tokens": tokens, "tags": tags, "lines": lines}

    def _word(self, line: str, where: str) -> tuple[str, str] | None:
        """The word and the tag of a line that is not blank; None for a line that holds none."""
        if line.split(maxsplit=1)[:1] == [DOCUMENT]:  # before the first word: its columns may be divided in another way
            return None
        self._separator = self._separator or ("\t" if "\t" in line else " +")
        cells = re.split(self._separator, line.strip(" "))
        if not self._width:
            self._begin(cells, where)
        if len(cells) != self._width:
            raise InputError(f"{where}: {_count(cells)}, where the first word has {self._width}: correct the line")
        word, tag = (cells[self._at[role] - 1].strip() for role in ROLES)
        if not word:
            raise InputError(f"{where}: the word is empty: correct the line, or delete it")
        return word, tag

    def _begin(self, cells: list[str], where: str) -> None:
        """Learn from the first word how many columns there are."""
        self._width = len(cells)
        if self._width < 2:
            raise InputError(f"{where}: one column, where a word and its tag are needed, separated by a tab or blanks")
        known = {name for names in ROLES.values() for name in names}
        if {cell.lower() for cell in cells} <= known:
            raise InputError(f"{where}: this looks like a header ({', '.join(cells)}): delete the line")
        self._at = self._at or {"token": 1, "tag": self._width}
        if max(self._at.values()) > self._width:
            raise InputError(f"{where}: {_count(cells)}; --columns asks for others")


class Panx(Conll):
    """CoNLL whose words have the language before them, as PAN-X is published: ``en:Rome B-LOC``."""

    name, _language = "PAN-X", ""

    def _word(self, line, where):
        word, tag = super()._word(line, where) or ("", "")
        match = LANGUAGE_PREFIX.match(word)
        if not match or self._language not in ("", match[1]):
            raise InputError(
                f"{where}: the word does not begin with {self._language or 'LANG'}: as PAN-X's words do; where they have no "
                "language, --tags conll"
            )
        self._language = match[1]
        return word[match.end(1) + 1 :], tag


class Conllu(Conll):
    """Universal Dependencies: FORM and UPOS of each syntactic word. Multiword tokens (``3-4 du``), whose parts are words of
    their own, empty nodes (``5.1``) and comments are no words."""

    name = "CoNLL-U"

    def __init__(self, chosen: Mapping[str, str] = {}):
        super().__init__(chosen or {"token": str(FORM), "tag": str(UPOS)})
        self._is_chosen, self._width, self._separator = True, CONLLU_COLUMNS, "\t"
        if max(self._at.values()) > CONLLU_COLUMNS:
            raise InputError(f"--columns: CoNLL-U has {CONLLU_COLUMNS} columns")

    def _word(self, line, where):
        if line.startswith("#"):
            return None
        id = line.partition("\t")[0]
        if not (match := CONLLU_ID.fullmatch(id)):
            raise InputError(f"{where}: {id[:40]!r} is no number of a word: lines of CoNLL-U begin with one, or with #")
        word = super()._word(line, where)
        return None if match[2] else word


def _count(cells: Sequence[str]) -> str:
    return f"{len(cells)} column{'s'[: len(cells) != 1]}"


def format_of(path: Path, begin: bytes, layout: str | None, chosen: Mapping[str, str]) -> Lines:
    """The format of a file, in a ``layout`` of :data:`LAYOUTS`, or in the one that its name and how its bytes, unpacked,
    ``begin`` show; ``chosen`` as :func:`parse_columns` returns it. Raises where these do not decide it."""
    if path.is_dir() or begin.startswith((PARQUET, ARROW_FILE, ARROW_STREAM)):
        raise InputError(
            f"{path}: with tags, Parquet, Arrow and directories are not read: write JSON Lines, data_set.to_json(FILE)"
        )
    name, lines = str(path).lower(), [line.rstrip("\r") for line in begin.decode("utf-8-sig", "ignore").split("\n")]
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    first = next((line for line in lines if line.strip()), "").strip()
    looks_like_json = first.startswith(("{", "[")) and "\t" not in first and not re.fullmatch(r"\S+ +\S+", first)
    is_json = name.endswith(JSON_ENDINGS) or (path == STANDARD_INPUT and looks_like_json)
    if layout == "json" or (layout is None and is_json):
        return JsonArray() if first.startswith("[") and not name.endswith(JSON_ENDINGS[1:]) else JsonLines()
    if layout is None and looks_like_json:
        raise InputError(f"{path}, line 1: this looks like JSON: name the file .jsonl, or say --tags json, or --tags conll")
    if layout is None:
        layout = _layout_of(lines[:-1] or lines)
    return {"conll": Conll, "conllu": Conllu, "panx": Panx}[layout](chosen)


def _layout_of(lines: Sequence[str]) -> str:
    """The layout of a file that begins with these lines and is no JSON."""
    words = [line for line in lines if line.strip() and not line.startswith("# ") and not line.startswith(DOCUMENT)]
    cells = next((line for line in words if not line.startswith("#")), "").split("\t")  # "#text" is a comment of CoNLL-U alone
    if len(cells) == CONLLU_COLUMNS and CONLLU_ID.fullmatch(cells[0]):
        return "conllu"
    # Most words decide: others are errors then, where CoNLL would read "en:Rome" as a word.
    return "panx" if 2 * sum(bool(LANGUAGE_PREFIX.match(word)) for word in words) > len(words) else "conll"


def columns_of_keys(keys: Sequence[str], chosen: Mapping[str, str], where: str) -> Columns:
    """The columns of JSON objects with these keys; ``where`` begins errors."""
    positions: dict[str, int] = {}
    for role, names in ROLES.items():
        present = [key for key in keys if (key == chosen[role] if chosen else key.lower() in names)]
        if len(present) != 1:
            what = f"{len(present)} of which may be" if present else f"none of which is {'that of ' if chosen else ''}"
            raise InputError(f"{where}: the keys are {', '.join(keys) or 'none'}, {what} the {role}s: name them, {BY_KEY}")
        positions[role] = list(keys).index(present[0])
    return Columns(positions, tuple(keys), len(keys), bool(chosen))


def lists_of(value: Mapping[str, Any], columns: Columns, where: str) -> tuple[list[str], list[str]]:
    """The words and the tags of a JSON object, of equal number; numbers of tags become text."""
    names = columns.names or ()
    lists = {role: value.get(names[at]) for role, at in columns.positions.items()}
    for role, items in lists.items():
        kinds = (str,) if role == "token" else (str, int)
        if not isinstance(items, list) or not all(isinstance(i, kinds) and not isinstance(i, bool) for i in items):
            raise InputError(f"{where}: {names[columns.positions[role]]} is no list of {role}s: name the keys, {BY_KEY}")
    tokens, tags = lists["token"], lists["tag"]
    assert tokens is not None and tags is not None
    if len(tokens) != len(tags):
        raise InputError(f"{where}: {len(tokens)} tokens and {len(tags)} tags: each token needs one")
    return [token.strip() for token in tokens], [str(tag).strip() for tag in tags]
