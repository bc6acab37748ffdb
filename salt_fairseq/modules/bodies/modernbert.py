"""ModernBERT's body (Warner et al., 2024), which mmBERT has: pre-norm layers without biases, rotary positions, GeGLU, and
attention that is global in every n-th layer and local in the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from salt_fairseq.modules.attention import attention, project
from salt_fairseq.modules.dropout import Dropout
from salt_fairseq.modules.encoder import Architecture, Encoder, attention_mask, check_size
from salt_fairseq.modules.pooling import mean


@dataclass(frozen=True)
class ModernBertArchitecture(Architecture):
    # Dataclasses want defaults after the inherited one; 0 is refused.
    global_every: int = 0  # layers 0, n, 2 n, … attend to all tokens
    local_window: int = 0  # the other layers attend to tokens at most half as far away
    global_theta: float = 0.0  # base of the wavelengths of rotary positions in global layers
    local_theta: float = 0.0  # and in local ones

    def __post_init__(self):
        super().__post_init__()
        for name in ("global_every", "local_window"):
            check_size(name, getattr(self, name), 1 << 20)
        if self.dim // self.heads % 2 or not (self.global_theta > 0 and self.local_theta > 0):
            raise ValueError(f"heads of {self.dim // self.heads} dimensions, theta {self.global_theta}, {self.local_theta}")


class LayerContext(NamedTuple):
    """What layers of one kind know of a batch's tokens (B, T)."""

    mask: torch.Tensor  # bool, broadcasts to (B, 1, T, T)
    cos: torch.Tensor  # (T, d / H / 2)
    sin: torch.Tensor


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions (Su et al., 2021) for ``x`` (B, H, T, d), whose dimensions i and i + d / 2 form a pair."""
    a, b = x.float().chunk(2, -1)
    cos, sin = cos[: x.shape[2]], sin[: x.shape[2]]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class ModernBertLayer(nn.Module):
    """LayerNorm, attention, residual; LayerNorm, GeGLU (Shazeer, 2020), residual. The first layer's input is normalized."""

    def __init__(self, arch: ModernBertArchitecture, index: int, dropout: float, attention_dropout: float):
        super().__init__()
        self.heads, self.is_local = arch.heads, index % arch.global_every > 0
        self.self_attn_layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps, bias=False) if index else nn.Identity()
        self.qkv = nn.Linear(arch.dim, 3 * arch.dim, bias=False)
        self.out_proj = nn.Linear(arch.dim, arch.dim, bias=False)
        self.final_layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps, bias=False)
        self.fc1 = nn.Linear(arch.dim, 2 * arch.ffn_dim, bias=False)
        self.fc2 = nn.Linear(arch.ffn_dim, arch.dim, bias=False)
        # Dropout is where it is published: within GeGLU, and after the attention with the probability of its weights.
        self.dropout, self.attention_dropout = Dropout(dropout), Dropout(attention_dropout)

    def forward(
        self, x: torch.Tensor, context: tuple[LayerContext, LayerContext], first_tokens: int | None = None
    ) -> torch.Tensor:
        """``x`` (B, T, d), ``context`` of the body; ``first_tokens``: compute the features of only so many (all)."""
        mask, cos, sin = context[self.is_local]
        q, k, v = project(self.qkv, self.self_attn_layer_norm(x), self.heads, first_tokens)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        attended = attention(q, k, v, mask[:, :, :first_tokens], self.attention_dropout.p if self.training else 0.0)
        x = x[:, :first_tokens]
        x = x + self.attention_dropout(self.out_proj(attended.transpose(1, 2).reshape(x.shape)))
        hidden, gate = self.fc1(self.final_layer_norm(x)).chunk(2, -1)
        return x + self.fc2(self.dropout(F.gelu(hidden) * gate))


class ModernBertPooler(nn.Linear):
    """Dense layer, GELU and LayerNorm: the LM head's, with which published classifiers start."""

    def __init__(self, arch: Architecture):
        super().__init__(arch.dim, arch.dim, bias=False)
        self.layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer_norm(F.gelu(super().forward(x)))


class ModernBertEncoder(Encoder):
    architecture_class, layer_class, pooler_class = ModernBertArchitecture, ModernBertLayer, ModernBertPooler
    poolings_of_pooler, pools_tokens = ("first", "mean"), True
    has_biases = False
    arch: ModernBertArchitecture

    def __init__(self, arch: ModernBertArchitecture, dropout: float = 0.0, attention_dropout: float = 0.0):
        super().__init__(arch, dropout, attention_dropout)
        self.layernorm_embedding = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps, bias=False)
        self.layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps, bias=False)
        self.layers = self.make_layers()

    def embed(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.layernorm_embedding(x))

    def context(self, tokens: torch.Tensor) -> tuple[LayerContext, LayerContext]:
        """Those of global and of local layers."""
        mask, position = attention_mask(tokens), torch.arange(tokens.shape[1], device=tokens.device)
        distance = (position[:, None] - position).abs()
        # Padding that is far from every token attends to itself: with nothing to attend to, it would be nan.
        local = (mask & (distance <= self.arch.local_window // 2)) | (distance == 0)
        return (
            LayerContext(mask, *self._rotations(position, self.arch.global_theta)),
            LayerContext(local, *self._rotations(position, self.arch.local_theta)),
        )

    def _rotations(self, position, theta):
        dim = self.arch.dim // self.arch.heads
        frequencies = 1.0 / theta ** (torch.arange(0, dim, 2, device=position.device).float() / dim)
        angles = position[:, None].float() * frequencies
        return angles.cos(), angles.sin()

    @staticmethod
    def mean(features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return mean(features, tokens).to(features.dtype)

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer_norm(x)
