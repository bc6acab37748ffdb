"""Names of subsets: a split, and the language or the pair of languages that it is in."""

from typing import NamedTuple

STORED = r"(train|valid|test)(\.\w+)?"  # regular expression for the names of subsets that have files of their own


class Subset(NamedTuple):
    """``valid`` has no language: it is in the source language. ``test.fr`` has one. ``test.en-de`` has two: its premises are
    those of ``test.en`` and its hypotheses those of ``test.de`` (the generalized setting)."""

    split: str
    languages: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> "Subset":
        split, _, languages = name.partition(".")
        return cls(split, tuple(languages.split("-")) if languages else ())

    def pair(self, source_language: str) -> tuple[str, str]:
        """Language of the premises and language of the hypotheses."""
        languages = self.languages or (source_language,)
        return languages[0], languages[-1]
