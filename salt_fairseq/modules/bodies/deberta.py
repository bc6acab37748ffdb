"""The body of DeBERTa-v3 (He et al., 2021, arXiv:2006.03654 and arXiv:2111.09543): BERT's layers with disentangled attention.

Scores add content to content, content to position and position to content; positions are relative, the far ones in buckets
of logarithmic width, and have one table of embeddings for all layers, projected by each layer's own keys and queries.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from salt_fairseq.modules.attention import attention, by_head
from salt_fairseq.modules.bodies.bert import BertLayer
from salt_fairseq.modules.encoder import Architecture, Encoder, attention_mask, check_size
from salt_fairseq.modules.pooling import normalized_mean


@dataclass(frozen=True)
class DebertaArchitecture(Architecture):
    # Dataclasses want defaults after the inherited one; 0 is refused.
    position_buckets: int = 0  # on each side; the nearer half of them holds one relative position each
    max_relative_positions: int = 0  # distance at which the buckets end

    def __post_init__(self):
        super().__post_init__()
        for name in ("position_buckets", "max_relative_positions"):
            check_size(name, getattr(self, name), 1 << 20)
        if not 2 <= self.position_buckets < 2 * (self.max_relative_positions - 1):
            raise ValueError(f"{self.position_buckets} buckets for {self.max_relative_positions} positions")


def buckets(length: int, count: int, largest: int) -> torch.Tensor:
    """Buckets LongTensor (2 * length - 1,) of the relative positions 1 - length … length - 1, with ``count`` buckets on each
    side up to the distance ``largest``: positions up to count / 2 are their own, others log-spaced (DeBERTa's code)."""
    distance = torch.arange(length).float()
    half = count // 2
    far = (
        torch.ceil(torch.log(distance.clamp(min=1) / half) / torch.log(torch.tensor((largest - 1) / half)) * (half - 1)) + half
    )
    side = torch.where(distance <= half, distance, far).long()
    return torch.cat([-side[1:].flip(0), side])


class RelativePositions(NamedTuple):
    """What layers know of a batch's tokens (B, T)."""

    mask: torch.Tensor  # FloatTensor (B, 1, 1, T): 0, or -inf at padding
    embeddings: torch.Tensor  # (1, R, d): of those buckets that the batch needs
    row: torch.Tensor  # LongTensor (T, T): which of them is the bucket of i - j


class DebertaLayer(BertLayer):
    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, context: RelativePositions) -> torch.Tensor:
        dim = self.out_proj.in_features
        positions = F.linear(self.dropout(context.embeddings), self.qkv.weight[: 2 * dim], self.qkv.bias[: 2 * dim])
        position_q, position_k = by_head(positions, self.heads, 2)  # (1, H, R, d / H)
        row = context.row[: q.shape[2]].expand(*q.shape[:3], -1)
        content_to_position = (q @ position_k.transpose(-1, -2)).gather(-1, row)
        position_to_content = (position_q @ k.transpose(-1, -2)).gather(-2, row)
        scores = (content_to_position + position_to_content) / math.sqrt(3 * q.shape[-1])
        mask = scores + context.mask.to(scores.dtype)
        return attention(q / math.sqrt(3), k, v, mask, self.attention_dropout if self.training else 0.0)


class DebertaPooler(nn.Linear):
    """Dense layer and GELU, for the first token (``ContextPooler``)."""

    def __init__(self, arch: Architecture):
        super().__init__(arch.dim, arch.dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.gelu(super().forward(x))


class DebertaEncoder(Encoder):
    architecture_class, layer_class, pooler_class = DebertaArchitecture, DebertaLayer, DebertaPooler
    mean = staticmethod(normalized_mean)
    fp16_overflow = "attention scores of DeBERTa exceed the largest number of fp16, and its features become nan"
    arch: DebertaArchitecture

    def __init__(self, arch: DebertaArchitecture, dropout: float = 0.0, attention_dropout: float = 0.0):
        super().__init__(arch, dropout, attention_dropout)
        self.layernorm_embedding = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)
        self.embed_buckets = nn.Embedding(2 * arch.position_buckets, arch.dim)
        self.layernorm_buckets = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)
        self.layers = self.make_layers()

    def embed(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.layernorm_embedding(x))

    def context(self, tokens: torch.Tensor) -> RelativePositions:
        length, count = tokens.shape[1], self.arch.position_buckets
        table = buckets(length, count, self.arch.max_relative_positions).add_(count).clamp_(0, 2 * count - 1)
        first, last = int(table[0]), int(table[-1])
        embeddings = self.layernorm_buckets(self.embed_buckets.weight[first : last + 1])[None]
        position = torch.arange(length)
        row = (table - first)[position[:, None] - position + length - 1].to(tokens.device)
        mask = attention_mask(tokens)
        return RelativePositions(torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, -math.inf), embeddings, row)
