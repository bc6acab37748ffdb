"""Blocks of examples become pieces of token ids, and pieces the files of a subset."""

import contextlib
import itertools
from collections import Counter

import numpy as np

from preprocess.text.readers import Examples, every_example
from salt_fairseq.data.directory import FIRST_LABEL, INPUTS
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import EOS
from salt_fairseq.storage.files import sha256
from salt_fairseq.storage.indexed_data import IndexedWriter, write_flat


class BadText(InputError):
    """Of files of examples as they are, no run can make a data directory."""


def piece_of(file, block, language, tokenizer):
    """What is stored of a block of a :class:`~preprocess.text.readers.TextFile`: ``(facts, arrays)``, int32 arrays.

    The facts are the number of its rows, those skipped, the ids as in Example, and the first line of each label. The arrays
    are the number of each example's label among these, and for each sentence of a pair the sizes and the ids one after
    another, eos included. Each distinct sentence is tokenized once: premises stand there several times.
    """
    found, examples, failure = Examples(file, block, language), [], None
    try:
        for example in found:
            examples.append(example)
    except InputError as error:
        failure = error
    if len({example.sentence2 is None for example in examples}) > 1:
        raise _mixed(file)
    sides = [[example.sentence1 for example in examples], [example.sentence2 for example in examples]]
    sides = [side for side in sides if side and side[0] is not None]
    distinct = list(dict.fromkeys(itertools.chain(*sides)))
    ids_of = dict(zip(distinct, tokenizer(distinct)))
    if not all(ids_of.values()):
        at = next(i for i, pair in enumerate(zip(*sides)) if not all(ids_of[sentence] for sentence in pair))
        raise BadText(f"{file.path}, line {examples[at].line}: the sentence has no visible character")
    if failure:
        raise BadText(str(failure)) from failure
    lines = {}
    for example in examples:
        lines.setdefault(example.label, example.line)
    number = {label: i for i, label in enumerate(lines)}
    labels = np.fromiter((number[example.label] for example in examples), np.int32, len(examples))
    facts = {"rows": found.rows, "skipped": found.skipped, "ids": [example.id for example in examples], "labels": lines}
    return facts, [labels, *(array for side in sides for array in _flat([ids_of[sentence] for sentence in side]))]


def _flat(found):
    """Sizes and ids of lists of ids, each with eos at its end."""
    sizes = np.fromiter(map(len, found), np.int32, len(found)) + np.int32(1)
    ids = np.full(sizes.sum(), EOS, np.int32)
    inside = np.ones(len(ids), dtype=bool)
    inside[np.cumsum(sizes) - 1] = False
    ids[inside] = np.fromiter(itertools.chain.from_iterable(found), np.int32, len(ids) - len(found))
    return sizes, ids


def _mixed(file):
    return BadText(f"{file.path}: some examples have one sentence, others two")


class SubsetWriter:
    """A subset of a data directory as it is written, piece after piece.

    ``is_pairs`` is None before the first example; ``counts`` has the labels in the order of their first examples.
    """

    def __init__(self, directory, name, file, language, dtype):
        self.is_pairs, self.counts, self.skipped, self._rows = None, Counter(), Counter(), 0
        self._directory, self._name, self.file, self._language, self._dtype = directory, name, file, language, dtype
        self._targets, self._first_lines, self._hashes, self._inputs = [], {}, [], []
        self._open = contextlib.ExitStack()

    def __enter__(self):
        for part in ("id", "label"):
            (self._directory / part).mkdir(parents=True, exist_ok=True)
        self._ids = self._open.enter_context(open(self._directory / "id" / f"{self._name}.txt", "w", encoding="utf-8"))
        return self

    def add(self, facts, arrays):
        """Write a piece."""
        labels, *inputs = arrays
        if len(labels):
            self._add_inputs(list(zip(inputs[::2], inputs[1::2])))
        ids = [str(self._rows + id) if isinstance(id, int) else id for id in facts["ids"]]
        self._ids.writelines(f"{id}\n" for id in ids)
        self._hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
        for label, line in facts["labels"].items():
            self._first_lines.setdefault(label, line)
        number = {label: i for i, label in enumerate(self._first_lines)}
        self._targets.append(np.array([number[label] for label in facts["labels"]], np.int32)[labels])
        self.counts.update(dict(zip(facts["labels"], np.bincount(labels).tolist())))
        self.skipped.update(facts["skipped"])
        self._rows += facts["rows"]

    def _add_inputs(self, inputs):
        if self.is_pairs is None:
            self.is_pairs = len(inputs) > 1
            for side in INPUTS[: len(inputs)]:
                (self._directory / side).mkdir(exist_ok=True)
                self._inputs.append(self._open.enter_context(IndexedWriter(self._directory / side / self._name, self._dtype)))
        if self.is_pairs != (len(inputs) > 1):
            raise _mixed(self.file)
        for writer, (sizes, ids) in zip(self._inputs, inputs):
            writer.write(sizes, ids)

    def __exit__(self, kind, *error):
        self._open.__exit__(kind, *error)
        if kind is None:
            self._check()

    def _check(self):
        """What can only be said of all pieces."""
        path = self.file.path
        if self.is_pairs is None:
            raise BadText(f"{path} holds no examples" + ("" if self._rows else f" in language {self._language!r}"))
        hashes = np.sort(np.concatenate(self._hashes))  # 8 bytes for each id instead of all ids
        self._hashes.clear()
        suspects, seen = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist()), {}
        for example in every_example(self.file, self._language) if suspects else ():
            if hash(example.id) in suspects and (line := seen.setdefault(example.id, example.line)) != example.line:
                raise BadText(f"{path}, line {example.line}: id {example.id} stands on line {line} already")

    def check_labels(self, labels):
        for label, line in self._first_lines.items():
            if label not in labels:
                raise BadText(f"{self.file.path}, line {line}: label {label!r} is none of {', '.join(labels)}")

    def write_labels(self, labels):
        """Write the last file of the subset, now that the order of labels is known; returns its entry of ``meta.json``."""
        self.check_labels(labels)
        number = np.array([labels.index(label) + FIRST_LABEL for label in self._first_lines], np.int32)
        targets = number[np.concatenate(self._targets)]
        write_flat(self._directory / "label" / self._name, [(np.ones_like(targets), targets)], np.uint16)
        sides = INPUTS[: len(self._inputs)]
        return {
            "file": str(self.file.path),
            "skipped": dict(self.skipped),
            "examples": len(targets),
            "tokens": sum(writer.elements for writer in self._inputs),
            "sha256": {side: sha256(self._directory / side / f"{self._name}.bin") for side in sides},
        }
