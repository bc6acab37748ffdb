"""The data set that the task trains and validates on: sentences or pairs in their :class:`~salt_fairseq.data.streams.Streams`.

An item is an example of the data directory: its stored sentences, with the stream's substitutes, joined by
:class:`~salt_fairseq.data.joining.Joiner`. The collater pads items to the batch that the model reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from fairseq.data import FairseqDataset

from salt_fairseq.data.directory import Examples
from salt_fairseq.data.joining import Joiner
from salt_fairseq.data.streams import Source, Streams
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import EOS, PAD
from salt_fairseq.plm import pad

WINDOW = 1024  # instances sorted by length together: batches need little padding, yet differ in every epoch


def _widened(aligned: list[torch.Tensor]) -> list[torch.Tensor]:
    """LongTensors (T_i, M_i), all padded to the largest M."""
    width = max(a.shape[1] for a in aligned)
    return [torch.nn.functional.pad(a, (0, width - a.shape[1]), value=PAD) for a in aligned]


class SentencePairDataset(FairseqDataset):
    """Item ``i`` is instance ``i % N`` in stream ``i // N``, or, with one stream per instance, instance ``i``.

    ``join`` is that of the PLM's description. With ``shuffle``, every epoch has other batches. ``sizes`` int (len,), by which
    batches are made, are those of the unchanged instances.
    """

    def __init__(
        self,
        examples: Examples,
        join: Callable[..., torch.Tensor],
        max_length: int,
        streams: Streams | None = None,
        shuffle: bool = False,
    ):
        self.inputs, self.rows, self.targets = examples
        self.streams = streams or Streams()
        self.shuffle = shuffle
        self.join, self._joiner = join, Joiner(join, len(self.inputs), max_length)
        self.sizes = np.tile(self._instance_sizes(max_length), self.streams.per_instance())
        self.set_epoch(1)

    def _instance_sizes(self, max_length: int) -> np.ndarray:
        budget, specials = self._joiner.budget, self._joiner.specials
        shortest = 2 * len(self.inputs)  # a token and eos each
        if budget < shortest:
            raise InputError(
                f"--max-length {max_length} is less than the {specials + shortest} tokens of the shortest examples: give more"
            )
        sentence_sizes = [np.minimum(stored.sizes[rows], budget) for stored, rows in zip(self.inputs, self.rows)]
        return np.minimum(sum(sentence_sizes), budget) + specials

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.streams.set_epoch(epoch, len(self.targets))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, i: int) -> dict[str, Any]:
        """``tokens`` LongTensor (T,), the :meth:`target`, and to be mixed in, ``substitutes`` LongTensor (T, M)."""
        instance, source = i % len(self.targets), self.streams.source(i, len(self.targets))
        places = [int(rows[instance]) for rows in self.rows]
        sentences = [stored[place] for stored, place in zip(self.inputs, places)]
        numbered = [(side, place, sentence) for side, (place, sentence) in enumerate(zip(places, sentences))]
        if source is not None and not self.streams.mixed:
            sentences = [source.text(*one) for one in numbered]
        tokens = self._joiner(sentences)
        item = {"id": i, "target": self.target(instance, None if self.streams.mixed else source), "tokens": tokens}
        if self.streams.mixed:
            aligned = [source.aligned(*one) for one in numbered] if source is not None else [s[:, None] for s in sentences]
            columns = [self._joiner(column) for column in zip(*(a.unbind(1) for a in _widened(aligned)))]
            substitutes = torch.stack(columns, 1)
            substitutes[:, 1:][tokens <= EOS] = PAD  # joining put specials into every column
            item["substitutes"] = substitutes
        return item

    def target(self, instance: int, source: Source | None) -> Any:
        """The label of an instance, whose text is substituted from ``source`` unless that is None."""
        return int(self.targets[instance])

    def collate_targets(self, targets: list[Any]) -> tuple[torch.Tensor, int]:
        """What the criterion reads of a batch, LongTensor (B,), and the number of labels in it."""
        return torch.tensor(targets), len(targets)

    def collater(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """``net_input.src_tokens`` LongTensor (B, T); if any stream has substitutes to mix, ``net_input.substitutes``,
        LongTensor (B, T), or (B, T, M) where one has up to M tokens."""
        if not items:
            return {}
        net_input = {"src_tokens": pad([item["tokens"] for item in items])}
        if self.streams.mixed:
            widened = _widened([item["substitutes"] for item in items])
            net_input["substitutes"] = pad(widened) if widened[0].shape[1] > 1 else pad(widened)[:, :, 0]
        target, labels = self.collate_targets([item["target"] for item in items])
        return {
            "id": torch.tensor([item["id"] for item in items]),
            "net_input": net_input,
            "target": target,
            "nlabels": labels,
            "nsentences": len(items),
            "ntokens": sum(len(item["tokens"]) for item in items),
        }

    def size(self, i):
        return self.sizes[i]

    num_tokens = num_tokens_vec = size

    def ordered_indices(self):
        """Sorted by length; with ``shuffle``, sorted within random windows (numpy's global state, seeded by fairseq)."""
        if not self.shuffle:
            return np.argsort(self.sizes, kind="stable")
        order = np.random.permutation(len(self))
        windows = np.split(order, range(WINDOW, len(order), WINDOW))
        return np.concatenate([window[np.argsort(self.sizes[window], kind="stable")] for window in windows])
