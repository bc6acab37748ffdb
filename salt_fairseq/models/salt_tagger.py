"""The model of the task ``salt_token_labelling``: ``salt_encoder`` with a classifier on the features of each token."""

import torch
from torch import nn

from salt_fairseq.errors import InputError
from salt_fairseq.models.salt_encoder import PoolingChoice, SaltEncoder
from salt_fairseq.modules.encoder import Architecture, Encoder


class SaltTagger(SaltEncoder):
    """Logits over labels for each token: the last layer's features, dropout, classifier, as transformers' classes for token
    classification have it; ModernBERT's has the LM head's dense layer, GELU and LayerNorm before the dropout."""

    def __init__(self, cfg, classes):
        if cfg.pooling != PoolingChoice.plm:
            raise InputError(f"--pooling {cfg.pooling} with labels for tokens: nothing is pooled; leave it out")
        super().__init__(cfg, classes)
        self.pooling = "none"

    def _make_pooler(self, body: type[Encoder], arch: Architecture) -> tuple[nn.Module, bool]:
        return (body.pooler_class(arch), arch.pooler) if body.pools_tokens else (nn.Identity(), False)

    def classify(self, tokens, embeddings=None):
        """Logits FloatTensor (B, T, classes) of tokens (B, T), whose embeddings (B, T, d) may be given."""
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.cfg.autocast_bf16):
            return self.classifier(self.dropout(self.pooler(self.encoder(tokens, embeddings))))
