"""The candidate of each token in each target language (paper §2.1): t_i = argmax over v in V_L, v != s_i, of p_i(v)."""

from __future__ import annotations

import math

import numpy as np
import torch

from salt_fairseq.plm import PLM, pad
from salt_fairseq.storage.indexed_data import ranges
from salt_fairseq.tokenizer import Tokenizer

POSITIONS = ("tokens", "words")
# Logits held at once. On a CPU they stay in its cache; on a GPU a block is large enough to keep it busy.
CPU_LOGITS, GPU_LOGITS, LEAST_LOGITS = 1 << 20, 1 << 26, 1 << 10


def candidate_positions(tokenizer: Tokenizer, ids: np.ndarray, positions: str) -> np.ndarray:
    """Which tokens may be substituted: bool (T,) for the ids (T,) of sentences that each end with eos.

    ``tokens``: every token that has a letter; ``words``: only tokens that are a whole word.
    """
    return tokenizer.has_letter[ids] if positions == "tokens" else tokenizer.whole_words(ids)


class CandidateSearch:
    """Finds the candidates of a batch of sentences in all target languages with one pass of the PLM.

    ``target_vocabularies`` maps a language to its piece ids, int64 (n,), ascending. The LM head is applied at candidate
    positions only, to one block of the vocabulary at a time: each block updates the normalizer of the softmax and the best
    candidate so far, and is discarded. At most ``budget`` logits are held (default: by device; never fewer than 1,024).
    """

    def __init__(
        self,
        plm: PLM,
        target_vocabularies: dict[str, np.ndarray],
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        budget: int | None = None,
    ):
        self.plm = plm.to(device=device, dtype=dtype)
        self.device = torch.device(device)
        self.budget = max(LEAST_LOGITS, budget or (CPU_LOGITS if self.device.type == "cpu" else GPU_LOGITS))
        self.ids = {language: np.asarray(ids) for language, ids in target_vocabularies.items()}
        self.vocabularies = {language: torch.as_tensor(ids, device=device) for language, ids in target_vocabularies.items()}
        self._caseless = plm.tokenizer.caseless
        self._by_text = np.argsort(self._caseless, kind="stable")  # all pieces, grouped by their text without case

    @torch.inference_mode()
    def __call__(self, sentences: list[torch.Tensor], masks: list[torch.Tensor]) -> dict[str, tuple]:
        """``sentences``: LongTensors (T_i,) that begin with bos; ``masks``: bool (T_i,) of their candidate positions.

        Returns language to ``(ids int64 (n,), log_probs float32 (n,))`` on the device, for the n candidate positions of all
        sentences in order. The softmax is over the whole vocabulary; ``-inf`` marks a token for which the language has no
        word but the token itself.
        """
        tokens = pad(sentences)
        places = torch.nn.utils.rnn.pad_sequence(masks, batch_first=True).flatten().nonzero()[:, 0]  # on the host: no waiting
        own = tokens.flatten()[places].numpy()
        features = self.plm.lm_head.features(self.plm.encoder, self._moved(tokens)).flatten(0, 1)[self._moved(places)]
        features = self.plm.lm_head.transform(features)
        rows = max(1, min(len(own), math.isqrt(self.budget)))
        columns = self.budget // rows
        swept = [self._sweep(features[i : i + rows], own[i : i + rows], columns) for i in range(0, len(own), rows)]
        return {language: tuple(map(torch.cat, zip(*(best[language] for best in swept)))) for language in self.ids if swept}

    def _sweep(self, features, own, columns):
        """One sweep over the vocabulary for features (n, d) of tokens ``own`` int64 (n,)."""
        weight, bias = self.plm.encoder.embed_tokens.weight, self.plm.lm_head.bias
        normalizer = torch.full((len(own),), -torch.inf, device=self.device)
        best = dict.fromkeys(self.ids, (torch.zeros_like(normalizer, dtype=torch.int64), normalizer))
        row, piece = self._same_text(own)
        for start in range(0, len(weight), columns):
            stop = min(start + columns, len(weight))
            logits = torch.nn.functional.linear(features, weight[start:stop], bias[start:stop])
            # log_softmax is one fused pass; logsumexp writes and reads the block several times.
            block = logits[:, 0].float() - logits.log_softmax(1, dtype=torch.float32)[:, 0]
            normalizer = torch.logaddexp(normalizer, block)
            low, high = np.searchsorted(piece, (start, stop))
            if low < high:
                logits[self._moved(row[low:high]), self._moved(piece[low:high] - start)] = -torch.inf
            for language, ids in self.ids.items():
                low, high = np.searchsorted(ids, (start, stop))
                if low < high:
                    vocabulary, (best_ids, best_logits) = self.vocabularies[language][low:high], best[language]
                    highest, at = logits.index_select(1, vocabulary - start).float().max(1)
                    better = highest > best_logits
                    best[language] = (torch.where(better, vocabulary[at], best_ids), torch.where(better, highest, best_logits))
        return {language: (ids, best_logits - normalizer) for language, (ids, best_logits) in best.items()}

    def _same_text(self, own):
        """``(rows, pieces)``, ascending by piece: for each row, all pieces that spell its token, regardless of case."""
        sorted_texts = self._caseless[self._by_text]
        low, high = (np.searchsorted(sorted_texts, self._caseless[own], side) for side in ("left", "right"))
        rows = np.repeat(np.arange(len(own)), high - low)
        pieces = self._by_text[ranges(low, high - low)]
        order = np.argsort(pieces, kind="stable")
        return rows[order], pieces[order]

    def _moved(self, values):
        return torch.as_tensor(values).to(self.device, non_blocking=True)
