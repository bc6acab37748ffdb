"""The distinct sentences of a subset: premises repeat themselves, and the PLM reads each sentence once."""

import hashlib

import numpy as np
import torch

from salt_fairseq.modules.encoder import BOS, EOS
from salt_fairseq.storage.indexed_data import ranges

BLOCK = 1 << 18  # sentences that are sorted by length together, so that results are written close to one another
SHORTEST = 0.8  # of the longest sentence of a batch: the rest is padding


class DistinctSentences:
    """``len()`` distinct sentences of several indexed inputs, numbered by where they come first.

    ``numbers``: for each input int64 (N_i,), the number of each of its sentences; ``lengths``, ``starts`` int64 (len,):
    tokens of each and before it, eos included. About 80 bytes for each sentence of the inputs are held in
    memory, and no tokens.
    """

    def __init__(self, inputs):
        self._inputs = inputs
        self._first_of = np.cumsum([0] + [len(sentences) for sentences in inputs])
        hashes = (
            np.fromiter(
                (hashlib.blake2b(raw, digest_size=16).digest() for stored in inputs for raw in _all_raw(stored)),
                dtype="V16",
                count=self._first_of[-1],
            )
            .view(np.uint64)
            .reshape(-1, 2)
        )
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

    def __len__(self):
        return len(self._first)

    def tokens(self, which):
        """int64: the tokens of sentences int64 (n,), one after another."""
        first = self._first[which]
        side = np.searchsorted(self._first_of, first, side="right") - 1
        raw = np.empty(len(first), dtype=object)
        for k, stored in enumerate(self._inputs):
            mine = side == k
            raw[mine] = list(_raw(stored, first[mine] - self._first_of[k]))
        return np.frombuffer(b"".join(raw), dtype=self._inputs[0].dtype).astype(np.int64)

    def batches(self, longest, max_tokens):
        """Arrays of sentence numbers: those of a block, longest first, of at most ``max_tokens`` with padding and bos,
        where the PLM reads at most ``longest`` tokens of a sentence."""
        lengths = np.minimum(self.lengths, longest)
        for block in range(0, len(self), BLOCK):
            order = block + np.argsort(-lengths[block : block + BLOCK], kind="stable")
            sizes, start = lengths[order] + 1, 0
            while start < len(order):
                stop = start + max(1, max_tokens // int(sizes[start]))
                stop = min(stop, int(np.searchsorted(-sizes, -SHORTEST * sizes[start], side="right")))
                yield order[start:stop]
                start = stop

    def read(self, batch, longest, is_candidate):
        """A batch as ``counterparts.CounterpartSearch`` takes it: sentences that begin with bos, cut to ``longest`` tokens with
        eos last, and masks of their candidate positions; and int64 (n,), the place of each of these in a flat array of all
        sentences' tokens. ``is_candidate`` maps tokens (T,) to bool (T,)."""
        ids, lengths = self.tokens(batch), self.lengths[batch]
        marked, kept = is_candidate(ids), np.minimum(lengths, longest)
        first = np.cumsum(lengths) - lengths
        which = ranges(first, kept)
        ids, marked, places = ids[which], marked[which], ranges(self.starts[batch], kept)
        last = np.cumsum(kept) - 1
        ids[last], marked[last] = EOS, False
        begins = last + 1 - kept
        sizes = (kept + 1).tolist()
        sentences = torch.from_numpy(np.insert(ids, begins, BOS)).split(sizes)
        masks = torch.from_numpy(np.insert(marked, begins, False)).split(sizes)
        return sentences, masks, places[marked]


def _raw(stored, which):
    """The bytes of sentences int64 (n,) of an indexed input, one by one."""
    begins, elements = stored.starts[which], stored.elements
    for begin, end in zip(begins.tolist(), (begins + stored.sizes[which]).tolist()):
        yield elements[begin:end].tobytes()


def _all_raw(stored):
    for start in range(0, len(stored), BLOCK):
        yield from _raw(stored, np.arange(start, min(start + BLOCK, len(stored))))
