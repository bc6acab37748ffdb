"""Target vocabularies: the pieces that are whole words among the most frequent of a language, in its scripts (paper §2.1)."""

from __future__ import annotations

import enum
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from preprocess.distillation.scripts import is_in_scripts, scripts_of
from preprocess.distillation.word_lists import REFERENCES, frequencies
from salt_fairseq.errors import InputError
from salt_fairseq.tokenizer import Tokenizer

SOURCE, FOREIGN = 0.5, 3  # a word this many times more frequent in the source language, or in another one, belongs there
FEW, TOO_FEW = 300, 50  # distinct words; docs/guide.md has the numbers of many languages


class Verdict(enum.Enum):
    """Whether a language can serve as a target language with a PLM."""

    GOOD = "good"
    WEAK = "weak"
    UNFIT = "cannot serve"


def target_vocabularies(
    tokenizer: Tokenizer, languages: list[str], files: dict[str, str], source_language: str, keep_shared: bool
) -> dict[str, np.ndarray]:
    """Language to piece ids, from the ``--languages``, ``--word-list`` and ``--keep-shared-words`` of a command."""
    lists = read_lists(languages, files, source_language, keep_shared)
    return vocabularies_from(tokenizer, languages, lists, source_language, keep_shared)


def read_lists(
    languages: list[str], files: dict[str, str], source_language: str, keep_shared: bool
) -> dict[str, dict[str, float]]:
    """Language to :func:`~preprocess.distillation.word_lists.frequencies`, for every list that
    :func:`vocabularies_from` compares."""
    needed = set(languages) if keep_shared else {*languages, source_language, *REFERENCES}
    return {language: frequencies(language, files.get(language)) for language in sorted(needed)}


def vocabularies_from(
    tokenizer: Tokenizer, languages: list[str], lists: dict[str, dict[str, float]], source_language: str, keep_shared: bool
) -> dict[str, np.ndarray]:
    """Language to piece ids of its words, int64 (n,), ascending.

    Words that are not in the scripts of their language are left out: the Japanese list holds *html*, and where few Japanese
    words are single pieces, it would be a substitute for *the*. Lists also contain words of other languages in the same
    script (the French list *house*, the German list *of*). Unless ``keep_shared``, :func:`target_vocabulary` leaves these out,
    comparing with the source language and :data:`~preprocess.distillation.word_lists.REFERENCES`.
    """
    vocabularies = {}
    reads_as = functools.cache(tokenizer.caseless_word)  # the lists of many languages have words in common
    for language in languages:
        source_words = elsewhere = None
        if not keep_shared:
            source_words = lists[source_language] if language != source_language else None
            elsewhere = highest(lists[other] for other in {source_language, *REFERENCES} - {language})
        words = in_own_scripts(language, lists[language])
        vocabularies[language] = target_vocabulary(tokenizer, words, source_words, elsewhere, reads_as)
    return vocabularies


def in_own_scripts(language: str, words: dict[str, float]) -> dict[str, float]:
    """The words that are written in the language's scripts."""
    scripts = scripts_of(language)
    return {word: frequency for word, frequency in words.items() if is_in_scripts(word, scripts)}


def distinct_words(tokenizer: Tokenizer, vocabulary: np.ndarray) -> int:
    """The number of words in a target vocabulary, regardless of case."""
    return len(np.unique(tokenizer.caseless[vocabulary]))


def verdict(words: int, own_list: bool) -> Verdict:
    """What ``words`` distinct words in a target vocabulary are enough for.

    With fewer than :data:`TOO_FEW`, nearly every substitute is unrelated to the word it replaces, and the language cannot
    serve. Whoever names the words themselves (``own_list``, from ``--word-list``) may have chosen few: then one is enough.
    """
    if words < (1 if own_list else TOO_FEW):
        return Verdict.UNFIT
    return Verdict.WEAK if words < FEW else Verdict.GOOD


def check_vocabularies(tokenizer: Tokenizer, vocabularies: dict[str, np.ndarray], files: dict[str, str]) -> Iterator[str]:
    """Yield a warning for each language whose target vocabulary is small. Raises if one cannot serve."""
    sizes = {language: distinct_words(tokenizer, vocabulary) for language, vocabulary in vocabularies.items()}
    verdicts = {language: verdict(words, language in files) for language, words in sizes.items()}
    if unfit := [language for language in verdicts if verdicts[language] is Verdict.UNFIT]:
        script = "/".join(scripts_of(unfit[0])) or "any script"
        if unfit[0] in files:
            raise InputError(
                f"no word of the list for {unfit[0]!r} is a single piece of the PLM's vocabulary (script {script}): give "
                f"another --word-list {unfit[0]}=FILE, or leave the language out"
            )
        counts = ", ".join(f"{language} {sizes[language]:,}" for language in unfit)
        raise InputError(
            f"too few words are single pieces of the PLM's vocabulary, in the language's own script, to be substitutes: "
            f"{counts}; at least {TOO_FEW} are needed: leave the language out, take another PLM, or name the words with "
            f"--word-list {unfit[0]}=FILE (preprocess/inspect_languages.py shows which languages can serve)"
        )
    for language, words in sizes.items():
        if verdicts[language] is Verdict.WEAK:
            yield (
                f"the target vocabulary of {language} has only {words:,} words, and fewer than {FEW} leave most tokens without "
                "a fitting substitute: preprocess/inspect_languages.py shows examples"
            )


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
    reads_as: Callable[[str], str] | None = None,
) -> np.ndarray:
    """Ids of the pieces that are whole words of ``words``, regardless of case: int64 (n,), ascending.

    ``source_words`` leaves out words that are more than :data:`SOURCE` times as frequent in the source language as here
    (*a* is as frequent in Spanish as in English); ``elsewhere``, from :func:`highest`, words that are more than
    :data:`FOREIGN` times as frequent in another language. ``reads_as`` is the tokenizer's ``caseless_word``, or remembers it.
    """
    reads_as = reads_as or tokenizer.caseless_word
    words, in_source, in_others = (_as_read(reads_as, listed or {}) for listed in (words, source_words, elsewhere))

    def belongs(word):
        return in_source.get(word, 0.0) <= SOURCE * words[word] and in_others.get(word, 0.0) <= FOREIGN * words[word]

    texts = {i: tokenizer.words[i].casefold() for i in np.flatnonzero(tokenizer.starts_word)}
    return np.array([i for i, word in texts.items() if word in words and belongs(word)], dtype=np.int64)


def _as_read(reads_as, words):
    """Words as the tokenizer reads them (an uncased BERT drops accents), to their frequencies."""
    frequency_of: defaultdict[str, float] = defaultdict(float)
    for word, frequency in words.items():
        frequency_of[reads_as(word)] += frequency
    return frequency_of
