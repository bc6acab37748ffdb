"""The body that BERT and XLM-R share: a post-norm Transformer encoder with absolute positions and segments."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from salt_fairseq.modules.attention import attention, project
from salt_fairseq.modules.dropout import Dropout
from salt_fairseq.modules.encoder import EOS, Architecture, Encoder, attention_mask
from salt_fairseq.modules.pooling import normalized_mean


class BertLayer(nn.Module):
    """Self-attention and feed-forward, each followed by dropout, residual and LayerNorm (Vaswani et al., 2017)."""

    def __init__(self, arch: Architecture, index: int, dropout: float, attention_dropout: float):
        super().__init__()
        self.heads, self.attention_dropout = arch.heads, attention_dropout
        self.qkv = nn.Linear(arch.dim, 3 * arch.dim)
        self.out_proj = nn.Linear(arch.dim, arch.dim)
        self.self_attn_layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)
        self.fc1 = nn.Linear(arch.dim, arch.ffn_dim)
        self.fc2 = nn.Linear(arch.ffn_dim, arch.dim)
        self.final_layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor, context: Any, first_tokens: int | None = None) -> torch.Tensor:
        """``x`` (B, T, d), ``context`` of the body; ``first_tokens``: compute the features of only so many (all)."""
        x = self.self_attn_layer_norm(x[:, :first_tokens] + self.self_attention(x, context, first_tokens))
        return self.final_layer_norm(x + self.feed_forward(x))

    def self_attention(self, x: torch.Tensor, context: Any, first_tokens: int | None) -> torch.Tensor:
        """What attention to ``x`` (B, T, d) adds to the features of its first tokens."""
        q, k, v = project(self.qkv, x, self.heads, first_tokens)
        return self.dropout(self.out_proj(self.attend(q, k, v, context).transpose(1, 2).flatten(2)))

    def feed_forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.fc2(F.gelu(self.fc1(x))))

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, context: Any) -> torch.Tensor:
        """Attention of queries (B, H, Q, d / H) to keys and values (B, H, T, d / H), as (B, H, Q, d / H)."""
        return attention(q, k, v, context, self.attention_dropout if self.training else 0.0)


class BertPooler(nn.Linear):
    """Dense layer and tanh (Devlin et al., 2019)."""

    def __init__(self, arch: Architecture):
        super().__init__(arch.dim, arch.dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(super().forward(x))


class BertEncoder(Encoder):
    """A segment ends with its first ``EOS``, as BERT's ``[CLS] a [SEP] b [SEP]`` has it."""

    layer_class, pooler_class = BertLayer, BertPooler
    mean = staticmethod(normalized_mean)
    layernorm_embedding: nn.Module

    def __init__(self, arch: Architecture, dropout: float = 0.0, attention_dropout: float = 0.0):
        super().__init__(arch, dropout, attention_dropout)
        self.embed_positions = nn.Embedding(arch.positions, arch.dim)
        self.embed_segments = nn.Embedding(arch.segments, arch.dim)
        self.layernorm_embedding = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)
        self.layers = self.make_layers()

    def embed(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        x = x + self.embed_positions.weight[: tokens.shape[1]]
        if self.arch.segments == 1:
            x = x + self.embed_segments.weight
        else:
            ended = tokens.eq(EOS).cumsum(1) - tokens.eq(EOS).long()
            x = x + self.embed_segments(ended.clamp_(max=1))
        return self.dropout(self.layernorm_embedding(x))

    def context(self, tokens: torch.Tensor) -> torch.Tensor:
        return attention_mask(tokens)
