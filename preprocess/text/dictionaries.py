"""Dictionaries and synonym lists: source word to its translations or synonyms."""

from __future__ import annotations

import json
from pathlib import Path

from preprocess.text.numbered_lines import numbered_lines
from salt_fairseq.errors import InputError


def read_dictionary(path: str | Path) -> dict[str, list[str]]:
    """Caseless source word to its distinct substitutes, in the file's order.

    The file has MUSE's layout, 'source target' on each line (space or tab), or is JSON: ``{"word": ["substitute", ...]}``.
    """
    entries = _from_json(path) if str(path).endswith(".json") else _from_lines(path)
    substitutes: dict[str, dict[str, None]] = {}  # inner dicts serve as ordered sets
    for word, targets in entries.items():
        distinct = substitutes.setdefault(word.casefold(), {})
        distinct.update(dict.fromkeys(target for target in targets if target.casefold() != word.casefold()))
    return {word: list(distinct) for word, distinct in substitutes.items()}


def _from_json(path):
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"dictionary {path} cannot be read ({error}): give MUSE's lines 'source target', or JSON") from None
    if not (
        isinstance(entries, dict)
        and all(isinstance(targets, list) for targets in entries.values())
        and all(isinstance(target, str) for targets in entries.values() for target in targets)
    ):
        raise InputError(f"dictionary {path} is not a JSON object that maps each word to a list of substitutes")
    return entries


def _from_lines(path):
    entries: dict[str, list[str]] = {}
    for number, line in numbered_lines(path, "dictionary"):
        if words := line.split():
            if len(words) != 2:
                raise InputError(f"{path}, line {number}: {line!r} is not 'source target'")
            entries.setdefault(words[0], []).append(words[1])
    return entries
