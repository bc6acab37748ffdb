"""Scaled dot-product attention (Vaswani et al., 2017), computed the fastest way for each device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from salt_fairseq.modules.dropout import dropout


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, p: float = 0.0) -> torch.Tensor:
    """Attention of queries (B, H, Q, d) to keys and values (B, H, T, d), returned as (B, H, Q, d).

    ``mask``, which broadcasts to (B, H, Q, T), is bool and says which keys may be attended to, at least one in each row, or
    FloatTensor and added to the scores; ``p`` is the dropout of the attention weights.

    torch's own kernels never hold the weights (B, H, Q, T). On a CPU, however, they have no dropout, without which they fall
    back to fp32, and their backward pass in bf16 is slow: at 40 tokens, seven times the time of the code below.
    """
    if q.device.type != "cpu" or not q.requires_grad:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, -math.inf)
    weights = torch.softmax(scores + mask, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype)
    return dropout(weights, p) @ v


def project(linear: nn.Linear, x: torch.Tensor, heads: int, first_tokens: int | None) -> tuple[torch.Tensor, ...]:
    """Queries (B, H, Q, d / H), keys and values (B, H, T, d / H) of ``x`` (B, T, d), by a layer of 3 d features that holds all
    three; Q is ``first_tokens``, or T."""
    if first_tokens is None:
        q, k, v = by_head(linear(x), heads)
        return q, k, v
    dim = x.shape[-1]
    weights = linear.weight.split([dim, 2 * dim])
    biases = (None, None) if linear.bias is None else linear.bias.split([dim, 2 * dim])
    k, v = by_head(F.linear(x, weights[1], biases[1]), heads, 2)
    (q,) = by_head(F.linear(x[:, :first_tokens], weights[0], biases[0]), heads, 1)
    return q, k, v


def by_head(projected: torch.Tensor, heads: int, parts: int = 3) -> torch.Tensor:
    """(B, T, parts * d) to (parts, B, H, T, d / H)."""
    batch, length, _ = projected.shape
    return projected.view(batch, length, parts, heads, -1).permute(2, 0, 3, 1, 4)
