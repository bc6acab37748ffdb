"""Sentences of an example joined to one sequence with the PLM's special tokens, cut to a maximum length."""

from collections.abc import Callable, Sequence

import torch

from salt_fairseq.modules.encoder import EOS


def truncated_lengths(lengths: Sequence[int], budget: int) -> list[int]:
    """Cut the longest sentence first until ``sum(lengths) <= budget``, as ``tokenizers`` does: where both are cut to half of
    an odd budget, the one that was longer keeps the odd token (of two equally long ones, the second)."""
    lengths = list(lengths)
    if len(lengths) == 1:
        return [min(lengths[0], budget)]
    if sum(lengths) > budget:
        longer = 0 if lengths[0] > lengths[1] else 1
        lengths[1 - longer] = min(lengths[1 - longer], budget // 2)
        lengths[longer] = budget - lengths[1 - longer]
    return lengths


def truncate(sentence: torch.Tensor, length: int) -> torch.Tensor:
    """The first ``length`` tokens of a sentence (T,) that ends with eos, eos last."""
    if len(sentence) <= length:
        return sentence
    return torch.cat([sentence[: length - 1], sentence[-1:]])


class Joiner:
    """``join`` (:meth:`salt_fairseq.plm.Description.join`) of ``sides`` sentences, at most ``max_length`` tokens with specials.

    ``specials`` are the tokens that joining adds; ``budget`` is what is left for the sentences, their eos included.
    """

    def __init__(self, join: Callable[..., torch.Tensor], sides: int, max_length: int):
        self._join = join
        self.specials = len(join(*[torch.tensor([EOS])] * sides)) - sides
        self.budget = max_length - self.specials

    def __call__(self, sentences: Sequence[torch.Tensor]) -> torch.Tensor:
        """LongTensors (T_i,), each ending with eos, to a LongTensor (T,)."""
        lengths = truncated_lengths([len(sentence) for sentence in sentences], self.budget)
        return self._join(*[truncate(sentence, length) for sentence, length in zip(sentences, lengths)])
