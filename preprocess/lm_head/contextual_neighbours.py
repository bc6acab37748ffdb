"""The neighbours of a token in its context, in all languages: the targets of an LM head at tokens that are not masked.

SALT asks the masked LM about tokens that it sees (paper §2.1). An ordinary masked LM answers with the token itself, and
nothing trained its second-best answer. Here that answer has a target: words that the PLM's own lower layers place near the
token in this sentence. No dictionary and no parallel text is involved.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from preprocess.lm_head.masking import is_text
from preprocess.lm_head.plain_text import Text
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.modules.encoder import PAD, Encoder

LEAST = 2  # occurrences of a piece: with fewer, its mean is unreliable


class ContextualNeighbours:
    """The similarity of a token in its sentence to the pieces of a text.

    A token s with feature h (of ``layer``) and a piece v have the similarity

        ½ cos(h - m, H_v) + ½ cos(E_s - M, E_v - M)

    where H_v is the mean of h - m over all occurrences of v, E are the token embeddings with mean M, and m is the mean
    feature of the sentence's file: with one file per language, the difference between languages cancels.
    """

    def __init__(self, encoder: Encoder, layer: int):
        self.encoder, self.layer, self.vocabulary = encoder, layer, encoder.arch.vocabulary
        weight = encoder.embed_tokens.weight.detach()
        self.embeddings = F.normalize(weight - weight[is_text(torch.arange(len(weight)), len(weight))].mean(0), dim=1)

    @torch.no_grad()
    def fit(self, text: Text, max_tokens: int, autocast: Callable) -> "ContextualNeighbours":
        """Compute m and H_v from ``text`` in one pass."""
        device, dim = self.embeddings.device, self.embeddings.shape[1]
        files, sums = int(text.files.max()) + 1, torch.zeros(self.vocabulary, dim, device=device)
        file_sums, file_counts = torch.zeros(files, dim, device=device), torch.zeros(files, self.vocabulary, device=device)
        total = sum(len(s) for s in text.sentences)
        with progress_bar(total=total, desc="neighbours", unit=" tokens", unit_scale=True) as progress:
            for tokens, numbers in text.batches(max_tokens):
                progress.update(int((tokens != PAD).sum()))
                tokens, numbers = tokens.to(device), numbers.to(device)
                is_token = is_text(tokens, self.vocabulary)
                with autocast():
                    features = self.encoder(tokens, layers=self.layer)[is_token].float()
                ids, file = tokens[is_token], numbers[:, None].expand_as(tokens)[is_token]
                sums.index_add_(0, ids, features)
                file_sums.index_add_(0, file, features)
                file_counts.index_put_((file, ids), torch.ones((), device=device), accumulate=True)
        self.means = file_sums / file_counts.sum(1, keepdim=True)
        self.pieces = (file_counts.sum(0) >= LEAST).nonzero()[:, 0]
        centred = sums - file_counts.T @ self.means
        self.keys = torch.cat([F.normalize(centred[self.pieces], dim=1), self.embeddings[self.pieces]], 1) / 2
        return self

    @torch.no_grad()
    def __call__(self, tokens: torch.Tensor, files: torch.Tensor, positions: torch.Tensor, autocast: Callable) -> torch.Tensor:
        """FloatTensor (n, len(self.pieces)): similarities at the n ``positions``, BoolTensor (B, T), of ``tokens`` (B, T)."""
        with autocast():
            features = self.encoder(tokens, layers=self.layer)[positions].float()
            own = self.means[files[:, None].expand_as(tokens)[positions]]
            query = torch.cat([F.normalize(features - own, dim=1), self.embeddings[tokens[positions]]], 1)
            return F.linear(query, self.keys).float()

    def state(self) -> dict[str, torch.Tensor]:
        """The results of :meth:`fit`."""
        return {"means": self.means, "pieces": self.pieces, "keys": self.keys}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.means, self.pieces, self.keys = state["means"], state["pieces"], state["keys"]
