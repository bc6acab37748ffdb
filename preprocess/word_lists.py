"""Frequency lists, and the target vocabulary of a language: the pieces that are whole words among its most frequent."""

import math
from pathlib import Path

import numpy as np
import wordfreq

from salt_fairseq.errors import InputError

TOP = 10_000  # paper, footnote 2


def frequencies(language, path=None):
    """The most frequent words of a language, at most :data:`TOP`: caseless word to relative frequency.

    From ``path`` (one word a line, most frequent first, or ``word count``) or else from the library ``wordfreq``. A list
    without counts gets Zipf's law: frequency proportional to 1 / rank. Entries without a letter are not words.
    """
    counts = _read(path) if path else _wordfreq(language)
    words = {}
    for word, count in counts:
        word = word.casefold()
        if any(c.isalpha() for c in word):
            words[word] = words.get(word, 0) + count
    total = sum(words.values())
    if not total:
        raise InputError(f"word list {path} holds no words: one word a line is needed, or 'word count'")
    top = sorted(words, key=lambda word: -words[word])[:TOP]  # stable: equal counts stay in the list's order
    return {word: words[word] / total for word in top}


def _wordfreq(language):
    # Asked for a language it lacks, the library answers with a similar one (English for Swahili).
    available = wordfreq.available_languages()
    if language not in available:
        raise InputError(f"there is no word list for language {language!r} in wordfreq (it has: "
                         f"{', '.join(sorted(available))}): give one with --word-list {language}=FILE")
    counts = wordfreq.get_frequency_dict(language)  # of shapes of numbers ("00th") too, which its list leaves out
    return [(word, counts[word]) for word in wordfreq.top_n_list(language, len(counts))]


def _read(path):
    counts = []
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"word list {path} cannot be read ({error}): a UTF-8 text file is needed") from None
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if not parts:
            continue
        try:
            count = float(parts[1]) if len(parts) > 1 else 1 / number
        except ValueError:
            count = math.nan
        if len(parts) > 2 or not 0 <= count < math.inf:
            raise InputError(f"{path}, line {number}: {line!r} is neither a word nor 'word count'")
        counts.append((parts[0], count))
    return counts


def parse_word_lists(pairs):
    """``LANG=FILE`` options to a dict."""
    files = {}
    for pair in pairs:
        language, equals, path = pair.partition("=")
        if not equals:
            raise InputError(f"--word-list {pair}: LANG=FILE is needed")
        files[language] = path
    return files


def target_vocabulary(tokenizer, words, source_words=None):
    """Ids int64 (n,), ascending: single pieces that are whole words of ``words``, without regard to case.

    With ``source_words``, words that are more frequent in the source language than here are left out (the French list
    holds *house* and *the*).
    """
    words, source_words = (listed and _as_read(tokenizer, listed) for listed in (words, source_words))

    def wanted(word):
        return word in words and (source_words is None or source_words.get(word, 0.0) <= words[word])

    starts = np.flatnonzero(tokenizer.starts_word)
    return np.array([i for i in starts if wanted(tokenizer.words[i].casefold())], dtype=np.int64)


def _as_read(tokenizer, words):
    """Word to frequency, the words as the tokenizer reads them (an uncased BERT drops accents)."""
    read = {}
    for word, frequency in words.items():
        word = tokenizer.caseless_word(word)
        read[word] = read.get(word, 0.0) + frequency
    return read
