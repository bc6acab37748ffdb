"""Scaled dot-product attention (Vaswani et al., 2017), in the way that is fastest where it runs."""

import math

import torch
import torch.nn.functional as F

from salt_fairseq.modules.dropout import dropout


def attention(q, k, v, mask, p=0.0):
    """Queries (B, H, Q, d), keys and values (B, H, T, d), ``mask`` bool (B, 1, 1, T): which keys may be attended to, at least
    one in each row; ``p``: dropout of the attention weights. Returns (B, H, Q, d).

    torch's own kernels never hold the weights (B, H, Q, T), but on a CPU they have no dropout, without which they fall back to
    fp32, and a slow backward pass in bf16: seven times the time of what is written out here, at 40 tokens.
    """
    if q.device.type != "cpu" or not q.requires_grad:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=p)
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    scores = scores + torch.zeros(mask.shape, dtype=scores.dtype).masked_fill_(~mask, -math.inf)
    weights = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(v.dtype)
    return dropout(weights, p) @ v
