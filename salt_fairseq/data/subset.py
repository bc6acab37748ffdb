"""Names of subsets: a split, and the language or the pair of languages that it is in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

# A language may have a script and a region: zh-Hans, pt-BR. Only a capital makes them so, and en-de is a pair of languages.
LANGUAGE = r"(?:[a-z]{2,3}(?:-[A-Z][a-z]{3}(?:-(?:[A-Z]{2}|\d{3}))?|-[A-Z]{2}|-\d{3})|\w+)"
STORED = rf"(train|valid|test)(\.{LANGUAGE})?"  # regular expression for the names of subsets that have files of their own


class Subset(NamedTuple):
    """``valid`` has no language: it is in the source language. ``test.fr`` has one. ``test.en-de`` has two: its premises are
    those of ``test.en`` and its hypotheses those of ``test.de`` (the generalized setting)."""

    split: str
    languages: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> "Subset":
        split, _, languages = name.partition(".")
        if pair := re.fullmatch(f"({LANGUAGE})(?:-({LANGUAGE}))?", languages):
            return cls(split, tuple(filter(None, pair.groups())))
        return cls(split, tuple(languages.split("-")) if languages else ())

    def pair(self, source_language: str) -> tuple[str, str]:
        """Language of the premises and language of the hypotheses."""
        languages = self.languages or (source_language,)
        return languages[0], languages[-1]


def source_languages(text: str) -> tuple[str, ...]:
    """``"en,de"``, as it is typed and stored, to ``("en", "de")``."""
    return tuple(text.split(","))


def source_subsets(split: str, sources: Sequence[str]) -> list[str]:
    """The names of the subsets in the source languages: ``train`` of one, ``train.en`` and ``train.de`` of several."""
    return [split] if len(sources) == 1 else [f"{split}.{language}" for language in sources]
