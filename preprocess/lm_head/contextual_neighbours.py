"""The neighbours of a token in its context, over all languages: what an LM head should say where nothing is masked.

SALT asks the masked LM about tokens that it sees (paper §2.1). Trained in the usual way, the LM answers with the token
itself, and whatever it says next best is by-catch. Here the next best has a target: words that the PLM's own lower
layers place near to the token in this sentence. No dictionary and no parallel text is involved.
"""

import torch
import torch.nn.functional as F
from tqdm import tqdm

from preprocess.lm_head.masking import is_text
from salt_fairseq.modules.encoder import PAD

LEAST = 2  # a piece that is seen less often has no reliable mean


class ContextualNeighbours:
    """Similarity of a token in its sentence to the pieces that text holds.

    A token s with feature h (of ``layer``) and a piece v have the similarity

        ½ cos(h - m, H_v) + ½ cos(E_s - M, E_v - M)

    where H_v is the mean, over text, of h - m at v, E are the token embeddings with mean M, and m is the mean feature of
    the file a sentence is from: with a file per language, what tells languages apart drops out.
    """

    def __init__(self, encoder, layer):
        self.encoder, self.layer, self.vocabulary = encoder, layer, encoder.arch.vocabulary
        weight = encoder.embed_tokens.weight.detach()
        self.embeddings = F.normalize(weight - weight[is_text(torch.arange(len(weight)), len(weight))].mean(0), dim=1)

    @torch.no_grad()
    def fit(self, text, max_tokens, autocast):
        """Take m and H_v from ``text``, in one pass."""
        device, dim = self.embeddings.device, self.embeddings.shape[1]
        files, sums = int(text.files.max()) + 1, torch.zeros(self.vocabulary, dim, device=device)
        file_sums, file_counts = torch.zeros(files, dim, device=device), torch.zeros(files, self.vocabulary, device=device)
        total = sum(len(s) for s in text.sentences)
        with tqdm(total=total, desc="neighbours", unit=" tokens", unit_scale=True) as progress:
            for tokens, of in text.batches(max_tokens):
                progress.update(int((tokens != PAD).sum()))
                tokens, of = tokens.to(device), of.to(device)
                is_token = is_text(tokens, self.vocabulary)
                with autocast():
                    features = self.encoder(tokens, layers=self.layer)[is_token].float()
                ids, of = tokens[is_token], of[:, None].expand_as(tokens)[is_token]
                sums.index_add_(0, ids, features)
                file_sums.index_add_(0, of, features)
                file_counts.index_put_((of, ids), torch.ones((), device=device), accumulate=True)
        self.means = file_sums / file_counts.sum(1, keepdim=True)
        self.pieces = (file_counts.sum(0) >= LEAST).nonzero()[:, 0]
        centred = sums - file_counts.T @ self.means
        self.keys = torch.cat([F.normalize(centred[self.pieces], dim=1), self.embeddings[self.pieces]], 1) / 2
        return self

    @torch.no_grad()
    def __call__(self, tokens, files, wanted, autocast):
        """FloatTensor (n, len(self.pieces)): similarities of the n tokens of (B, T) where ``wanted`` is true."""
        with autocast():
            features = self.encoder(tokens, layers=self.layer)[wanted].float()
            own = self.means[files[:, None].expand_as(tokens)[wanted]]
            query = torch.cat([F.normalize(features - own, dim=1), self.embeddings[tokens[wanted]]], 1)
            return F.linear(query, self.keys).float()

    def state(self):
        """What :meth:`fit` found."""
        return {"means": self.means, "pieces": self.pieces, "keys": self.keys}

    def load_state(self, state):
        self.means, self.pieces, self.keys = state["means"], state["pieces"], state["keys"]
