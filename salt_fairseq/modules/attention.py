"""Scaled dot-product attention (Vaswani et al., 2017), computed the fastest way for each device."""

import math

import torch
import torch.nn.functional as F

from salt_fairseq.modules.dropout import dropout


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, p: float = 0.0) -> torch.Tensor:
    """Attention of queries (B, H, Q, d) to keys and values (B, H, T, d), returned as (B, H, Q, d).

    ``mask`` bool (B, 1, 1, T) says which keys may be attended to, at least one in each row; ``p`` is the dropout of the
    attention weights.

    torch's own kernels never hold the weights (B, H, Q, T). On a CPU, however, they have no dropout, without which they fall
    back to fp32, and their backward pass in bf16 is slow: at 40 tokens, seven times the time of the code below.
    """
    if q.device.type != "cpu" or not q.requires_grad:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    scores = scores + torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, -math.inf)
    weights = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype)
    return dropout(weights, p) @ v
