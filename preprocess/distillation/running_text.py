"""Running text as a source of word frequencies: its words, as ``wordfreq`` cuts them, counted."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import wordfreq

from preprocess.distillation.scripts import scripts_of
from preprocess.text.numbered_lines import numbered_lines
from salt_fairseq.cli.printable import print_line
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.errors import InputError

THAI, CHINESE = ("Thai",), ("Hani",)
SPACELESS = {"Khmr", "Laoo", "Mymr", "Tibt"}  # written without spaces between words, and no package here finds the words


def word_counts(path: str | Path, language: str) -> Counter[str]:
    """Each word of a text in ``language`` to the number of times that it occurs there, without case."""
    segment, counts = segmenter(language), Counter[str]()
    for _, line in progress_bar(
        numbered_lines(path, "word list"), desc=f"counting the words of {Path(path).name}", unit=" lines"
    ):
        counts.update(segment(line))
    print_line(f"{path}: read as running text of {sum(counts.values()):,} words, {len(counts):,} of them distinct", sys.stderr)
    return counts


def segmenter(language: str) -> Callable[[str], list[str]]:
    """The function that cuts a line of ``language`` into words: ``pythainlp`` for Thai, otherwise ``wordfreq``'s own
    tokenizer, which needs ``jieba`` for Chinese, ``MeCab`` for Japanese and Korean. Raises where that is not installed."""
    scripts = scripts_of(language)
    if missing := SPACELESS.intersection(scripts):
        raise InputError(
            f"running text in {language!r} (script {', '.join(missing)}) has no spaces between words, and nothing here "
            f"separates them: give a list, one word a line, with --word-list {language}=FILE"
        )
    try:
        if scripts == THAI:
            from pythainlp.tokenize import word_tokenize

            return word_tokenize
        if not scripts:  # no language that wordfreq knows
            return wordfreq.simple_tokenize
        if scripts == CHINESE:
            language = "zh"  # wordfreq has no tokenizer under another name (zh-Hant, yue)
        wordfreq.tokenize("a", language, external_wordlist=True)  # loads what it needs
    except ImportError as error:
        package = error.name or str(error)
        raise InputError(
            f"the words of running text in {language!r} are separated by a package that is not installed ({package}): "
            f"pip install 'salt_fairseq[segmentation]', or give a list, one word a line"
        ) from None
    return lambda line: wordfreq.tokenize(line, language, external_wordlist=True)
