"""Tags for the words of your own sentences: CoNLL (a word on each line, and a blank line after each sentence) or JSONL."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, BinaryIO

import numpy as np
import torch

from salt_fairseq.cli.printable import printable
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.data.joining import Joiner
from salt_fairseq.data.segments import bounds
from salt_fairseq.data.sentence_rows import WHERE, json_object
from salt_fairseq.errors import InputError
from salt_fairseq.inference import InUse, batched_logits
from salt_fairseq.modules.encoder import EOS, UNK
from salt_fairseq.storage.text_lines import text_lines

CHUNK = 2000  # sentences that are sorted by length together
KEYS = ("tokens", "words")
PREDICTION = "prediction"
CONLLU_COLUMNS = 10


@dataclass
class Words:
    """A sentence of the input. ``lines`` are those of CoNLL, ``value`` is the object of JSONL."""

    words: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    value: dict[str, Any] | None = None


def read_words(file: BinaryIO) -> Iterator[Words]:
    """The sentences of a binary file; errors name the line. The first line decides: an object is JSONL, else each line is a
    word, with further columns after a tab, and blank lines end sentences."""
    sentence, is_json = Words(), False
    for number, line in text_lines(file, WHERE):
        where = f"{WHERE}, line {number}"
        if number == 1:
            is_json = json_object(line) is not None
        if is_json:
            yield _of_object(line, where)
        elif line.strip():
            sentence.words.append(_word(line, where))
            sentence.lines.append(line)
        elif sentence.words:
            yield sentence
            sentence = Words()
    if sentence.words:
        yield sentence


def _word(line: str, where: str) -> str:
    cells = line.split("\t")
    if len(cells) == CONLLU_COLUMNS and cells[0].isdecimal():
        raise InputError(f"{where}: CoNLL-U numbers its words: give their column alone, grep -v '^#' FILE | cut -f2")
    word = cells[0].strip()
    if len(cells) == 1 and len(word.split(" ")) > 1:
        raise InputError(f"{where}: the line has blanks: one word on each line is needed, and further columns after a tab")
    if not word:
        raise InputError(f"{where}: the word is empty")
    return word


def _of_object(line: str, where: str) -> Words:
    value = json_object(line) or {}
    words = next((value[key] for key in KEYS if key in value), None)
    if not isinstance(words, list) or not words or not all(isinstance(word, str) and word.strip() for word in words):
        raise InputError(f"{where}: a JSON object with a list of words, {' or '.join(KEYS)}, is needed, as in line 1")
    if PREDICTION in value:
        raise InputError(f"{where}: {PREDICTION} is a key of the input already: rename it")
    return Words([word.strip() for word in words], [], value)


class Tagger(InUse):
    """A checkpoint that tags words, in use. Long sentences are read in parts of the training's length, so that every word has a
    tag."""

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[Sequence[str]]) -> list[list[int]]:
        """The number of each word's label, in order."""
        joiner = Joiner(self.join, 1, self.max_length)
        tokens: list[torch.Tensor] = []
        words: list[np.ndarray] = []  # of each of them, the places of its words
        parts = []  # of each sentence
        for pieces in self.tokenizer.pieces_of_words(sentences):
            pieces = [word or [UNK] for word in pieces]
            ids = torch.tensor(list(chain.from_iterable(pieces)))
            starts = np.cumsum([0, *map(len, pieces)])[:-1]
            segments = bounds(starts, len(ids), joiner.budget - 1)
            parts.append(range(len(tokens), len(tokens) + len(segments)))
            for start, end in segments:
                tokens.append(joiner([torch.cat([ids[start:end], torch.tensor([EOS])])]))
                words.append(starts[(starts >= start) & (starts < end)] - start + 1)  # after bos
        labels: list[list[int]] = [[] for _ in tokens]
        for batch, logits in batched_logits(self.model, tokens, self.max_tokens):
            best = logits.argmax(-1).cpu().numpy()
            for row, i in enumerate(batch):
                labels[i] = best[row, words[i]].tolist()
        return [list(chain.from_iterable(labels[i] for i in part)) for part in parts]


def predict_tags(tagger: Tagger, labels: Sequence[str], sentences: Iterator[Words], jsonl: bool, out: BinaryIO) -> int:
    """Write the tags of the words of ``sentences`` to ``out``, in order: as a further column of CoNLL, or in a list of the JSON
    object; returns the number of sentences."""
    total = 0
    with progress_bar(desc="predicting", unit=" sentences") as progress:
        while chunk := list(islice(sentences, CHUNK)):
            text = []
            for sentence, numbers in zip(chunk, tagger([sentence.words for sentence in chunk])):
                tags = [labels[number] for number in numbers]
                if jsonl or sentence.value is not None:
                    value = {**(sentence.value or {"tokens": sentence.words}), PREDICTION: tags}
                    text.append(json.dumps(value, ensure_ascii=False) + "\n")
                else:
                    text += [f"{line}\t{printable(tag)}\n" for line, tag in zip(sentence.lines, tags)] + ["\n"]
            out.write("".join(text).encode("utf-8", "backslashreplace"))
            out.flush()
            total += len(chunk)
            progress.update(len(chunk))
    return total
