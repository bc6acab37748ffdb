"""The labelled files of a run: what they hold, and the part of the training data that is held out for validation."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from preprocess.text.columns import parse_columns
from preprocess.text.labels import parse_labels
from preprocess.text.readers import Example, Reading, TextFile, every_example
from salt_fairseq.errors import InputError
from salt_fairseq.pipeline.settings import Settings
from salt_fairseq.storage.files import replacing

FEWEST = 20  # training examples; fewer leave nothing to validate on


@dataclass(frozen=True)
class TextInput:
    """A file as ``salt binarize`` will read it."""

    path: Path
    sha256: str
    columns: str  # which are read as what
    examples: int
    labels: tuple[str, ...]
    label_names: tuple[str, ...]  # of integer labels, in their order
    characters: float  # of an example, on average

    def __str__(self) -> str:
        many = len(self.labels) > 8
        labels = ", ".join(self.labels[:8]) + (f", ... ({len(self.labels)})" if many else "")
        return f"{self.path}: {self.examples:,} {self.columns}; labels {labels}"


def reading_of(settings: Settings) -> Reading:
    return Reading(
        parse_columns(settings.columns) if settings.columns else {},
        settings.quoting,
        frozenset(settings.missing_label or ()),
        frozenset(parse_labels(settings.labels) if settings.labels else ()),
        settings.delimiter,
        tuple(parse_labels(settings.label_names, "--label-names") if settings.label_names else ()),
    )


def read_examples(path: str, language: str, reading: Reading) -> list[Example]:
    """All examples of a file."""
    return list(every_example(TextFile.open(Path(path), reading), language))


def examine(path: str, language: str, reading: Reading) -> TextInput:
    """Read a whole file once; raises for what ``salt binarize`` would refuse in it."""
    file = TextFile.open(Path(path), reading)
    labels: Counter[str] = Counter()
    characters = 0
    for example in every_example(file, language):
        labels[example.label] += 1
        characters += len(example.sentence1) + len(example.sentence2 or "")
    total = sum(labels.values())
    if not total:
        raise InputError(f"{path} holds no examples: name a file with labelled sentences")
    return TextInput(
        Path(path), file.sha256, str(file.columns), total, tuple(labels), tuple(file.label_names), characters / total
    )


def held_out(examples: list[Example], percent: float, seed: int = 0) -> list[bool]:
    """For each example whether it is held out: about ``percent`` of them.

    Examples with the same first sentence, as XNLI's premises have, stay together, so that validation sees none of training.
    Which ones is decided by the hash of that sentence and ``seed``, not by the order of the file.
    """
    groups = Counter(example.sentence1 for example in examples)
    digests = {sentence: hashlib.sha256(f"{seed} {sentence}".encode()).digest() for sentence in groups}
    left, chosen = round(len(examples) * percent / 100), set()
    for sentence in sorted(groups, key=digests.__getitem__):
        if groups[sentence] <= left:
            chosen.add(sentence)
            left -= groups[sentence]
    return [example.sentence1 in chosen for example in examples]


def hold_out(path: str, language: str, reading: Reading, percent: float, train: Path, valid: Path) -> None:
    """Write the examples of a file as JSONL, the held-out ones to ``valid`` and the others to ``train``."""
    examples = read_examples(path, language, reading)
    chosen = held_out(examples, percent)
    for out, is_valid in ((train, False), (valid, True)):
        write_jsonl([example for example, is_held_out in zip(examples, chosen) if is_held_out == is_valid], out)


def write_jsonl(examples: Iterable[Example], path: Path) -> None:
    """Write examples with the usual names of columns."""
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for example in examples:
            row = {"id": example.id, "sentence1": example.sentence1, "sentence2": example.sentence2, "label": example.label}
            row = {key: value for key, value in row.items() if value is not None}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def percent_of(text: str, examples: int) -> float:
    """``"10%"`` to 10.0, if that leaves something to train and to validate on."""
    try:
        percent = float(text.removesuffix("%"))
    except ValueError:
        percent = 0.0
    if not 0 < percent < 100:
        raise InputError(f"--hold-out {text}: a percentage between 0 and 100 is needed, as in 10%")
    if examples < FEWEST:
        raise InputError(f"--train has only {examples} examples, too few to hold some out: name a file with --valid")
    return percent
