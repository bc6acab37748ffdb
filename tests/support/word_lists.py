"""wordfreq's lists, read once for all tests: reading those of all languages that are compared takes longer than most tests."""

import functools

from preprocess.distillation import word_lists

_of_wordfreq = functools.cache(word_lists.frequencies)


def frequencies(language, path=None):
    """What :func:`preprocess.distillation.word_lists.frequencies` returns. Do not change it."""
    return word_lists.frequencies(language, path) if path else _of_wordfreq(language)
