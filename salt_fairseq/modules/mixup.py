"""Embedding mixup (paper §2.2): h_i = r * E[s_i] + (1 - r) * E[t_i]."""

import torch

MIXINGS = ("instance", "token", "scalar", "fixed", "none")


def coefficients(mixing, ratio, shape, generator, device):
    """The coefficients r, FloatTensor in [0, 1], that broadcast to ``shape`` = (B, T, d).

    ``instance``: one vector per instance, every dimension uniform and independent, shared by the instance's tokens (the
    paper); ``token``: such a vector per token; ``scalar``: one number per instance; ``fixed``: ``ratio`` everywhere
    (SCOPA); ``none``: 0, the substitutes alone (Table 3, "w/o mixup").
    """
    batch, length, dim = shape
    if mixing == "fixed" or mixing == "none":
        return torch.full((1, 1, 1), ratio if mixing == "fixed" else 0.0, device=device)
    drawn = {"instance": (batch, 1, dim), "token": (batch, length, dim), "scalar": (batch, 1, 1)}[mixing]
    return torch.rand(drawn, generator=generator, device=device)


def mix(originals, substitutes, r):
    """Mix two (B, T, d) tensors of embeddings. Exactly ``originals`` where both are equal, and where r is 1
    (``torch.lerp`` is exact at both ends, ``r * a + (1 - r) * b`` is not)."""
    return torch.lerp(substitutes, originals, r.to(originals.dtype))
