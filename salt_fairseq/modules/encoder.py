"""What all bodies of PLMs have in common: token ids in, features out, and an LM head on the features.

A body is one file of ``bodies/``. It is a subclass of :class:`Encoder`, which says what a body must and may define.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

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
    """Sizes of an encoder, as stored in ``plm.json``; some bodies add their own."""

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
            check_size(name, getattr(self, name), largest)
        if type(self.head_layers) is not int or not 0 <= self.head_layers <= self.layers:
            raise ValueError(f"head_layers is {self.head_layers!r}, of {self.layers} layers")
        if self.dim % self.heads or type(self.pooler) is not bool or not 0 < float(self.layer_norm_eps) < 1:
            raise ValueError(f"{self.heads} heads of {self.dim} dimensions, eps {self.layer_norm_eps}, pooler {self.pooler}")


def check_size(name: str, value: Any, largest: int) -> None:
    """Raise ValueError unless a size is a whole number from 1 to ``largest``."""
    if type(value) is not int or not 1 <= value <= largest:
        raise ValueError(f"{name} is {value!r}, and 1 to {largest:,} is possible")


class Encoder(nn.Module):
    """Token ids, right-padded, to contextual features.

    Padding, positions and segments all follow from the ids. A body sets the class attributes and, last in ``__init__``,
    ``layers``; it defines :meth:`embed`, :meth:`context` and :meth:`mean`.
    """

    architecture_class: type[Architecture] = Architecture
    layer_class: type[nn.Module]  # built with (arch, index, dropout, attention_dropout), called with x, context, first_tokens
    pooler_class: Callable[[Any], nn.Linear]  # built with (arch): the vector (B, d) of a sentence or pair to what is classified
    poolings_of_pooler: tuple[str, ...] = ("first",)  # with which a pretrained pooler is the classifier's start
    pools_tokens = False  # whether a classifier of single tokens has the pooler, too
    has_biases = True  # in the LM head's dense layer and LayerNorm
    fp16_overflow = ""  # why the body cannot compute in fp16, if it cannot

    layers: nn.ModuleList

    def __init__(self, arch: Architecture, dropout: float = 0.0, attention_dropout: float = 0.0):
        super().__init__()
        self.arch, self.attention_dropout = arch, attention_dropout
        self.dropout = Dropout(dropout)
        self.embed_tokens = TokenEmbedding(arch.vocabulary, arch.dim, padding_idx=PAD)

    def make_layers(self) -> nn.ModuleList:
        rates = self.dropout.p, self.attention_dropout
        return nn.ModuleList(self.layer_class(self.arch, i, *rates) for i in range(self.arch.layers))

    def embed(self, x: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The first layer's input (B, T, d), from token embeddings ``x`` (B, T, d) of ``tokens`` (B, T)."""
        raise NotImplementedError

    def context(self, tokens: torch.Tensor) -> Any:
        """What every layer needs to know of ``tokens`` (B, T), such as the mask of its attention."""
        raise NotImplementedError

    def finish(self, x: torch.Tensor) -> torch.Tensor:
        """Features (B, T, d) from the last layer's output."""
        return x

    @staticmethod
    def mean(features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """What ``--pooling mean`` classifies, (B, d), from features (B, T, d) of ``tokens`` (B, T)."""
        raise NotImplementedError

    def forward(
        self,
        tokens: torch.Tensor,
        embeddings: torch.Tensor | None = None,
        layers: int | None = None,
        first_tokens: int | None = None,
        top: Sequence[nn.Module] = (),
    ) -> torch.Tensor:
        """``tokens`` LongTensor (B, T), padded with ``PAD`` on the right, T <= ``arch.positions``.

        ``embeddings`` FloatTensor (B, T, d) replaces the token embeddings (mixup); ``layers`` is how many layers to run (all),
        after which the layers ``top`` run. With ``first_tokens``, the last layer computes the features of only so many tokens.
        Returns FloatTensor (B, T or first_tokens, d), arbitrary at padded positions.
        """
        x = self.embed(self.embed_tokens(tokens) if embeddings is None else embeddings, tokens)
        context = self.context(tokens)
        run = [*self.layers[:layers], *top]
        for layer in run:
            x = layer(x, context, first_tokens if layer is run[-1] else None)
        return self.finish(x)


def attention_mask(tokens: torch.Tensor) -> torch.Tensor:
    """bool (B, 1, 1, T): which of ``tokens`` (B, T) may be attended to."""
    return tokens.ne(PAD)[:, None, None, :]


class LMHead(nn.Module):
    """Features to logits over the vocabulary; the decoder's weight is the token embedding (tied).

    It may have ``arch.head_layers`` layers of its own, so that training it does not change the encoder.
    """

    def __init__(self, body: type[Encoder], arch: Architecture):
        super().__init__()
        own = range(arch.layers - arch.head_layers, arch.layers)
        self.layers = nn.ModuleList(body.layer_class(arch, i, 0.0, 0.0) for i in own)
        self.dense = nn.Linear(arch.dim, arch.dim, bias=body.has_biases)
        self.layer_norm = nn.LayerNorm(arch.dim, eps=arch.layer_norm_eps, bias=body.has_biases)
        self.bias = nn.Parameter(torch.zeros(arch.vocabulary))

    def features(self, encoder: Encoder, tokens: torch.Tensor) -> torch.Tensor:
        """Features FloatTensor (B, T, d) of ``tokens`` LongTensor (B, T): the encoder's, whose top layers are replaced by the
        head's own."""
        return encoder(tokens, layers=len(encoder.layers) - len(self.layers), top=self.layers)

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
