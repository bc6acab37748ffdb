"""BERT's masking (Devlin et al., 2019), with every fraction of it an option."""

from dataclasses import dataclass

import torch

from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import UNK


@dataclass(frozen=True)
class Masking:
    """The fraction ``selected`` of the tokens is to be predicted; of these, the fraction ``masked`` is replaced by <mask>,
    ``random`` by a random piece, and the rest is kept. Special tokens are never selected."""

    selected: float
    masked: float
    random: float

    def __post_init__(self):
        fractions = self.selected, self.masked, self.random, self.masked + self.random
        if not all(0 <= fraction <= 1 for fraction in fractions):
            raise InputError(
                f"masking fractions {self.selected:g} selected, {self.masked:g} masked, {self.random:g} random: "
                "each, and the sum of the last two, must be between 0 and 1"
            )

    def __call__(self, tokens: torch.Tensor, vocabulary: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """LongTensor (B, T) of ids to ``(what the PLM reads, LongTensor (B, T); selected, BoolTensor (B, T))``.

        Drawn from ``generator``, on the CPU. <mask> is the last of the ``vocabulary`` ids.
        """
        select, how = torch.rand(2, *tokens.shape, generator=generator)
        selected = is_text(tokens, vocabulary) & (select < self.selected)
        pieces = torch.randint(UNK + 1, vocabulary - 1, tokens.shape, generator=generator)
        read = tokens.masked_fill(selected & (how < self.masked), vocabulary - 1)
        return torch.where(selected & (how >= self.masked) & (how < self.masked + self.random), pieces, read), selected


def is_text(tokens: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """BoolTensor: which ids are neither bos, pad, eos, unk nor <mask>."""
    return (tokens > UNK) & (tokens < vocabulary - 1)
