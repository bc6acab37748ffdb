"""Frequency lists, and the target vocabulary of a language: the pieces that are whole words among its most frequent."""

import math
import re

import numpy as np
import wordfreq

from salt_fairseq.errors import InputError
from salt_fairseq.storage.text_lines import text_lines

TOP = 10_000  # paper, footnote 2
SOURCE, FOREIGN = 0.5, 3  # a word more than so many times as frequent in the source language or in another one is theirs
CACHED = (wordfreq.get_frequency_list, wordfreq.get_frequency_dict, wordfreq.top_n_list)  # keep all that they ever returned
REFERENCES = ("ca", "de", "en", "es", "fr", "it", "nl", "pl", "pt", "sv")  # whose words other lists hold


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
    total = sum(words.values()) if path else 1.0  # the library's are relative to all text, the words left out included
    if not total:
        raise InputError(f"word list {path} holds no words: one word a line is needed, or 'word count'")
    top = sorted(words, key=lambda word: -words[word])[:TOP]  # stable: equal counts stay in the list's order
    return {word: words[word] / total for word in top}


def _wordfreq(language):
    # Asked for a language it lacks, the library answers with a similar one (English for Swahili).
    available = wordfreq.available_languages()
    if language not in available:
        raise InputError(
            f"there is no word list for language {language!r} in wordfreq (it has: "
            f"{', '.join(sorted(available))}): give one with --word-list {language}=FILE"
        )
    # "small" holds all that is needed here and is read faster. It has shapes of numbers ("00th"), which its list leaves out.
    counts = wordfreq.get_frequency_dict(language, wordlist="small")
    words = [(word, counts[word]) for word in wordfreq.top_n_list(language, len(counts), wordlist="small")]
    for function in CACHED:
        function.cache_clear()
    return words


def _read(path):
    counts = []
    try:
        with open(path, "rb") as file:
            lines = list(text_lines(file, path))
    except OSError as error:
        raise InputError(f"word list {path} cannot be read ({error.strerror}): a UTF-8 text file is needed") from None
    for number, line in lines:
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


def parse_word_lists(pairs, languages=None):
    """``LANG=FILE`` options to a dict; other languages than these ``languages`` and :data:`REFERENCES` are an error."""
    files = {}
    for pair in pairs:
        language, equals, path = pair.partition("=")
        if not equals or not re.fullmatch(r"[\w-]+", language) or language in files:
            raise InputError(f"--word-list {pair}: LANG=FILE is needed, each language once")
        if languages is not None and language not in {*languages, *REFERENCES}:
            raise InputError(
                f"--word-list {pair}: this list is not used, only those of {', '.join(languages)} and "
                f"of {', '.join(REFERENCES)}: check the language"
            )
        files[language] = path
    return files


def target_vocabularies(tokenizer, languages, word_lists, source_language, keep_shared):
    """Language to piece ids, for the ``--languages``, ``--word-list`` and ``--keep-shared-words`` of a command.

    Frequency lists hold words of other languages (the French one *house*, the German one *of*). Unless ``keep_shared``, these
    are left out: see :func:`target_vocabulary`; the other languages are the source language and :data:`REFERENCES`.
    """
    read = set(languages) if keep_shared else {*languages, source_language, *REFERENCES}
    lists = {language: frequencies(language, word_lists.get(language)) for language in sorted(read)}
    found = {}
    for language in languages:
        source_words = elsewhere = None
        if not keep_shared:
            source_words = lists[source_language] if language != source_language else None
            elsewhere = highest(lists[other] for other in {source_language, *REFERENCES} - {language})
        found[language] = target_vocabulary(tokenizer, lists[language], source_words, elsewhere)
    return found


def highest(lists):
    """Each word of any of these lists to the highest frequency that it has in one of them."""
    found = {}
    for words in lists:
        for word, frequency in words.items():
            found[word] = max(frequency, found.get(word, 0.0))
    return found


def target_vocabulary(tokenizer, words, source_words=None, elsewhere=None):
    """Ids int64 (n,), ascending: single pieces that are whole words of ``words``, without regard to case.

    With ``source_words``, words that are more than :data:`SOURCE` times as frequent in the source language as here are left
    out (*a* is as frequent in Spanish as in English); with ``elsewhere`` (:func:`highest`), words that are more than
    :data:`FOREIGN` times as frequent in some other language.
    """
    words, source_words, elsewhere = (listed and _as_read(tokenizer, listed) for listed in (words, source_words, elsewhere))

    def wanted(word):
        return (
            word in words
            and (source_words is None or source_words.get(word, 0.0) <= SOURCE * words[word])
            and (elsewhere is None or elsewhere.get(word, 0.0) <= FOREIGN * words[word])
        )

    starts = np.flatnonzero(tokenizer.starts_word)
    return np.array([i for i in starts if wanted(tokenizer.words[i].casefold())], dtype=np.int64)


def _as_read(tokenizer, words):
    """Word to frequency, the words as the tokenizer reads them (an uncased BERT drops accents)."""
    read = {}
    for word, frequency in words.items():
        word = tokenizer.caseless_word(word)
        read[word] = read.get(word, 0.0) + frequency
    return read
