"""Plain text, one sentence a line, as batches of token ids."""

import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import BOS, EOS
from salt_fairseq.plm import pad
from salt_fairseq.storage.text_lines import text_lines

AT_ONCE = 4096  # lines tokenized together


def lines(path):
    """The lines of a UTF-8 text file, plain or ``.xz``, that are not blank, stripped."""
    try:
        with lzma.open(path) if Path(path).suffix == ".xz" else open(path, "rb") as file:
            for _, line in text_lines(file, path):
                if line := line.strip():
                    yield line
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text ({error}): give text files, one sentence a line") from None


@dataclass
class Text:
    """Sentences as int32 arrays of ids, bos and eos included, and the number of the file that each is from."""

    sentences: list
    files: np.ndarray  # int64 (n,)

    def __len__(self):
        return len(self.sentences)

    def batches(self, max_tokens, generator=None):
        """Yield ``(ids LongTensor (B, T), files LongTensor (B,))`` of sentences of similar length, at most ``max_tokens``
        with padding (but at least one sentence): in order of length, or, with a generator, in random order."""
        lengths = np.array([len(s) for s in self.sentences])
        shuffled = np.arange(len(self)) if generator is None else torch.randperm(len(self), generator=generator).numpy()
        order, found, start = shuffled[np.argsort(-lengths[shuffled], kind="stable")], [], 0
        while start < len(order):
            size = max(1, max_tokens // int(lengths[order[start]]))
            found.append(order[start : start + size])
            start += size
        numbers = range(len(found)) if generator is None else torch.randperm(len(found), generator=generator).tolist()
        for k in numbers:
            ids = pad([torch.from_numpy(self.sentences[i]).long() for i in found[k]])
            yield ids, torch.from_numpy(self.files[found[k]])


def read(paths, tokenizer, most, held_out, max_length, generator):
    """``(training Text, held-out Text)`` of the first ``most`` lines of each file.

    ``held_out`` lines of each file, drawn at random but at most a tenth of them, train nothing. Lines are cut after
    ``max_length`` tokens, specials included.
    """
    parts = ([], []), ([], [])  # (sentences, files) of training and of held-out text
    for number, path in enumerate(paths):
        sentences, waiting = [], []
        with tqdm(desc=f"reading {Path(path).name}", unit=" lines", unit_scale=True) as progress:
            for line in lines(path):
                waiting.append(line)
                if len(waiting) == AT_ONCE or len(sentences) + len(waiting) == most:
                    sentences += _encoded(tokenizer, waiting, max_length)
                    progress.update(len(waiting))
                    waiting = []
                if len(sentences) == most:
                    break
            sentences += _encoded(tokenizer, waiting, max_length)
            progress.update(len(waiting))
        if len(sentences) < 2:
            raise InputError(f"{path} holds {'one line' if sentences else 'no text'}: give more, one sentence a line")
        held = set(torch.randperm(len(sentences), generator=generator)[: max(1, min(held_out, len(sentences) // 10))].tolist())
        for i, sentence in enumerate(sentences):
            of = parts[i in held]
            of[0].append(sentence)
            of[1].append(number)
    return [Text(sentences, np.array(files)) for sentences, files in parts]


def _encoded(tokenizer, texts, max_length):
    return [np.array([BOS, *ids[: max_length - 2], EOS], dtype=np.int32) for ids in tokenizer(texts)]
