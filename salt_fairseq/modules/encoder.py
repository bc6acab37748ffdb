"""The body that BERT and XLM-R share: a post-norm Transformer encoder with absolute positions and segments."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from salt_fairseq.modules.attention import attention
from salt_fairseq.modules.dropout import Dropout
from salt_fairseq.modules.token_embedding import TokenEmbedding

BOS, PAD, EOS, UNK = 0, 1, 2, 3  # in every vocabulary of this project, as in fairseq's own; <mask> is the last id


LARGEST = {  # that is built: far more than any published model has, and little enough for a description to cost no memory
    "vocabulary": 1 << 24,
    "dim": 1 << 16,
    "layers": 1 << 10,
    "heads": 1 << 10,
    "ffn_dim": 1 << 20,
    "positions": 1 << 20,
    "segments": 1 << 10,
}


@dataclass(frozen=True)
class Architecture:
    """Sizes of an encoder, as stored in ``plm.json``."""

    vocabulary: int  # number of ids, specials and <mask> included
    dim: int
    layers: int
    heads: int
    ffn_dim: int
    positions: int  # longest input, specials included
    segments: int  # 2: BERT's token types; 1: none
    layer_norm_eps: float  # 1e-12 in BERT, 1e-5 in XLM-R
    pooler: bool  # whether the PLM brings a pretrained pooler (BERT does)
    head_layers: int = 0  # layers of the LM head that replace the encoder's top ones (train_lm_head.py makes them)

    def __post_init__(self):
        for name, largest in LARGEST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= largest:
                raise ValueError(f"{name} is {value!r}, and 1 to {largest:,} is possible")
        if type(self.head_layers) is not int or not 0 <= self.head_layers <= self.layers:
            raise ValueError(f"head_layers is {self.head_layers!r}, of {self.layers} layers")
        if self.dim % self.heads or type(self.pooler) is not bool or not 0 < float(self.layer_norm_eps) < 1:
            raise ValueError(f"{self.heads} heads of {self.dim} dimensions, eps {self.layer_norm_eps}, pooler {self.pooler}")


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each followed by dropout, residual and LayerNorm (Vaswani et al., 2017)."""

    def __init__(self, arch: Architecture, dropout: float, attention_dropout: float):
        super().__init__()
        self.heads, self.attention_dropout = arch.heads, attention_dropout
        self.qkv = nn.Linear(arch.dim, 3 * arch.dim)
        self.out_proj = nn.Linear(arch.dim, arch.dim)
        self.self_attn_layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)
        self.fc1 = nn.Linear(arch.dim, arch.ffn_dim)
        self.fc2 = nn.Linear(arch.ffn_dim, arch.dim)
        self.final_layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)
        self.dropout = Dropout(dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor, first_tokens: int | None = None) -> torch.Tensor:
        """``x`` (B, T, d), ``mask`` of :func:`attention_mask`; ``first_tokens``: compute the features of only so many (all)."""
        batch, _, dim = x.shape
        if first_tokens is None:
            q, k, v = self._by_head(self.qkv(x))
        else:
            weights, biases = self.qkv.weight.split([dim, 2 * dim]), self.qkv.bias.split([dim, 2 * dim])
            k, v = self._by_head(F.linear(x, weights[1], biases[1]))
            x = x[:, :first_tokens]
            (q,) = self._by_head(F.linear(x, weights[0], biases[0]))
        attended = attention(q, k, v, mask, self.attention_dropout if self.training else 0.0)
        attended = self.out_proj(attended.transpose(1, 2).reshape(batch, -1, dim))
        x = self.self_attn_layer_norm(x + self.dropout(attended))
        return self.final_layer_norm(x + self.dropout(self.fc2(F.gelu(self.fc1(x)))))

    def _by_head(self, projected: torch.Tensor) -> torch.Tensor:
        """(B, T, n * d) to (n, B, H, T, d / H)."""
        batch, length, _ = projected.shape
        by_head = projected.view(batch, length, -1, self.heads, self.out_proj.in_features // self.heads)
        return by_head.permute(2, 0, 3, 1, 4)


class Encoder(nn.Module):
    """Token ids, right-padded, to contextual features.

    Padding, positions and segments all follow from the ids: a segment ends with its first ``EOS``, as BERT's
    ``[CLS] a [SEP] b [SEP]`` has it.
    """

    def __init__(self, arch: Architecture, dropout: float = 0.0, attention_dropout: float = 0.0):
        super().__init__()
        self.arch = arch
        self.embed_tokens = TokenEmbedding(arch.vocabulary, arch.dim, padding_idx=PAD)
        self.embed_positions = nn.Embedding(arch.positions, arch.dim)
        self.embed_segments = nn.Embedding(arch.segments, arch.dim)
        self.layernorm_embedding = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(EncoderLayer(arch, dropout, attention_dropout) for _ in range(arch.layers))

    def forward(
        self,
        tokens: torch.Tensor,
        embeddings: torch.Tensor | None = None,
        layers: int | None = None,
        first_tokens: int | None = None,
    ) -> torch.Tensor:
        """``tokens`` LongTensor (B, T), padded with ``PAD`` on the right, T <= ``arch.positions``.

        ``embeddings`` FloatTensor (B, T, d) replaces the token embeddings (mixup); ``layers`` is how many layers to run (all).
        With ``first_tokens``, the last layer computes the features of only so many tokens. Returns FloatTensor
        (B, T or first_tokens, d), arbitrary at padded positions.
        """
        x = self.embed_tokens(tokens) if embeddings is None else embeddings
        x = x + self.embed_positions.weight[: tokens.shape[1]]
        if self.arch.segments == 1:
            x = x + self.embed_segments.weight
        else:
            ended = tokens.eq(EOS).cumsum(1) - tokens.eq(EOS).long()
            x = x + self.embed_segments(ended.clamp_(max=1))
        x = self.dropout(self.layernorm_embedding(x))
        mask = attention_mask(tokens)
        run = self.layers[:layers]
        for layer in run:
            x = layer(x, mask, first_tokens if layer is run[-1] else None)
        return x


def attention_mask(tokens: torch.Tensor) -> torch.Tensor:
    """bool (B, 1, 1, T): which of ``tokens`` (B, T) may be attended to."""
    return tokens.ne(PAD)[:, None, None, :]


class LMHead(nn.Module):
    """Features to logits over the vocabulary; the decoder's weight is the token embedding (tied).

    It may have ``arch.head_layers`` layers of its own, so that training it does not change the encoder.
    """

    def __init__(self, arch: Architecture):
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(arch, 0.0, 0.0) for _ in range(arch.head_layers))
        self.dense = nn.Linear(arch.dim, arch.dim)
        self.layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(arch.vocabulary))

    def features(self, encoder: Encoder, tokens: torch.Tensor) -> torch.Tensor:
        """Features FloatTensor (B, T, d) of ``tokens`` LongTensor (B, T): the encoder's, whose top layers are replaced by the
        head's own."""
        x = encoder(tokens, layers=len(encoder.layers) - len(self.layers))
        mask = attention_mask(tokens)
        for layer in self.layers:
            x = layer(x, mask)
        return x

    def transform(self, features: torch.Tensor) -> torch.Tensor:
        """(..., d) to (..., d): between these features and the decoder."""
        return self.layer_norm(F.gelu(self.dense(features)))

    def forward(self, features: torch.Tensor, embedding_weight: torch.Tensor) -> torch.Tensor:
        return F.linear(self.transform(features), embedding_weight, self.bias)


class _NoInitialValues(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is not nn.init.normal_:
            return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def without_weights() -> Iterator[None]:
    """Modules created in this context have parameters without values (device "meta"), to be assigned or just counted.

    Initial values are not requested either: to draw normal ones on that device, torch imports sympy, 1.1 s and 60 MB.
    """
    with torch.device("meta"), _NoInitialValues():
        yield
