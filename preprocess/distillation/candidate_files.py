"""The candidates of all languages as files of the data directory, and what to print about them."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from preprocess.distillation.distinct_sentences import DistinctSentences
from preprocess.distillation.inputs import SUBSET
from preprocess.distillation.search import candidates_of, count_answered
from salt_fairseq.candidates import write_candidates
from salt_fairseq.cli.printable import print_line
from salt_fairseq.data.code_switching import DEFAULT_THRESHOLDS, thresholds_of
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import EOS
from salt_fairseq.storage.files import replacing
from salt_fairseq.storage.indexed_data import best_fitting_int_dtype, ranges
from salt_fairseq.storage.manifest import write_manifest
from salt_fairseq.storage.resumable import Resumable
from salt_fairseq.tokenizer import Tokenizer

BLOCK = 1 << 20  # tokens that are moved at once
SENTENCES = BLOCK // 16  # that are moved at once


class Statistics:
    """The fraction of tokens, eos aside, that are substituted at a probability threshold; the most frequent substitutions."""

    def __init__(self, threshold: float, vocabulary: int):
        self.threshold, self.vocabulary = threshold, vocabulary
        self.counts: Counter[int] = Counter()
        self.tokens = self.substituted = 0

    def add(self, tokens: np.ndarray, ids: np.ndarray, log_probs: np.ndarray, times: np.ndarray) -> None:
        """Arrays (n,): tokens, their candidates, and how many ``times`` each of the tokens occurs."""
        chosen = log_probs >= np.log(self.threshold)
        self.tokens += int(times[tokens != EOS].sum())
        self.substituted += int(times[chosen].sum())
        pairs, which = np.unique(tokens[chosen].astype(np.int64) * self.vocabulary + ids[chosen], return_inverse=True)
        self.counts.update(dict(zip(pairs.tolist(), np.bincount(which, times[chosen]).astype(np.int64).tolist())))

    def line(self, language: str, tokenizer: Tokenizer, most: int = 8) -> str:
        shown = ((*divmod(pair, self.vocabulary), n) for pair, n in self.counts.most_common(most))
        pairs = ", ".join(f"{tokenizer.words[s]}→{tokenizer.words[t]} {n:,}" for s, t, n in shown)
        fraction = self.substituted / self.tokens
        return f"{language}: {100 * fraction:.1f}% of tokens substituted at tau {self.threshold:g}; {pairs}"


def write_all(
    data: DataDirectory,
    tokenizer: Tokenizer,
    vocabularies: dict,
    sentences: DistinctSentences,
    resumable: Resumable,
    made_with: dict,
) -> None:
    """Write the candidates of all languages from the saved parts, and print a line about each.

    Raises unless the parts of all processes answer for all ``candidate_positions``.
    """
    asked, answered = made_with["candidate_positions"], count_answered(int(sentences.lengths.sum()), resumable)
    if answered < asked:
        raise InputError(
            f"{resumable.path} has candidates at {answered:,} of {asked:,} positions: the results of some process are missing; "
            "the same command searches for the rest"
        )
    dtype = best_fitting_int_dtype(made_with["vocabulary"])
    with open(resumable.path / "own", "wb") as file:
        for start in range(0, len(sentences), SENTENCES):
            which = np.arange(start, min(start + SENTENCES, len(sentences)))
            file.write(sentences.tokens(which).astype(dtype).tobytes())
    tokens = np.memmap(resumable.path / "own", dtype, "r")
    thresholds = thresholds_of(list(vocabularies), DEFAULT_THRESHOLDS, data.meta["source_language"])
    for language, vocabulary in vocabularies.items():
        statistics = Statistics(thresholds[language][1], made_with["vocabulary"])
        candidates = candidates_of(language, tokens, resumable, BLOCK)
        with replacing(data.path / "candidates" / language, marker="meta.json") as directory:
            for side, numbers in zip(data.sides, sentences.numbers):
                (directory / side).mkdir(parents=True)
                times = np.bincount(numbers, minlength=len(sentences))
                count = int(sentences.lengths[times > 0].sum())
                chunks = _chunks(sentences, times, tokens, *candidates, statistics)
                places = np.cumsum(times > 0)[numbers] - 1  # among the distinct sentences of this side
                write_candidates(directory / side / SUBSET, places, count, chunks, dtype)
            sha256 = {f"{side}/{SUBSET}": data.meta["subsets"][SUBSET]["sha256"][side] for side in data.sides}
            meta = {"language": language, "sentences_sha256": sha256, **made_with}
            meta |= {"answered_positions": answered, "target_vocabulary": len(vocabulary)}
            write_manifest(directory, meta)
        print_line(statistics.line(language, tokenizer))


def _chunks(sentences, times, tokens, ids, log_probs, statistics) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """``(lengths, ids, log_probs)`` of the distinct sentences that occur, which ``statistics`` counts so many ``times``."""
    distinct = np.flatnonzero(times)
    for start in range(0, len(distinct), SENTENCES):
        which = distinct[start : start + SENTENCES]
        lengths = sentences.lengths[which]
        places = ranges(sentences.starts[which], lengths)
        statistics.add(tokens[places], ids[places], log_probs[places], np.repeat(times[which], lengths))
        yield lengths, ids[places], log_probs[places]
