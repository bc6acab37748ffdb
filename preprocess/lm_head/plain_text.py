"""Plain text, one sentence per line, as batches of token ids."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from preprocess.text.numbered_lines import numbered_lines
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.data.token_batches import token_batches
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import BOS, EOS
from salt_fairseq.plm import pad
from salt_fairseq.tokenizer import Tokenizer

AT_ONCE = 4096  # lines tokenized together


@dataclass
class Text:
    """Sentences as int32 arrays of ids, bos and eos included, each with the number of its file."""

    sentences: list[np.ndarray]
    files: np.ndarray  # int64 (n,)

    def __len__(self) -> int:
        return len(self.sentences)

    def batches(self, max_tokens: int, generator: torch.Generator | None = None) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield ``(ids LongTensor (B, T), files LongTensor (B,))`` of sentences of similar length, at most ``max_tokens``
        with padding (but at least one sentence): by length, or in random order if a generator is given."""
        lengths = np.array([len(s) for s in self.sentences])
        shuffled = np.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator).numpy()
        order = shuffled[np.argsort(-lengths[shuffled], kind="stable")]
        batches = [order[start:stop] for start, stop in token_batches(lengths[order], max_tokens)]
        numbers = range(len(batches)) if generator is None else torch.randperm(len(batches), generator=generator).tolist()
        for k in numbers:
            ids = pad([torch.from_numpy(self.sentences[i]).long() for i in batches[k]])
            yield ids, torch.from_numpy(self.files[batches[k]])


def read(
    paths: Sequence[str], tokenizer: Tokenizer, most: int, held_out: int, max_length: int, generator: torch.Generator
) -> tuple[Text, Text]:
    """``(training text, held-out text)`` from the first ``most`` lines of each file that are not blank.

    ``held_out`` lines of each file, drawn at random but at most a tenth of them, are not trained on. Lines are cut to
    ``max_length`` tokens, specials included.
    """
    training, held = Text([], np.array([], dtype=np.int64)), Text([], np.array([], dtype=np.int64))
    for number, path in enumerate(paths):
        sentences = _read_file(path, tokenizer, most, max_length)
        if len(sentences) < 2:
            raise InputError(f"{path} holds {'one line' if sentences else 'no text'}: give more, one sentence per line")
        order = torch.randperm(len(sentences), generator=generator)
        chosen = set(order[: max(1, min(held_out, len(sentences) // 10))].tolist())
        for text, is_held in ((training, False), (held, True)):
            part = [sentence for i, sentence in enumerate(sentences) if (i in chosen) == is_held]
            text.sentences += part
            text.files = np.append(text.files, np.full(len(part), number))
    return training, held


def _read_file(path, tokenizer, most, max_length):
    texts = itertools.islice((text for _, line in numbered_lines(path) if (text := line.strip())), most)
    sentences: list[np.ndarray] = []
    with progress_bar(desc=f"reading {Path(path).name}", unit=" lines", unit_scale=True) as progress:
        while some := list(itertools.islice(texts, AT_ONCE)):
            sentences += [np.array([BOS, *ids[: max_length - 2], EOS], dtype=np.int32) for ids in tokenizer(some)]
            progress.update(len(some))
    return sentences
