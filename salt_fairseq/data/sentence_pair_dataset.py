"""Sentence pairs in streams (paper §2.3): each instance unchanged, and once per target language with its substitutes.

A stream is a source of substitutes, :class:`salt_fairseq.data.code_switching.CodeSwitching` or
:class:`salt_fairseq.data.lexicon.LexicalSubstitution`. To be mixed, substitutes are aligned with the tokens; otherwise the text
itself is substituted, and may become longer.
"""

import numpy as np
import torch
from fairseq.data import FairseqDataset

from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import EOS, PAD
from salt_fairseq.plm import pad

WINDOW = 1024  # instances sorted by length together: batches need little padding, yet differ in every epoch


def truncated_lengths(lengths, budget):
    """Cut the longest sentence first until ``sum(lengths) <= budget``, as ``tokenizers`` does it: where both are cut to half
    an odd budget, the one that was longer keeps the odd token (of two equally long ones, the second)."""
    lengths = list(lengths)
    if len(lengths) == 1:
        return [min(lengths[0], budget)]
    excess = sum(lengths) - budget
    if excess > 0:
        longer = 0 if lengths[0] > lengths[1] else 1
        cut = min(excess, lengths[longer] - lengths[1 - longer])
        lengths[longer] -= cut
        if excess > cut:
            kept, odd = divmod(budget, 2)
            lengths = [kept, kept]
            lengths[longer] += odd
    return lengths


def truncate(sentence, length):
    """The first ``length`` tokens of a sentence that ends with eos, eos last; (T,) or aligned (T, M)."""
    if len(sentence) <= length:
        return sentence
    return torch.cat([sentence[: length - 1], sentence[-1:]])


def _widened(aligned):
    """LongTensors (T_i, M_i), all padded to the largest M."""
    width = max(a.shape[1] for a in aligned)
    return [torch.nn.functional.pad(a, (0, width - a.shape[1]), value=PAD) for a in aligned]


class SentencePairDataset(FairseqDataset):
    """Item ``i`` is instance ``i % N`` in stream ``i // N``; with ``one_stream``, item ``i`` is instance ``i`` in a
    stream drawn anew for each epoch from (seed, epoch, i).

    ``inputs``, ``rows``, ``targets`` are what :meth:`DataDirectory.load` returns; ``streams`` are ``None`` (the
    instance unchanged) or a source; with ``mixed``, their substitutes come aligned. With ``shuffle``, every epoch has
    other batches. ``sizes``, by which batches are made, are those of the unchanged instances.
    """

    def __init__(
        self, inputs, rows, targets, join, max_length, streams=(None,), mixed=True, one_stream=False, shuffle=False, seed=1
    ):
        self.inputs, self.rows, self.targets, self.join = inputs, rows, targets, join
        self.streams, self.one_stream = list(streams), one_stream
        self.mixed = mixed and any(stream is not None for stream in streams)
        self.shuffle, self.seed = shuffle, seed
        specials = len(join(*[torch.tensor([EOS])] * len(inputs))) - len(inputs)
        self.budget = max_length - specials
        if self.budget < 2 * len(inputs):  # a token and eos
            raise InputError(
                f"--max-length {max_length} is less than the {specials + 2 * len(inputs)} tokens of the shortest "
                "examples: give more"
            )
        sentence_sizes = [np.minimum(i.sizes[r], self.budget) for i, r in zip(inputs, rows)]
        self.instance_sizes = np.minimum(sum(sentence_sizes), self.budget) + specials
        self.sizes = self.instance_sizes if one_stream else np.tile(self.instance_sizes, len(self.streams))
        self.set_epoch(1)

    def set_epoch(self, epoch):
        self.epoch = epoch
        for stream in self.streams:
            if stream is not None:
                stream.epoch = epoch
        if self.one_stream:
            rng = np.random.default_rng([self.seed, epoch])
            self._drawn = rng.integers(len(self.streams), size=len(self.targets))

    def __len__(self):
        return len(self.sizes)

    def __getitem__(self, i):
        instance = i % len(self.targets)
        stream = self.streams[self._drawn[instance] if self.one_stream else i // len(self.targets)]
        places = [int(r[instance]) for r in self.rows]
        sentences = [source[place] for source, place in zip(self.inputs, places)]
        if stream is not None and not self.mixed:
            sentences = [stream.text(side, place, s) for side, (place, s) in enumerate(zip(places, sentences))]
        lengths = truncated_lengths([len(s) for s in sentences], self.budget)
        item = {"id": i, "target": int(self.targets[instance]), "tokens": self._joined(sentences, lengths)}
        if self.mixed:
            aligned = [s[:, None] for s in sentences]
            if stream is not None:
                aligned = [stream.aligned(side, place, s) for side, (place, s) in enumerate(zip(places, sentences))]
            columns = [self._joined(column, lengths) for column in zip(*(a.unbind(1) for a in _widened(aligned)))]
            item["substitutes"] = torch.stack(columns, 1)
            item["substitutes"][:, 1:][item["tokens"] <= EOS] = PAD  # joining put them into every column
        return item

    def _joined(self, sentences, lengths):
        return self.join(*[truncate(s, n) for s, n in zip(sentences, lengths)])

    def collater(self, items):
        """``net_input.src_tokens`` LongTensor (B, T); if any stream has substitutes to mix, ``net_input.substitutes``,
        LongTensor (B, T), or (B, T, M) where one has up to M tokens."""
        if not items:
            return {}
        net_input = {"src_tokens": pad([item["tokens"] for item in items])}
        if self.mixed:
            widened = _widened([item["substitutes"] for item in items])
            net_input["substitutes"] = pad(widened) if widened[0].shape[1] > 1 else pad(widened)[:, :, 0]
        return {
            "id": torch.tensor([item["id"] for item in items]),
            "net_input": net_input,
            "target": torch.tensor([item["target"] for item in items]),
            "nsentences": len(items),
            "ntokens": sum(len(item["tokens"]) for item in items),
        }

    def num_tokens(self, i):
        return self.sizes[i]

    def num_tokens_vec(self, indices):
        return self.sizes[indices]

    def size(self, i):
        return self.sizes[i]

    def ordered_indices(self):
        """Sorted by length; with ``shuffle``, sorted within random windows (numpy's global state, seeded by fairseq)."""
        if not self.shuffle:
            return np.argsort(self.sizes, kind="stable")
        order = np.random.permutation(len(self))
        windows = np.split(order, range(WINDOW, len(order), WINDOW))
        return np.concatenate([window[np.argsort(self.sizes[window], kind="stable")] for window in windows])
