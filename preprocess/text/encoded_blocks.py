"""A block of examples as a chunk of token ids: the unit of work that is done in parallel and resumed."""

import itertools
from collections.abc import Sequence

import numpy as np

from preprocess.text.blocks import Block
from preprocess.text.readers import Examples, TextFile
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import EOS
from salt_fairseq.tokenizer import Tokenizer


class BadText(InputError):
    """The text files are such that no run can make a data directory from them."""


def mixed(file: TextFile) -> BadText:
    return BadText(f"{file.path}: some examples have one sentence, others two")


def encode_block(file: TextFile, block: Block, language: str, tokenizer: Tokenizer) -> tuple[dict, list[np.ndarray]]:
    """The chunk ``(facts, arrays)`` of a block, all arrays int32.

    The facts are the number of rows, the rows skipped by reason, the ids as in ``Example``, and the first line of each label.
    The arrays are the number of each example's label among these and, for each side, the sizes of its sentences and
    their ids one after another, eos included. Each distinct sentence is tokenized once, because premises are repeated.
    """
    reader, examples, failure = Examples(file, block, language), [], None
    try:
        for example in reader:
            examples.append(example)
    except InputError as error:
        failure = error  # raised below, unless an earlier line has a fault of its own
    if len({example.sentence2 is None for example in examples}) > 1:
        raise mixed(file)
    first, second = ([getattr(example, name) for example in examples] for name in ("sentence1", "sentence2"))
    sides: list[list[str]] = [side for side in (first, second) if side and side[0] is not None]
    distinct = list(dict.fromkeys(itertools.chain(*sides)))
    ids_of = dict(zip(distinct, tokenizer(distinct)))
    if not all(ids_of.values()):
        at = next(i for i, sentences in enumerate(zip(*sides)) if not all(ids_of[sentence] for sentence in sentences))
        raise BadText(f"{file.where(examples[at].line)}: the sentence has no visible character")
    if failure:
        raise BadText(str(failure)) from failure
    lines: dict[str, int] = {}
    for example in examples:
        lines.setdefault(example.label, example.line)
    number = {label: i for i, label in enumerate(lines)}
    labels = np.fromiter((number[example.label] for example in examples), np.int32, len(examples))
    facts = {"rows": reader.rows, "skipped": reader.skipped, "ids": [example.id for example in examples], "labels": lines}
    return facts, [labels, *(array for side in sides for array in flat([ids_of[sentence] for sentence in side]))]


def flat(sentences: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Sizes and ids of sentences, lists of ids, each followed by eos."""
    sizes = np.fromiter(map(len, sentences), np.int32, len(sentences)) + np.int32(1)
    ids = np.full(sizes.sum(), EOS, np.int32)
    inside = np.ones(len(ids), dtype=bool)
    inside[np.cumsum(sizes) - 1] = False
    ids[inside] = np.fromiter(itertools.chain.from_iterable(sentences), np.int32, len(ids) - len(sentences))
    return sizes, ids
