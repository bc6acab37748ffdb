"""Forward passes over sequences of any lengths, alike ones together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from salt_fairseq.data.token_batches import token_batches
from salt_fairseq.models.salt_encoder import SaltEncoder
from salt_fairseq.plm import pad


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
