"""The body of XLM-R XL and XXL (Goyal et al., 2021, arXiv:2105.00572): BERT's, but each part of a layer normalizes its input.

What layers pass on is not normalized, so that a LayerNorm follows the last one; embeddings have none. Dropout is where fairseq,
which trained these models, has it: transformers has none after the feed-forward network.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from salt_fairseq.modules.bodies.bert import BertEncoder, BertLayer
from salt_fairseq.modules.encoder import Architecture


class PreNormLayer(BertLayer):
    def forward(self, x: torch.Tensor, context: Any, first_tokens: int | None = None) -> torch.Tensor:
        x = x[:, :first_tokens] + self.self_attention(self.self_attn_layer_norm(x), context, first_tokens)
        return x + self.feed_forward(self.final_layer_norm(x))


class XlmrXlEncoder(BertEncoder):
    layer_class = PreNormLayer

    def __init__(self, arch: Architecture, dropout: float = 0.0, attention_dropout: float = 0.0):
        super().__init__(arch, dropout, attention_dropout)
        self.layernorm_embedding = nn.Identity()
        self.layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer_norm(x)
