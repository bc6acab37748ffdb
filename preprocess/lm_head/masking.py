"""BERT's masking (Devlin et al., 2019), every share of it free."""

from dataclasses import dataclass

import torch

from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import UNK


@dataclass(frozen=True)
class Masking:
    """``selected`` of the tokens are to be predicted; of these the share ``masked`` is replaced by <mask>, the share
    ``random`` by a random piece, and the rest is kept. Specials are never selected."""

    selected: float
    masked: float
    random: float

    def __post_init__(self):
        shares = self.selected, self.masked, self.random, self.masked + self.random
        if not all(0 <= share <= 1 for share in shares):
            raise InputError(
                f"masking shares {self.selected:g} selected, {self.masked:g} masked, {self.random:g} random: "
                "each, and the sum of the last two, must be between 0 and 1"
            )

    def __call__(self, tokens, vocabulary, generator):
        """LongTensor (B, T) of ids to ``(what the PLM reads, LongTensor (B, T); selected, BoolTensor (B, T))``.

        Drawn from ``generator``, on the CPU. <mask> is the last of ``vocabulary`` ids.
        """
        select, how = torch.rand(2, *tokens.shape, generator=generator)
        selected = is_text(tokens, vocabulary) & (select < self.selected)
        pieces = torch.randint(UNK + 1, vocabulary - 1, tokens.shape, generator=generator)
        read = tokens.masked_fill(selected & (how < self.masked), vocabulary - 1)
        return torch.where(selected & (how >= self.masked) & (how < self.masked + self.random), pieces, read), selected


def is_text(tokens, vocabulary):
    """BoolTensor: ids that are neither bos, pad, eos, unk nor <mask>."""
    return (tokens > UNK) & (tokens < vocabulary - 1)
