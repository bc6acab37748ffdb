"""The scripts in which a language is written, and whether a word is written in them (the Unicode property Script)."""

from functools import cache

import langcodes
import regex

# ISO 15924 names combinations of scripts and variants of Han, which are no values of Unicode's property.
COMBINED = {"Jpan": ("Hira", "Kana", "Hani"), "Kore": ("Hang", "Hani"), "Hans": ("Hani",), "Hant": ("Hani",)}
NEUTRAL = ("Zyyy", "Zinh")  # characters that several scripts share, such as digits and apostrophes, and marks above letters


@cache
def scripts_of(language: str) -> tuple[str, ...]:
    """ISO 15924 codes of a language's scripts: ``("Cyrl",)`` for ``ru``, ``("Latn",)`` for ``sr-Latn``.

    They are CLDR's likely subtags, as ``langcodes`` has them; empty for a code that is no language's (``xx``, ``klingon``).
    """
    try:
        tag = langcodes.Language.get(language)
    except langcodes.LanguageTagError:
        return ()
    if not tag.is_valid():
        return ()
    script = tag.maximize().script or ""
    return COMBINED.get(script, (script,))


def is_in_scripts(word: str, scripts: tuple[str, ...]) -> bool:
    """Whether all characters of a word belong to these scripts, or to several. Any word is in no scripts, ``()``."""
    return not scripts or _pattern(scripts).fullmatch(word) is not None


@cache
def _pattern(scripts):
    return regex.compile("[" + "".join(rf"\p{{Script={script}}}" for script in (*scripts, *NEUTRAL)) + "]+")
