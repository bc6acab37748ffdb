"""The distinct examples among those of many subsets, and batches of them that are made where the model computes.

Evaluation sets repeat themselves: the diagonal of the generalized setting is the plain setting, and short sentences are
equal in several languages. Nothing here is stored per example but a few integers: 15 x 15 languages have 1.1 million.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from salt_fairseq.data.directory import Examples
from salt_fairseq.data.joining import Joiner, truncated_lengths
from salt_fairseq.data.token_batches import token_batches
from salt_fairseq.modules.encoder import EOS, PAD


class DistinctPairs:
    """``subsets``: name to what :meth:`DataDirectory.load` returns.

    ``number[name]`` int64 (N,): which distinct pair each example of a subset is; ``len()`` of them. ``sentences`` int64
    (sides, len): which distinct sentence stands on each side of each pair. ``tokens`` int32: the distinct sentences one
    after another, ``lengths[i]`` tokens from ``starts[i]`` on.
    """

    def __init__(self, subsets: dict[str, Examples]):
        number_of: dict[bytes, int] = {}  # sentence to its number
        numbers = {}  # indexed input to the numbers of its sentences
        for stored in dict.fromkeys(stored for examples in subsets.values() for stored in examples.inputs):
            sentences = (stored[i].numpy().tobytes() for i in range(len(stored)))
            numbers[stored] = np.array([number_of.setdefault(sentence, len(number_of)) for sentence in sentences], np.int64)
        shape = [len(number_of)] * len(next(iter(subsets.values())).inputs)
        keys = [
            np.ravel_multi_index([numbers[stored][places] for stored, places in zip(inputs, rows)], shape)
            for inputs, rows, _ in subsets.values()
        ]
        distinct, inverse = np.unique(np.concatenate(keys), return_inverse=True)
        self.number = dict(zip(subsets, np.split(inverse, np.cumsum([len(k) for k in keys])[:-1])))
        self.sentences = np.stack(np.unravel_index(distinct, shape))
        self.lengths = np.array([len(sentence) // 8 for sentence in number_of], dtype=np.int64)
        self.starts = np.cumsum(self.lengths) - self.lengths
        self.tokens = np.frombuffer(b"".join(number_of), dtype=np.int64).astype(np.int32)

    def __len__(self) -> int:
        return self.sentences.shape[1]


class Batches:
    """All distinct pairs, longest first: ``(start, stop, LongTensor (stop - start, T) on device)`` for those numbered
    ``order[start:stop]``, of at most ``max_tokens`` with padding; ``sizes`` int64 (pairs,) are in that order.

    Sentences are joined by ``join`` and truncated to ``max_length`` as :class:`Joiner` does, but all of a batch
    at once and from tokens that lie on the device, so that a loop over batches never waits for the host.
    """

    def __init__(self, pairs: DistinctPairs, join: Callable[..., torch.Tensor], max_length: int, max_tokens: int, device: str):
        marks = range(-1, -1 - len(pairs.sentences), -1)
        self._template = join(*[torch.tensor([mark]) for mark in marks]).tolist()
        joiner = Joiner(join, len(marks), max_length)
        kept = pairs.lengths[pairs.sentences]
        for i in np.flatnonzero(kept.sum(0) > joiner.budget):
            kept[:, i] = truncated_lengths(kept[:, i].tolist(), joiner.budget)
        sizes = kept.sum(0) + joiner.specials
        self.order = np.argsort(-sizes, kind="stable")
        self.sizes = sizes[self.order]
        self._bounds = [(start, stop, int(self.sizes[start])) for start, stop in token_batches(self.sizes, max_tokens)]
        self.padded_tokens = sum((stop - start) * longest for start, stop, longest in self._bounds)
        self._tokens = torch.from_numpy(pairs.tokens).to(device)
        self._kept = torch.from_numpy(kept[:, self.order]).to(device)
        self._starts = torch.from_numpy(pairs.starts[pairs.sentences[:, self.order]]).to(device)

    def __iter__(self) -> Iterator[tuple[int, int, torch.Tensor]]:
        for start, stop, longest in self._bounds:
            yield start, stop, self._joined(slice(start, stop), longest)

    def _joined(self, pairs: slice, longest: int) -> torch.Tensor:
        column = torch.arange(longest, device=self._tokens.device)[None]
        joined = torch.full((pairs.stop - pairs.start, longest), PAD, device=column.device)
        place = torch.zeros(len(joined), 1, dtype=torch.int64, device=column.device)  # where the next part begins
        for item in self._template:
            if item >= 0:
                joined.scatter_(1, place, item)
                place = place + 1
            else:
                start, length = self._starts[-1 - item, pairs, None], self._kept[-1 - item, pairs, None]
                inside = (column >= place) & (column < place + length)
                source = (start + column - place).clamp_(0, len(self._tokens) - 1)
                joined = torch.where(inside, self._tokens[source].long(), joined)
                place = place + length
                joined.scatter_(1, place - 1, EOS)  # a truncated sentence still ends with eos
        return joined
