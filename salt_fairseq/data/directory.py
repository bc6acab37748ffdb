"""A data directory: subsets of binarized sentence pairs, their labels, ids and origin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from salt_fairseq.data.joined import JoinedSequences, Sentences
from salt_fairseq.data.subset import Subset, source_languages
from salt_fairseq.errors import InputError
from salt_fairseq.storage.indexed_data import IndexedSequences, load_indexed
from salt_fairseq.storage.manifest import MANIFEST, Manifest, read_verified

if TYPE_CHECKING:
    from fairseq.data import Dictionary

    from salt_fairseq.plm import Description

INPUTS = ("input0", "input1")
FIRST_LABEL = 4  # as in fairseq's Dictionary, whose four specials stand before the labels
UNLABELLED = 1  # stored in the place of a token's label: fairseq's padding
MISSING = 3  # stored in the place of a word's label, if it alone has none: fairseq's unknown
IGNORED = -100  # the same in batches, as torch's cross-entropy has it
SENTENCES, TOKENS = "sentences", "tokens"  # what is labelled, each example or each of its tokens
SHAPE = {  # of what meta.json must say
    "labels": [str],
    "source_language": str,
    "plm": {"name": str, "vocabulary_sha256": str, "special_tokens": dict.fromkeys(("bos", "pad", "eos", "unk", "mask"), str)},
    "subsets": {str: {"examples": int, "sha256": {str: str}}},
}


def inputs_of(is_pairs: bool) -> tuple[str, ...]:
    """Names of the inputs that hold the sentences of each example."""
    return INPUTS if is_pairs else INPUTS[:1]


class TokenLabels:
    """The labels of the tokens of ``len()`` sentences: item i is a LongTensor (T,) for sentence i, eos included, with
    :data:`IGNORED` in the place of tokens without a label."""

    def __init__(self, stored: Sentences):
        self.stored = stored

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, i: int) -> torch.Tensor:
        labels = self.stored[i]
        return torch.where(labels < FIRST_LABEL, IGNORED, labels - FIRST_LABEL)

    def words(self, i: int) -> np.ndarray:
        """The first tokens of the words of sentence i, int64 (W,), ascending; those with a missing tag are among them."""
        return np.flatnonzero(self.stored[i] != UNLABELLED)


class Examples(NamedTuple):
    """Example i has row ``rows[k][i]`` of ``inputs[k]`` for its sentence k, and label ``targets[i]``, or such a label for each
    of its tokens."""

    inputs: Sequence[Sentences]
    rows: list[np.ndarray]  # of each input int64 (N,)
    targets: np.ndarray | TokenLabels  # int64 (N,)


def _joined(parts: list[Examples]) -> Examples:
    """The examples of several subsets, one after another."""
    inputs, rows = [], []
    for k in range(len(parts[0].inputs)):
        sentences = JoinedSequences([part.inputs[k] for part in parts])
        starts = np.cumsum([0, *map(len, sentences.parts)])
        rows.append(np.concatenate([part.rows[k] + start for part, start in zip(parts, starts)]))
        inputs.append(sentences)
    of_tokens = [part.targets.stored for part in parts if isinstance(part.targets, TokenLabels)]
    if of_tokens:
        return Examples(inputs, rows, TokenLabels(JoinedSequences(of_tokens)))
    return Examples(inputs, rows, np.concatenate([np.asarray(part.targets) for part in parts]))


class DataDirectory:
    """What ``preprocess/binarize.py`` wrote."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._manifest = Manifest(self.path, "preprocess/binarize.py", SHAPE)
        self.meta = self._manifest.values
        self._sentences: dict[tuple[str, str], IndexedSequences] = {}

    @cached_property
    def dictionary(self) -> "Dictionary":
        """The PLM's vocabulary with the ids of the data."""
        self._manifest.verify("input0/dict.txt")
        from fairseq.data import Dictionary  # imports all of fairseq, which takes seconds

        special = self.meta["plm"]["special_tokens"]
        dictionary = Dictionary(bos=special["bos"], pad=special["pad"], eos=special["eos"], unk=special["unk"])
        dictionary.add_from_file(str(self.path / "input0" / "dict.txt"))
        dictionary.add_symbol(special["mask"])
        return dictionary

    @property
    def labels(self) -> list[str]:
        """Names of the labels, in the order of their numbers."""
        return self.meta["labels"]

    @property
    def has_token_labels(self) -> bool:
        """Whether the tokens of each example are labelled, and not the example."""
        return self.meta.get("labelled") == TOKENS

    @property
    def is_pairs(self) -> bool:
        return (self.path / "input1").is_dir()

    @property
    def sides(self) -> tuple[str, ...]:
        """``("input0", "input1")``, or of single sentences ``("input0",)``."""
        return inputs_of(self.is_pairs)

    @property
    def source_languages(self) -> tuple[str, ...]:
        """Those of the training data, mostly one."""
        return source_languages(self.meta["source_language"])

    def language(self, subset: str) -> str:
        """The language of a stored subset (its premises, and its hypotheses)."""
        return Subset.parse(subset).pair(self.meta["source_language"])[0]

    def parts(self, name: str) -> list[str]:
        """The stored subsets that ``name`` stands for: with source languages en and de, ``train`` is ``train.en`` and
        ``train.de``. Names separated by commas stand for all of theirs."""
        parts = []
        for one in name.split(","):
            own = [f"{one}.{language}" for language in self.source_languages]
            parts += own if one not in self.meta["subsets"] and self.meta["subsets"].keys() >= set(own) else [one]
        return parts

    def ids(self, subset: str) -> list[str]:
        """The examples' ids: equal ids are the same example in another language."""
        ids = []
        for part in self.parts(subset):
            self._manifest.verify(f"id/{part}.txt")
            ids += (self.path / "id" / f"{part}.txt").read_text(encoding="utf-8").split("\n")[:-1]
        return ids

    def sentences(self, subset: str, side: str) -> IndexedSequences:
        """The stored sentences, the same object each time: the generalized setting asks for them again and again."""
        if (subset, side) not in self._sentences:
            self._sentences[subset, side] = load_indexed(self._manifest, f"{side}/{subset}")
        return self._sentences[subset, side]

    def targets(self, subset: str) -> np.ndarray | TokenLabels:
        """int64 (N,): the label of each example; or the labels of the tokens of each."""
        stored = load_indexed(self._manifest, f"label/{subset}")
        return TokenLabels(stored) if self.has_token_labels else stored.elements.astype(np.int64) - FIRST_LABEL

    def checksums(self, subset: str, substitutes: Iterable[str] = ()) -> dict[str, str]:
        """Those of a subset's sentences and labels, wherever the directory lies, and of all files of directories in it, such
        as ``candidates/fr``."""
        files, sides = self._manifest.values["files"], (*self.sides, "label")
        names = [f"{side}/{part}.bin" for part in self.parts(subset) for side in sides]
        made = {part: read_verified(self.path / part / MANIFEST, "the preprocessing")["files"] for part in substitutes}
        substituted = {f"{part}/{name}": checksum for part, names in made.items() for name, checksum in names.items()}
        return {name: files[name] for name in names if name in files} | substituted

    def stored_subsets(self, name: str) -> tuple[str, str]:
        """The subsets that hold the premises and the hypotheses: ``test.en`` and ``test.de`` for ``test.en-de``."""
        split, languages = Subset.parse(name)
        if len(languages) < 2:
            return name, name
        if len(languages) > 2 or not self.is_pairs:
            raise InputError(f"{name!r}: the generalized setting takes two languages and sentence pairs")

        def stored(language: str) -> str:  # a split without a language is in the source language
            subset, known = f"{split}.{language}", self.meta["subsets"]
            return split if language == self.meta["source_language"] and subset not in known and split in known else subset

        return stored(languages[0]), stored(languages[1])

    def load(self, name: str) -> Examples:
        """The examples of a subset, or of several, one after another, as :meth:`parts` names them.

        ``test.en-de`` has the premises of ``test.en`` with the hypotheses of ``test.de`` (the generalized setting),
        paired by id; examples that only one of the two has are left out.
        """
        parts = self.parts(name)
        if len(parts) > 1:
            return _joined([self.load(part) for part in parts])
        subsets = self.stored_subsets(parts[0])
        for subset in subsets:
            if subset not in self.meta["subsets"]:
                raise InputError(f"{self.path} has no subset {subset!r}; it has {', '.join(self.meta['subsets'])}")
        inputs = [self.sentences(subset, side) for subset, side in zip(subsets, self.sides)]
        self._manifest.verify(*(f"id/{subset}.txt" for subset in subsets))  # used or not: a damaged subset is damaged
        if subsets[0] == subsets[1]:
            targets = self.targets(subsets[0])
            return Examples(inputs, [np.arange(len(targets))] * len(inputs), targets)
        return Examples(inputs, *self._paired(subsets))

    def _paired(self, subsets: tuple[str, str]) -> tuple[list[np.ndarray], np.ndarray]:
        """Rows and labels of the examples that both subsets have, paired by id."""
        places = [{id: i for i, id in enumerate(self.ids(subset))} for subset in subsets]
        shared = [id for id in places[0] if id in places[1]]
        rows = [np.array([place[id] for id in shared], dtype=np.int64) for place in places]
        targets, others = (np.asarray(self.targets(subset))[chosen] for subset, chosen in zip(subsets, rows))
        different = np.flatnonzero(targets != others)
        if len(different):
            raise InputError(
                f"{self.path}: example {shared[different[0]]} has different labels in {subsets[0]} "
                f"and {subsets[1]}, so its ids do not name the same examples"
            )
        return rows, targets

    def check_vocabulary(self, description: "Description", where: Any) -> None:
        """Raise unless the data was binarized with the vocabulary of ``description`` (of the PLM or checkpoint ``where``)."""
        plm = self.meta["plm"]
        if plm["vocabulary_sha256"] != description.vocabulary_sha256:
            raise InputError(
                f"{self.path} was binarized with the vocabulary of {plm['name']}, but {where} has that of "
                f"{description.name}: binarize the data with that PLM"
            )
