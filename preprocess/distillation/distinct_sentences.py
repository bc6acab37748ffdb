"""The distinct sentences of a subset: premises are repeated, and the PLM reads each sentence once."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch

from salt_fairseq.data.token_batches import token_batches
from salt_fairseq.modules.encoder import BOS, EOS
from salt_fairseq.storage.indexed_data import IndexedSequences, ranges

BLOCK = 1 << 18  # sentences that are sorted by length together, so that results are written close to one another
AT_ONCE = 1 << 14  # sentences that are counted at once
SHORTEST = 0.8  # length of the shortest sentence of a batch, as a fraction of the longest: the rest would be padding


class DistinctSentences:
    """``len()`` distinct sentences of several indexed inputs, numbered in the order in which they first occur.

    ``numbers``: for each input int64 (N_i,), the number of each of its sentences; ``lengths`` and ``starts`` int64 (len,): the
    tokens of each distinct sentence, eos included, and the tokens before it. Memory holds about 80 bytes per sentence of the
    inputs, and no tokens.
    """

    def __init__(self, inputs: Sequence[IndexedSequences]):
        self._inputs = inputs
        self._first_of = np.cumsum([0] + [len(sentences) for sentences in inputs])
        digests = (hashlib.blake2b(raw, digest_size=16).digest() for stored in inputs for raw in _all_raw(stored))
        hashes = np.fromiter(digests, "V16", self._first_of[-1]).view(np.uint64).reshape(-1, 2)
        order = np.lexsort((hashes[:, 1], hashes[:, 0]))  # stable: equal sentences stay in their order
        new = np.ones(len(order), dtype=bool)
        new[1:] = (hashes[order[1:]] != hashes[order[:-1]]).any(1)
        firsts = order[new]
        numbers = np.empty(len(order), dtype=np.int64)
        numbers[order] = firsts.argsort().argsort()[np.cumsum(new) - 1]
        self._first = np.sort(firsts)
        self.numbers = np.split(numbers, self._first_of[1:-1])
        self.lengths = np.concatenate([stored.sizes for stored in inputs])[self._first].astype(np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths

    def __len__(self) -> int:
        return len(self._first)

    def tokens(self, which: np.ndarray) -> np.ndarray:
        """The tokens of the sentences ``which`` int64 (n,), one after another, int64."""
        first = self._first[which]
        side = np.searchsorted(self._first_of, first, side="right") - 1
        raw = np.empty(len(first), dtype=object)
        for k, stored in enumerate(self._inputs):
            here = side == k
            raw[here] = list(_raw(stored, first[here] - self._first_of[k]))
        return np.frombuffer(b"".join(raw), dtype=self._inputs[0].dtype).astype(np.int64)

    def batches(self, longest: int, max_tokens: int) -> Iterator[np.ndarray]:
        """Yield arrays of sentence numbers: block by block, longest first, at most ``max_tokens`` with padding and bos. The PLM
        reads at most ``longest`` tokens of a sentence."""
        lengths = np.minimum(self.lengths, longest)
        for block in range(0, len(self), BLOCK):
            order = block + np.argsort(-lengths[block : block + BLOCK], kind="stable")
            for start, stop in token_batches(lengths[order] + 1, max_tokens, SHORTEST):
                yield order[start:stop]

    def read(self, batch: np.ndarray, longest: int, is_candidate: Callable[[np.ndarray], np.ndarray]) -> tuple:
        """``(sentences, masks, places)``: what :class:`~preprocess.distillation.candidate_search.CandidateSearch` takes, and
        the places, int64 (n,), of the candidate positions among the tokens of all distinct sentences.

        The sentences begin with bos and are cut to ``longest`` tokens, the last of which is eos. ``is_candidate`` maps tokens
        (T,) to bool (T,).
        """
        ids, marked, places, kept = self._read(batch, longest, is_candidate)
        last = np.cumsum(kept) - 1
        ids[last] = EOS
        begins = last + 1 - kept
        sizes = (kept + 1).tolist()
        sentences = torch.from_numpy(np.insert(ids, begins, BOS)).split(sizes)
        masks = torch.from_numpy(np.insert(marked, begins, False)).split(sizes)
        return list(sentences), list(masks), places[marked]

    def count(self, longest: int, is_candidate: Callable[[np.ndarray], np.ndarray]) -> int:
        """The number of candidate positions of all distinct sentences, as :meth:`read` marks them."""
        blocks = (np.arange(start, min(start + AT_ONCE, len(self))) for start in range(0, len(self), AT_ONCE))
        return sum(int(self._read(block, longest, is_candidate)[1].sum()) for block in blocks)

    def _read(self, which, longest, is_candidate):
        """``(ids, marked, places, kept)``: of the tokens of the sentences ``which`` that the PLM reads; how many, of each."""
        ids, lengths = self.tokens(which), self.lengths[which]
        marked, kept = is_candidate(ids), np.minimum(lengths, longest)
        read = ranges(np.cumsum(lengths) - lengths, kept)
        marked = marked[read]
        marked[np.cumsum(kept) - 1] = False  # eos
        return ids[read], marked, ranges(self.starts[which], kept), kept


def _raw(stored, which):
    """The bytes of the sentences ``which`` int64 (n,) of an indexed input, one by one."""
    begins, elements = stored.starts[which], stored.elements
    for begin, end in zip(begins.tolist(), (begins + stored.sizes[which]).tolist()):
        yield elements[begin:end].tobytes()


def _all_raw(stored):
    for start in range(0, len(stored), BLOCK):
        yield from _raw(stored, np.arange(start, min(start + BLOCK, len(stored))))
