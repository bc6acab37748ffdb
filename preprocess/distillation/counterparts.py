"""The counterpart of each token in each target language (paper §2.1): t_i = argmax over v in V_L, v != s_i, of p_i(v)."""

import math

import numpy as np
import torch

from salt_fairseq.plm import pad

POSITIONS = ("tokens", "words")
# Logits held at once. On a CPU they stay in its cache; on a GPU a block is large enough to keep it busy.
CPU_LOGITS, GPU_LOGITS, LEAST_LOGITS = 1 << 20, 1 << 26, 1 << 10


def candidate_positions(tokenizer, ids, positions):
    """(T,) bool: which tokens of sentences (their ids, each eos included) may be substituted.

    ``tokens``: every token that carries a letter; ``words``: only tokens that are a whole word.
    """
    return tokenizer.has_letter[ids] if positions == "tokens" else tokenizer.whole_words(ids)


class CounterpartSearch:
    """Finds the counterparts of a batch of sentences in all target languages with one pass of the PLM.

    ``target_vocabularies`` maps a language to its piece ids, int64 (n,), ascending. The LM head is applied at candidate
    positions only, to a block of the vocabulary at a time: each block adds to the normalizer of the softmax and to the
    best counterpart so far, and is forgotten. At most ``budget`` logits are held (default: by device; 1,024 always may be).
    """

    def __init__(self, plm, target_vocabularies, device="cpu", dtype=torch.float32, budget=None):
        self.plm = plm.to(device=device, dtype=dtype)
        self.device = torch.device(device)
        self.budget = max(LEAST_LOGITS, budget or (CPU_LOGITS if self.device.type == "cpu" else GPU_LOGITS))
        self.ids = {language: np.asarray(ids) for language, ids in target_vocabularies.items()}
        self.vocabularies = {language: torch.as_tensor(ids, device=device) for language, ids in target_vocabularies.items()}
        self._caseless = plm.tokenizer.caseless
        self._by_text = np.argsort(self._caseless, kind="stable")  # all pieces, those of one text together

    @torch.inference_mode()
    def __call__(self, sentences, masks):
        """``sentences``: LongTensors (T_i,) that begin with bos; ``masks``: bool (T_i,) of their candidate positions.

        Returns, for the n marked positions of all sentences in order, language to ``(ids int64 (n,), log_probs float32
        (n,))`` on the device. The softmax is over the whole vocabulary; a language whose only word is the token itself
        gives ``-inf``.
        """
        tokens = pad(sentences)
        places = torch.nn.utils.rnn.pad_sequence(masks, batch_first=True).flatten().nonzero()[:, 0]  # on the host: no waiting
        own = tokens.flatten()[places].numpy()
        features = self.plm.lm_head.features(self.plm.encoder, self._moved(tokens)).flatten(0, 1)[self._moved(places)]
        features = self.plm.lm_head.transform(features)
        rows = max(1, min(len(own), math.isqrt(self.budget)))
        columns = self.budget // rows
        found = [
            self._sweep(features[start : start + rows], own[start : start + rows], columns)
            for start in range(0, len(own), rows)
        ]
        return {
            language: (torch.cat([f[language][0] for f in found]), torch.cat([f[language][1] for f in found]))
            for language in (self.ids if found else ())
        }

    def _sweep(self, features, own, columns):
        """One sweep over the vocabulary for features (n, d) of tokens ``own`` int64 (n,)."""
        weight, bias = self.plm.encoder.embed_tokens.weight, self.plm.lm_head.bias
        normalizer = torch.full((len(own),), -torch.inf, device=self.device)
        best = {
            language: (torch.zeros(len(own), dtype=torch.int64, device=self.device), normalizer.clone())
            for language in self.ids
        }
        itself, piece = self._same_text(own)
        for start in range(0, len(weight), columns):
            stop = min(start + columns, len(weight))
            logits = torch.nn.functional.linear(features, weight[start:stop], bias[start:stop])
            # log_softmax is one fused pass; logsumexp writes and reads the block several times.
            first = logits[:, 0].float() - logits.log_softmax(1, dtype=torch.float32)[:, 0]
            normalizer = torch.logaddexp(normalizer, first)
            low, high = np.searchsorted(piece, (start, stop))
            if low < high:
                logits[self._moved(itself[low:high]), self._moved(piece[low:high] - start)] = -torch.inf
            for language, ids in self.ids.items():
                low, high = np.searchsorted(ids, (start, stop))
                if low < high:
                    vocabulary, (so_far, most) = self.vocabularies[language][low:high], best[language]
                    highest, at = logits.index_select(1, vocabulary - start).float().max(1)
                    better = highest > most
                    best[language] = torch.where(better, vocabulary[at], so_far), torch.where(better, highest, most)
        return {language: (ids, most - normalizer) for language, (ids, most) in best.items()}

    def _same_text(self, own):
        """``(rows, pieces)``, by ascending pieces: all pieces that are the same text, without case, as the row's token."""
        sorted_texts = self._caseless[self._by_text]
        low, high = (np.searchsorted(sorted_texts, self._caseless[own], side) for side in ("left", "right"))
        count = high - low
        rows = np.repeat(np.arange(len(own)), count)
        pieces = self._by_text[np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(low, count)]
        order = np.argsort(pieces, kind="stable")
        return rows[order], pieces[order]

    def _moved(self, values):
        return torch.as_tensor(values).to(self.device, non_blocking=True)
