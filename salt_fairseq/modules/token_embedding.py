"""Token embeddings whose gradient, as large as they are, is not made anew in every step."""

import torch
import torch.nn.functional as F
from torch import nn


class TokenEmbedding(nn.Embedding):
    """``nn.Embedding`` with the same values and gradients.

    The gradient of a look-up is zero but for a few rows, and of mBERT's 119,547 x 768 embeddings 367 MB, for which the
    operating system maps and clears every page again in every step. While training on a CPU, it is kept here instead: a look-up
    clears it and adds its rows. On a GPU, torch itself keeps memory that was freed.
    """

    _gradient = None

    def forward(self, tokens):
        if not (self.training and torch.is_grad_enabled() and self.weight.requires_grad and self.weight.device.type == "cpu"):
            return super().forward(tokens)
        if self.weight.grad is None:  # the optimizer cleared it, and nothing was added since
            if self._gradient is None:
                self._gradient = torch.empty_like(self.weight, requires_grad=False)
            self.weight.grad = self._gradient.zero_()
        return F.embedding(tokens, self.weight, self.padding_idx, sparse=True)
