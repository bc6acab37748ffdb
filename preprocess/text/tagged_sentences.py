"""Sentences with a tag for each word, from files in the layouts of :mod:`preprocess.text.tagged_formats`, and their chunks.

A word's tag stays at its first piece; its other pieces, and eos, have none.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from preprocess.text.blocks import Block, blocks_of
from preprocess.text.encoded_blocks import BadText, flat
from preprocess.text.readers import BLANK, REASONS, SAMPLE, UNWRITABLE, Reading, TextFile
from preprocess.text.tagged_formats import Conll, columns_of_keys, format_of, lists_of
from preprocess.text.unpacking import open_unpacked
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import UNK
from salt_fairseq.tokenizer import Tokenizer

UNTAGGED = "without tags"  # why a sentence is skipped: all its tags are missing
MISSING_TAG, NO_LABEL = -2, -1  # of a word, and of a piece that begins none; as indices, the last two of an array
MOST_IN_ONE = 100  # words of a file with one sentence; of PUD's 1,000 English sentences none has more than 60


class TaggedSentence(NamedTuple):
    row: int  # of the block's sentences, from 1
    words: list[str]
    tags: list[str | None]  # None: missing
    lines: list[int]  # on which the words stand


def open_tagged(path: Path, reading: Reading) -> TextFile:
    """The file, in the layout that ``reading.tags`` names or "detect"; its columns are those of the first sentence."""
    if path.is_dir():
        format_of(path, b"", None, {})  # raises
    file = open_unpacked(path)
    layout = None if reading.tags == "detect" else reading.tags
    format = format_of(path, os.pread(file.fileno(), 1 << 16, 0), layout, reading.columns)
    blocks, sha256 = blocks_of(format.prepare(file, path), path)
    text = TextFile(path, format, blocks, sha256, None, reading, reading.label_names)
    columns = format.columns if isinstance(format, Conll) else None
    sample = []
    for number, value in itertools.islice(text.rows(), SAMPLE):
        if not isinstance(format, Conll) and columns is None:
            columns = columns_of_keys(list(value), reading.columns, text.where(number))
        assert columns
        sample.append(lists_of(value, columns, text.where(number)) if columns.names else (value["tokens"], value["tags"]))
    words, tags = ({item for lists in sample for item in lists[at]} for at in (0, 1))
    if len(tags) > len(words):
        raise InputError(
            f"{path}, read as {format.name}, {columns}: {len(tags)} different tags of {len(words)} different words, so this is "
            "hardly the column of tags; name the columns with --columns token=...,tag=..."
        )
    if 2 * sum(len(word.split()) > 2 for word in words) > len(words):
        example = max(words, key=len)[:60]
        raise InputError(f"{path}, read as {format.name}, {columns}: most words are sentences ({example!r}): leave --tags out")
    if len(sample) == 1 and len(sample[0][0]) > MOST_IN_ONE:
        raise InputError(f"{path} is one sentence of {len(sample[0][0]):,} words: blank lines must separate sentences")
    return TextFile(path, format, blocks, sha256, columns, reading, reading.label_names)


def tagged_sentences(file: TextFile, block: Block, skipped: dict[str, int]) -> Iterator[TaggedSentence]:
    """The sentences of a block that have a tag; the others are counted in ``skipped``, by reason."""
    row = 0
    for number, value in file.format.rows(block):
        if value is None:
            skipped[BLANK] += 1
            continue
        row += 1
        assert file.columns
        if file.columns.names:
            words, names = lists_of(value, file.columns, file.where(number))
            lines = [number] * len(words)
        else:
            words, names, lines = value["tokens"], value["tags"], value["lines"]
        tags = [_checked(file, word, tag, line) for word, tag, line in zip(words, names, lines)]
        if any(tag is not None for tag in tags):
            yield TaggedSentence(row, words, tags, lines)
        else:
            skipped[UNTAGGED] += 1


def _checked(file: TextFile, word: str, tag: str, line: int) -> str | None:
    """The tag of a word by its name, None where it is missing."""
    if not word:
        raise InputError(f"{file.where(line)}: a word is empty: correct it")
    if tag in file.reading.missing:
        return None
    if not tag or tag == "_":
        raise InputError(
            f"{file.where(line)}: the word {word[:40]} has no tag ({tag or 'nothing'}); --missing-label {tag or repr(tag)} "
            "reads such words without training on them, or name the columns with --columns token=...,tag=..."
        )
    if UNWRITABLE.search(tag):
        raise InputError(f"{file.where(line)}: the tag {tag!r} holds a line break or half a character: remove it")
    if file.label_names and re.fullmatch(r"\d+", tag):
        if int(tag[:9]) >= len(file.label_names):
            names = ", ".join(file.label_names)
            raise InputError(f"{file.where(line)}: tag {tag} has no name; those from 0 on are {names}")
        return file.label_names[int(tag)]
    return tag


def encode_tagged(file: TextFile, block: Block, tokenizer: Tokenizer) -> tuple[dict, list[np.ndarray]]:
    """The chunk of a block as :func:`~preprocess.text.encoded_blocks.encode_block` makes it, with a label for each id: the
    number of its tag, :data:`MISSING_TAG` or :data:`NO_LABEL`. A word without any piece is read as unknown, so that every word
    keeps its tag."""
    skipped = dict.fromkeys((*REASONS, UNTAGGED), 0)
    try:
        sentences = list(tagged_sentences(file, block, skipped))
    except InputError as error:
        raise BadText(str(error)) from error
    first_lines: dict[str, int] = {}
    for sentence in sentences:
        for tag, line in zip(sentence.tags, sentence.lines):
            if tag is not None:
                first_lines.setdefault(tag, line)
    number: dict[str | None, int] = {tag: i for i, tag in enumerate(first_lines)}
    ids, labels = [], []
    for sentence, pieces in zip(sentences, tokenizer.pieces_of_words([sentence.words for sentence in sentences])):
        pieces = [word or [UNK] for word in pieces]
        ids.append(list(itertools.chain.from_iterable(pieces)))
        for word, tag in zip(pieces, sentence.tags):
            labels += [number.get(tag, MISSING_TAG), *[NO_LABEL] * (len(word) - 1)]
        labels.append(NO_LABEL)  # eos
    rows = len(sentences) + skipped[UNTAGGED]
    facts = {"rows": rows, "skipped": skipped, "ids": [sentence.row for sentence in sentences], "labels": first_lines}
    return facts, [np.array(labels, np.int32), *(flat(ids) if ids else ())]
