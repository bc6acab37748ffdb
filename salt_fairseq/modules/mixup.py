"""Embedding mixup (paper §2.2): h_i = r * E[s_i] + (1 - r) * E[t_i]."""

import torch

from salt_fairseq.modules.choice import Choice


class Mixing(Choice):
    """Choices of ``--mixup``; the names of the members are what a configuration says."""

    instance = "instance"
    token = "token"
    scalar = "scalar"
    fixed = "fixed"
    none = "none"


def coefficients(
    mixing: str, ratio: float, shape: torch.Size, generator: torch.Generator, device: torch.device
) -> torch.Tensor:
    """The coefficients r, FloatTensor in [0, 1], that broadcast to ``shape`` = (B, T, d).

    ``instance``: one vector per instance, every dimension uniform and independent, shared by the instance's tokens (the
    paper); ``token``: such a vector per token; ``scalar``: one number per instance; ``fixed``: ``ratio`` everywhere
    (SCOPA). With ``none`` there is nothing to mix: the text itself is substituted, in the dataset.
    """
    batch, length, dim = shape
    if mixing == "fixed":
        return torch.full((1, 1, 1), ratio, device=device)
    drawn = {"instance": (batch, 1, dim), "token": (batch, length, dim), "scalar": (batch, 1, 1)}[mixing]
    return torch.rand(drawn, generator=generator, device=device)


def mix(originals: torch.Tensor, substitutes: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """Mix two (B, T, d) tensors of embeddings. Exactly ``originals`` where both are equal, and where r is 1
    (``torch.lerp`` is exact at both ends, ``r * a + (1 - r) * b`` is not)."""
    return torch.lerp(substitutes, originals, r.to(originals.dtype))


def mean_embeddings(embeddings: torch.Tensor, substitutes: torch.Tensor, padding: int) -> torch.Tensor:
    """Mean embeddings (B, T, d) of substitutes LongTensor (M, B, T), padded in the first dimension, from those of each,
    (M, B, T, d)."""
    if len(substitutes) == 1:
        return embeddings[0]
    real = substitutes.ne(padding)
    real[0] = True  # a padded position of the sentence keeps its embedding
    return (embeddings * real[..., None]).sum(0) / real.sum(0)[..., None]
