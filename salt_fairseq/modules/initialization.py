"""How fresh layers begin, and how deep a parameter is, which decides how fast it learns (``--layer-decay``)."""

from __future__ import annotations

import torch
from torch import nn


def initialize(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """Draw a layer's weights as BERT's are (``initializer_range``)."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        module.reset_parameters()


def depth(parameter: str, layers: int) -> int:
    """0 for the embeddings, 1 for the lowest of ``layers`` layers, …; what comes after them is one deeper than the last."""
    if parameter.startswith("encoder.layers."):
        return 1 + int(parameter.split(".")[2])
    is_after = parameter.startswith("encoder.layer_norm.") or not parameter.startswith("encoder.")
    return layers + 1 if is_after else 0
