"""How the features of a sentence or pair become the one vector that is classified."""

import torch
import torch.nn.functional as F

from salt_fairseq.modules.encoder import PAD

POOLINGS = ("first", "mean")
EPS = 1e-12  # of the mean's normalization, small beside the variance of any encoder's features


def mean(features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Mean (B, d), in fp32 or better, of the features (B, T, d) of all tokens (B, T) except padding."""
    real = tokens.ne(PAD)[:, :, None]
    return (features * real).sum(1, dtype=torch.promote_types(features.dtype, torch.float32)) / real.sum(1)


def normalized_mean(features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Mean (B, d) of the features (B, T, d) of all tokens (B, T) except padding, normalized to mean 0 and variance 1.

    Sentence encoders compare means by their direction (Reimers & Gurevych, 2019), which normalization preserves except for
    the mean over dimensions. A classifier thus starts at the same scale whatever the PLM, and can be exported as a layer.
    """
    return F.layer_norm(mean(features, tokens), features.shape[-1:], eps=EPS).to(features.dtype)
