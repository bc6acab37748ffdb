"""Sentences with a label for each word, in their streams: what the task ``salt_token_labelling`` trains and validates on."""

from __future__ import annotations

from typing import Any

import torch

from salt_fairseq.data.directory import IGNORED
from salt_fairseq.data.sentence_pair_dataset import SentencePairDataset
from salt_fairseq.data.streams import Source


class TokenLabellingDataset(SentencePairDataset):
    """A target is a LongTensor (T,), as long as the item's tokens: the label of each word at its first piece, and everywhere
    else ``IGNORED``. What is cut off a sentence's end loses its labels with its tokens."""

    def target(self, instance: int, source: Source | None) -> torch.Tensor:
        labels = self.targets[instance]
        if source is not None:
            labels = source.labels(0, int(self.rows[0][instance]), labels)
        joined = self._joiner([labels])
        joined[0] = IGNORED  # bos
        return joined

    def collate_targets(self, targets: list[Any]) -> tuple[torch.Tensor, int]:
        """LongTensor (B, T), padded with ``IGNORED``, and the number of words that it labels."""
        padded = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=IGNORED)
        return padded, int(padded.ne(IGNORED).sum())
