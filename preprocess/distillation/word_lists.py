"""Word lists: the most frequent words of a language, from wordfreq, from a list of the user's, or counted in running text."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import wordfreq

from preprocess.distillation.running_text import word_counts
from preprocess.text.numbered_lines import numbered_lines
from salt_fairseq.cli.arguments import name_value_pairs
from salt_fairseq.errors import InputError

WORD_LIST_HELP = (
    "your own word lists: one word per line, most frequent first, or 'word count'; or running text, whose words are counted "
    "(default: from wordfreq)"
)
TOP = 10_000  # paper, footnote 2
LOOKED_AT = 1_000  # lines that show whether a file is a list or running text
LONGEST_WORD = 30  # characters; without spaces, a longer line is a sentence of a script that is written so
SENTENCE_MARKS = set(".,!?;:。，、！？；：।؟")
CACHED = (wordfreq.get_frequency_list, wordfreq.get_frequency_dict, wordfreq.top_n_list)  # they cache everything they return
REFERENCES = ("ca", "de", "en", "es", "fr", "it", "nl", "pl", "pt", "sv")  # languages whose words occur in the lists of others


def frequencies(language: str, path: str | Path | None = None) -> dict[str, float]:
    """The most frequent words of a language, at most :data:`TOP`: caseless word to relative frequency.

    From ``path`` (one word a line, most frequent first, or ``word count``, or running text) or else from the library
    ``wordfreq``. A list without counts gets Zipf's law: frequency proportional to 1 / rank. Entries without a letter are not
    words.
    """
    counts = _read(path, language) if path else _wordfreq(language)
    words: defaultdict[str, float] = defaultdict(float)
    for word, count in counts:
        word = word.casefold()
        if any(c.isalpha() for c in word):
            words[word] += count
    total = sum(words.values()) if path else 1.0  # the library's frequencies are relative to all text already
    if not total:
        raise InputError(f"word list {path} holds no words: one word a line is needed, 'word count', or running text")
    top = sorted(words, key=lambda word: -words[word])[:TOP]  # stable: equal counts stay in the list's order
    return {word: words[word] / total for word in top}


def _wordfreq(language):
    # For a language it lacks, the library silently takes a similar one (English for Swahili).
    available = wordfreq.available_languages()
    if language not in available:
        raise InputError(
            f"there is no word list for language {language!r} in wordfreq (it has: "
            f"{', '.join(sorted(available))}): give one with --word-list {language}=FILE"
        )
    # The small list suffices and loads faster. Its dictionary has shapes of numbers ("00th"), which top_n_list leaves out.
    counts = wordfreq.get_frequency_dict(language, wordlist="small")
    words = [(word, counts[word]) for word in wordfreq.top_n_list(language, len(counts), wordlist="small")]
    for function in CACHED:
        function.cache_clear()
    return words


def _read(path, language):
    lines = [line for _, line in itertools.islice(numbered_lines(path, "word list"), LOOKED_AT) if line.strip()]
    if 2 * sum(map(_is_entry, lines)) < len(lines):
        return word_counts(path, language).most_common()
    counts = []
    for number, line in numbered_lines(path, "word list"):
        parts = line.split()
        if not parts:
            continue
        try:
            count = float(parts[1]) if len(parts) > 1 else 1 / number
        except ValueError:
            count = math.nan
        if len(parts) > 2 or not 0 <= count < math.inf:
            raise InputError(f"{path}, line {number}: {line!r} is neither a word nor 'word count', as most lines are")
        counts.append((parts[0], count))
    return counts


def _is_entry(line):
    """Whether a line looks like one of a word list."""
    word, *numbers = line.split()
    try:
        return len([float(number) for number in numbers]) < 2 and len(word) <= LONGEST_WORD and not set(word) & SENTENCE_MARKS
    except ValueError:
        return False


def parse_word_lists(pairs: Iterable[str], languages: Iterable[str] | None = None) -> dict[str, str]:
    """Language to path, from ``--word-list``. With ``languages``, only these and :data:`REFERENCES` are allowed."""
    files = name_value_pairs("--word-list", pairs)
    for language, path in files.items():
        if languages is not None and language not in {*languages, *REFERENCES}:
            used = ", ".join([*languages, *REFERENCES])
            raise InputError(f"--word-list {language}={path}: this list is not used, only those of {used}: check the language")
    return files
