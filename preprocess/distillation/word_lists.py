"""Frequency lists, and target vocabularies: the pieces that are whole words among the most frequent of a language."""

import math
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import wordfreq

from preprocess.text.numbered_lines import numbered_lines
from salt_fairseq.cli.arguments import name_value_pairs
from salt_fairseq.errors import InputError
from salt_fairseq.tokenizer import Tokenizer

WORD_LIST_HELP = "your own frequency lists: one word per line, most frequent first, or 'word count' (default: from wordfreq)"
TOP = 10_000  # paper, footnote 2
SOURCE, FOREIGN = 0.5, 3  # a word this many times more frequent in the source language, or in another one, belongs there
CACHED = (wordfreq.get_frequency_list, wordfreq.get_frequency_dict, wordfreq.top_n_list)  # they cache everything they return
REFERENCES = ("ca", "de", "en", "es", "fr", "it", "nl", "pl", "pt", "sv")  # languages whose words occur in the lists of others


def frequencies(language: str, path: str | Path | None = None) -> dict[str, float]:
    """The most frequent words of a language, at most :data:`TOP`: caseless word to relative frequency.

    From ``path`` (one word a line, most frequent first, or ``word count``) or else from the library ``wordfreq``. A list
    without counts gets Zipf's law: frequency proportional to 1 / rank. Entries without a letter are not words.
    """
    counts = _read(path) if path else _wordfreq(language)
    words: defaultdict[str, float] = defaultdict(float)
    for word, count in counts:
        word = word.casefold()
        if any(c.isalpha() for c in word):
            words[word] += count
    total = sum(words.values()) if path else 1.0  # the library's frequencies are relative to all text already
    if not total:
        raise InputError(f"word list {path} holds no words: one word a line is needed, or 'word count'")
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


def _read(path):
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
            raise InputError(f"{path}, line {number}: {line!r} is neither a word nor 'word count'")
        counts.append((parts[0], count))
    return counts


def parse_word_lists(pairs: Iterable[str], languages: Iterable[str] | None = None) -> dict[str, str]:
    """Language to path, from ``--word-list``. With ``languages``, only these and :data:`REFERENCES` are allowed."""
    files = name_value_pairs("--word-list", pairs)
    for language, path in files.items():
        if languages is not None and language not in {*languages, *REFERENCES}:
            used = ", ".join([*languages, *REFERENCES])
            raise InputError(f"--word-list {language}={path}: this list is not used, only those of {used}: check the language")
    return files


def target_vocabularies(
    tokenizer: Tokenizer, languages: list[str], word_lists: dict[str, str], source_language: str, keep_shared: bool
) -> dict[str, np.ndarray]:
    """Language to piece ids, from the ``--languages``, ``--word-list`` and ``--keep-shared-words`` of a command.

    Frequency lists contain words of other languages (the French list *house*, the German list *of*). Unless ``keep_shared``,
    :func:`target_vocabulary` leaves these out, comparing with the source language and :data:`REFERENCES`.
    """
    needed = set(languages) if keep_shared else {*languages, source_language, *REFERENCES}
    lists = {language: frequencies(language, word_lists.get(language)) for language in sorted(needed)}
    vocabularies = {}
    for language in languages:
        source_words = elsewhere = None
        if not keep_shared:
            source_words = lists[source_language] if language != source_language else None
            elsewhere = highest(lists[other] for other in {source_language, *REFERENCES} - {language})
        vocabularies[language] = target_vocabulary(tokenizer, lists[language], source_words, elsewhere)
    return vocabularies


def highest(lists: Iterable[dict[str, float]]) -> dict[str, float]:
    """Each word of these lists to its highest frequency in any of them."""
    maxima: dict[str, float] = {}
    for words in lists:
        for word, frequency in words.items():
            maxima[word] = max(frequency, maxima.get(word, 0.0))
    return maxima


def target_vocabulary(
    tokenizer: Tokenizer,
    words: dict[str, float],
    source_words: dict[str, float] | None = None,
    elsewhere: dict[str, float] | None = None,
) -> np.ndarray:
    """Ids of the pieces that are whole words of ``words``, regardless of case: int64 (n,), ascending.

    ``source_words`` leaves out words that are more than :data:`SOURCE` times as frequent in the source language as here
    (*a* is as frequent in Spanish as in English); ``elsewhere``, from :func:`highest`, words that are more than
    :data:`FOREIGN` times as frequent in another language.
    """
    words, in_source, in_others = (_as_read(tokenizer, listed or {}) for listed in (words, source_words, elsewhere))

    def belongs(word):
        return in_source.get(word, 0.0) <= SOURCE * words[word] and in_others.get(word, 0.0) <= FOREIGN * words[word]

    texts = {i: tokenizer.words[i].casefold() for i in np.flatnonzero(tokenizer.starts_word)}
    return np.array([i for i, word in texts.items() if word in words and belongs(word)], dtype=np.int64)


def _as_read(tokenizer, words):
    """Words as the tokenizer reads them (an uncased BERT drops accents), to their frequencies."""
    frequency_of: defaultdict[str, float] = defaultdict(float)
    for word, frequency in words.items():
        frequency_of[tokenizer.caseless_word(word)] += frequency
    return frequency_of
