"""The counterpart of each token in each target language (paper §2.1): t_i = argmax over v in V_L, v != s_i, of p_i(v)."""

import torch

from salt_fairseq.plm import pad

POSITIONS = ("tokens", "words")


def candidate_positions(tokenizer, ids, positions):
    """(T,) bool: which tokens of a sentence (its ids, eos included) may be substituted.

    ``tokens``: every token that carries a letter; ``words``: only tokens that are a whole word.
    """
    return tokenizer.has_letter[ids] if positions == "tokens" else tokenizer.whole_words(ids)


class CounterpartSearch:
    """Finds the counterparts of a batch of sentences in all target languages with one pass of the PLM.

    ``target_vocabularies`` maps a language to its piece ids, int64 (n,). At most ``budget`` logits are held at a time.
    """

    def __init__(self, plm, target_vocabularies, device="cpu", dtype=torch.float32, budget=1 << 26):
        self.plm = plm.to(device=device, dtype=dtype)
        self.device, self.rows_at_once = device, max(1, budget // plm.description.architecture.vocabulary)
        self.vocabularies = {language: torch.as_tensor(ids, device=device) for language, ids in target_vocabularies.items()}
        self.caseless = torch.as_tensor(plm.tokenizer.caseless, device=device)

    @torch.inference_mode()
    def __call__(self, sentences, masks):
        """``sentences``: LongTensors (T_i,) that begin with bos; ``masks``: bool (T_i,) of their candidate positions.

        Returns, for the n marked positions of all sentences in order, language to ``(ids int64 (n,), log_probs float32
        (n,))`` on the CPU. The softmax is over the whole vocabulary; a language whose only word is the token itself
        gives ``-inf``.
        """
        tokens = pad(sentences).to(self.device)
        marked = torch.nn.utils.rnn.pad_sequence(masks, batch_first=True).to(self.device)
        features = self.plm.lm_head.transform(self.plm.features(tokens)[marked])
        own = self.caseless[tokens[marked]]
        found = {language: ([], []) for language in self.vocabularies}
        for start in range(0, len(features), self.rows_at_once):
            rows = slice(start, start + self.rows_at_once)
            logits = torch.nn.functional.linear(
                features[rows], self.plm.encoder.embed_tokens.weight, self.plm.lm_head.bias
            ).float()
            normalizer = logits.logsumexp(1)
            for language, vocabulary in self.vocabularies.items():
                restricted = logits[:, vocabulary]
                restricted.masked_fill_(self.caseless[vocabulary] == own[rows, None], -torch.inf)
                best, at = restricted.max(1)
                found[language][0].append(vocabulary[at])
                found[language][1].append(best - normalizer)
        empty = torch.empty(0)
        return {
            language: (torch.cat(ids or [empty.long()]).cpu().numpy(), torch.cat(log_probs or [empty]).cpu().numpy())
            for language, (ids, log_probs) in found.items()
        }
