"""The files of one subset of a data directory, written chunk after chunk."""

import contextlib
from collections import Counter
from pathlib import Path

import numpy as np

from preprocess.text.encoded_blocks import BadText, mixed
from preprocess.text.labels import check_others, check_plausible, unknown_label
from preprocess.text.readers import UNDECIDED, TextFile, every_example
from preprocess.text.tagged_sentences import MISSING_TAG, NO_LABEL
from salt_fairseq.data.directory import FIRST_LABEL, MISSING, UNLABELLED, inputs_of
from salt_fairseq.storage.files import sha256
from salt_fairseq.storage.indexed_data import IndexedWriter, write_flat


class SubsetWriter:
    """Writes the chunks of :func:`~preprocess.text.encoded_blocks.encode_block`, or of
    :func:`~preprocess.text.tagged_sentences.encode_tagged`, in the order of their blocks.

    ``is_pairs`` is None before the first example; ``counts`` has the labels in the order of their first examples.
    """

    def __init__(self, directory: Path, name: str, file: TextFile, language: str, dtype: type):
        self.is_pairs: bool | None = None
        self.counts: Counter[str] = Counter()
        self.file, self.is_tagged = file, file.reading.tags is not None
        self._directory, self._name, self._language, self._dtype = directory, name, language, dtype
        self._skipped: Counter[str] = Counter()
        self._rows = 0
        self._first_lines: dict[str, int] = {}  # of each label
        self._targets: list[np.ndarray] = []  # the number of each label, MISSING_TAG or NO_LABEL
        self._target_sizes: list[np.ndarray] = []  # labels of each example
        self._hashes: list[np.ndarray] = []
        self._inputs: list[IndexedWriter] = []
        self._open = contextlib.ExitStack()

    def __enter__(self):
        for part in ("id", "label"):
            (self._directory / part).mkdir(parents=True, exist_ok=True)
        self._ids = self._open.enter_context(open(self._directory / "id" / f"{self._name}.txt", "w", encoding="utf-8"))
        return self

    def add(self, facts: dict, arrays: list[np.ndarray]) -> None:
        """Write a chunk."""
        labels, *inputs = arrays
        if len(labels):
            self._add_inputs(list(zip(inputs[::2], inputs[1::2])))
        ids = [str(self._rows + id) if isinstance(id, int) else id for id in facts["ids"]]
        self._ids.writelines(f"{id}\n" for id in ids)
        self._hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
        for label, line in facts["labels"].items():
            self._first_lines.setdefault(label, line)
        number = {label: i for i, label in enumerate(self._first_lines)}
        self._targets.append(np.array([*(number[label] for label in facts["labels"]), MISSING_TAG, NO_LABEL], np.int32)[labels])
        self._target_sizes.append(inputs[0] if len(labels) and self.is_tagged else np.ones_like(labels))
        self.counts.update(dict(zip(facts["labels"], np.bincount(labels[labels >= 0]).tolist())))
        self._skipped.update(facts["skipped"])
        self._rows += facts["rows"]

    def _add_inputs(self, inputs):
        if self.is_pairs is None:
            self.is_pairs = len(inputs) > 1
            for side in inputs_of(self.is_pairs):
                (self._directory / side).mkdir(exist_ok=True)
                self._inputs.append(self._open.enter_context(IndexedWriter(self._directory / side / self._name, self._dtype)))
        if self.is_pairs != (len(inputs) > 1):
            raise mixed(self.file)
        for writer, (sizes, ids) in zip(self._inputs, inputs):
            writer.write(sizes, ids)

    def __exit__(self, kind, *error):
        self._open.__exit__(kind, *error)
        if kind is None:
            self._check()

    def _check(self):
        """Raise for faults that show only once all chunks are there: no examples at all, or an id that occurs twice."""
        unit = self.file.format.unit
        if self.is_pairs is None:
            raise BadText(f"{self.file.path} holds no examples" + ("" if self._rows else f" in language {self._language!r}"))
        hashes = np.sort(np.concatenate(self._hashes))  # 8 bytes per id instead of the ids themselves
        self._hashes.clear()
        suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
        seen: dict[str | int, int] = {}  # id to line
        for example in every_example(self.file, self._language) if suspects and not self.is_tagged else ():
            if hash(example.id) in suspects and (line := seen.setdefault(example.id, example.line)) != example.line:
                raise BadText(f"{self.file.where(example.line)}: id {example.id} stands on {unit} {line} already")

    def check_plausible(self) -> None:
        """Raise unless the labels can be those of a training set."""
        check_plausible(self.counts, self._first_lines, self._skipped[UNDECIDED], self.file)

    def check_others(self) -> None:
        """Raise unless the labels, which are known ones, can be those of another subset."""
        check_others(self.counts, self._skipped[UNDECIDED], self.file)

    def check_labels(self, labels: list[str]) -> None:
        for label, line in self._first_lines.items():
            if label not in labels:
                raise BadText(f"{self.file.where(line)}: {unknown_label(label, labels)}")

    def write_labels(self, labels: list[str]) -> dict:
        """Write the last file, once the order of the labels is known; returns the subset's entry in ``meta.json``."""
        self.check_labels(labels)
        number = np.array([*(labels.index(label) + FIRST_LABEL for label in self._first_lines), MISSING, UNLABELLED], np.int32)
        targets, sizes = number[np.concatenate(self._targets)], np.concatenate(self._target_sizes)
        write_flat(self._directory / "label" / self._name, [(sizes, targets)], np.uint16)
        sides = inputs_of(bool(self.is_pairs))
        return {
            "file": str(self.file.path),
            "format": self.file.format.name,
            "columns": str(self.file.columns),
            "skipped": dict(self._skipped),
            "examples": len(sizes),
            **({"words": sum(self.counts.values())} if self.is_tagged else {}),
            "examples_by_label": {label: self.counts[label] for label in labels},
            "tokens": sum(writer.elements for writer in self._inputs),
            "sha256": {side: sha256(self._directory / side / f"{self._name}.bin") for side in sides},
        }
