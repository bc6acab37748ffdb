"""A checkpoint in use, and its forward passes over sequences of any lengths, alike ones together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from salt_fairseq.checkpoints import Checkpoint
from salt_fairseq.data.token_batches import token_batches
from salt_fairseq.models.salt_encoder import SaltEncoder
from salt_fairseq.plm import pad
from salt_fairseq.tokenizer import Tokenizer


class InUse:
    """What is needed to read text with a checkpoint: its model on a device, its tokenizer, and how many tokens, padding
    included, are read at once. ``dtype`` "fp32" or "bf16": of matrix products (None: as the checkpoint was trained)."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        device: str = "cpu",
        dtype: str | None = None,
        max_tokens: int = 8192,
    ):
        self.model, self.tokenizer, self.max_tokens = checkpoint.model.to(device), tokenizer, max_tokens
        if dtype is not None:
            self.model.cfg.autocast_bf16 = dtype == "bf16"
        self.max_length, self.join = checkpoint.cfg.task.max_length, checkpoint.model.description.join


def batched_logits(
    model: SaltEncoder, tokens: Sequence[torch.Tensor], max_tokens: int
) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
    """``(indices int64 (B,), logits of those sequences in fp32)`` of LongTensors (T_i,), batch by batch, longest first; at most
    ``max_tokens`` with padding are read at once. Logits are (B, classes), or of a tagger (B, T, classes)."""
    sizes = np.array([len(ids) for ids in tokens])
    order = np.argsort(-sizes, kind="stable")
    device = next(model.parameters()).device
    for start, stop in token_batches(sizes[order], max_tokens):
        batch = order[start:stop]
        logits, _ = model(pad([tokens[i] for i in batch]).to(device))
        yield batch, logits.float()
