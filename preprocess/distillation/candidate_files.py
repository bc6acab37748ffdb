"""The candidates of all languages as files of the data directory, and what to print about them."""

from collections import Counter
from collections.abc import Iterator

import numpy as np

from preprocess.distillation.search import candidates_of, count_answered
from preprocess.distillation.sources import SourceSentences, one_or_each
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
    data: DataDirectory, tokenizer: Tokenizer, sources: list[SourceSentences], work: list[Resumable], made_with: dict
) -> None:
    """Write the candidates of all languages from the saved parts, ``work`` of each source, and print lines about them.

    Raises unless the parts of all processes answer for all candidate positions.
    """
    dtype = best_fitting_int_dtype(made_with["vocabulary"])
    counts = {"candidate_positions": 0, "answered_positions": 0}
    for source, resumable in zip(sources, work):
        asked, answered = source.candidate_positions, count_answered(int(source.sentences.lengths.sum()), resumable)
        if answered < asked:
            raise InputError(
                f"{resumable.path} has candidates at {answered:,} of {asked:,} positions: the results of some process are "
                "missing; the same command searches for the rest"
            )
        counts["candidate_positions"] += asked
        counts["answered_positions"] += answered
        _write_tokens(source.sentences, resumable.path / "own", dtype)
    for language in sources[0].vocabularies:
        lines = []
        with replacing(data.path / "candidates" / language, marker="meta.json") as directory:
            for side in data.sides:
                (directory / side).mkdir(parents=True)
            for source, resumable in zip(sources, work):
                statistics = _write_source(data, source, language, resumable, directory, dtype, made_with["vocabulary"])
                lines.append(statistics.line(language if len(sources) == 1 else f"{source.language}→{language}", tokenizer))
            sha256 = {
                f"{side}/{source.subset}": data.meta["subsets"][source.subset]["sha256"][side]
                for source in sources
                for side in data.sides
            }
            sizes = one_or_each({source.language: len(source.vocabularies[language]) for source in sources})
            meta = {"language": language, "sentences_sha256": sha256, **made_with, **counts, "target_vocabulary": sizes}
            write_manifest(directory, meta)
        for line in lines:
            print_line(line)


def _write_tokens(sentences, path, dtype):
    """The tokens of all distinct sentences, one after another."""
    with open(path, "wb") as file:
        for start in range(0, len(sentences), SENTENCES):
            which = np.arange(start, min(start + SENTENCES, len(sentences)))
            file.write(sentences.tokens(which).astype(dtype).tobytes())


def _write_source(data, source, language, resumable, directory, dtype, vocabulary):
    """Write the candidates of one source in a target language; returns their :class:`Statistics`."""
    sentences, tokens = source.sentences, np.memmap(resumable.path / "own", dtype, "r")
    threshold = thresholds_of([language], DEFAULT_THRESHOLDS, source.language)[language][1]
    statistics = Statistics(threshold, vocabulary)
    candidates = candidates_of(language, tokens, resumable, BLOCK)
    for side, numbers in zip(data.sides, sentences.numbers):
        times = np.bincount(numbers, minlength=len(sentences))
        count = int(sentences.lengths[times > 0].sum())
        chunks = _chunks(sentences, times, tokens, *candidates, statistics)
        places = np.cumsum(times > 0)[numbers] - 1  # among the distinct sentences of this side
        write_candidates(directory / side / source.subset, places, count, chunks, dtype)
    return statistics


def _chunks(sentences, times, tokens, ids, log_probs, statistics) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """``(lengths, ids, log_probs)`` of the distinct sentences that occur, which ``statistics`` counts so many ``times``."""
    distinct = np.flatnonzero(times)
    for start in range(0, len(distinct), SENTENCES):
        which = distinct[start : start + SENTENCES]
        lengths = sentences.lengths[which]
        places = ranges(sentences.starts[which], lengths)
        statistics.add(tokens[places], ids[places], log_probs[places], np.repeat(times[which], lengths))
        yield lengths, ids[places], log_probs[places]
