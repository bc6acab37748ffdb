"""A data directory: subsets of binarized sentence pairs, their labels, ids and origin."""

import re
from functools import cached_property
from pathlib import Path

import numpy as np

from salt_fairseq.errors import InputError
from salt_fairseq.storage.indexed_data import load_indexed
from salt_fairseq.storage.manifest import Manifest

INPUTS = ("input0", "input1")
FIRST_LABEL = 4  # as in fairseq's Dictionary, whose four specials stand before the labels
SHAPE = {  # of what meta.json must say
    "labels": [str],
    "source_language": str,
    "plm": {"name": str, "vocabulary_sha256": str, "special_tokens": dict.fromkeys(("bos", "pad", "eos", "unk", "mask"), str)},
    "subsets": {str: {"examples": int, "sha256": {str: str}}},
}
SUBSET = re.compile(r"(train|valid|test)(\.\w+)?")


class DataDirectory:
    """What ``preprocess/binarize.py`` wrote."""

    def __init__(self, path):
        self.path = Path(path)
        self._manifest = Manifest(self.path, "preprocess/binarize.py", SHAPE)
        self.meta = self._manifest.values
        self._sentences = {}

    @cached_property
    def dictionary(self):
        """The PLM's vocabulary with the ids of the data."""
        self._manifest.verified("input0/dict.txt")
        from fairseq.data import Dictionary  # imports all of fairseq, which takes seconds

        special = self.meta["plm"]["special_tokens"]
        dictionary = Dictionary(bos=special["bos"], pad=special["pad"], eos=special["eos"], unk=special["unk"])
        dictionary.add_from_file(str(self.path / "input0" / "dict.txt"))
        dictionary.add_symbol(special["mask"])
        return dictionary

    @property
    def labels(self):
        """Names of the labels; label k of an example is the k-th."""
        return self.meta["labels"]

    @property
    def is_pairs(self):
        return (self.path / "input1").is_dir()

    def ids(self, subset):
        """The examples' ids, a list of strings: equal ids are the same example in another language."""
        self._manifest.verified(f"id/{subset}.txt")
        return (self.path / "id" / f"{subset}.txt").read_text(encoding="utf-8").split("\n")[:-1]

    def sentences(self, subset, side):
        """The stored sentences, the same object each time: the generalized setting asks for them again and again."""
        if (subset, side) not in self._sentences:
            self._sentences[subset, side] = load_indexed(self._manifest, f"{side}/{subset}")
        return self._sentences[subset, side]

    def targets(self, subset):
        """int64 (N,): the label of each example."""
        return load_indexed(self._manifest, f"label/{subset}").elements.astype(np.int64) - FIRST_LABEL

    def parts(self, subset):
        """The subsets that premises and hypotheses are from: of ``test.en-de``, ``test.en`` and ``test.de``.

        A split without a language, ``valid``, is in the source language.
        """
        split, _, languages = subset.partition(".")
        if "-" not in languages:
            return [subset, subset]
        if languages.count("-") > 1 or not self.is_pairs:
            raise InputError(f"{subset!r}: the generalized setting takes two languages and sentence pairs")
        names = [f"{split}.{language}" for language in languages.split("-")]
        known, source = self.meta["subsets"], f"{split}.{self.meta['source_language']}"
        return [split if name == source and source not in known and split in known else name for name in names]

    def load(self, subset):
        """``([input0, input1], rows, targets)``: example i is row ``rows[k][i]`` of input k, with label ``targets[i]``.

        ``test.en-de`` has the premises of ``test.en`` with the hypotheses of ``test.de`` (the generalized setting),
        paired by id; examples that only one of the two has are left out.
        """
        names = self.parts(subset)
        for name in names:
            if name not in self.meta["subsets"]:
                known = ", ".join(self.meta["subsets"])
                raise InputError(f"{self.path} has no subset {name!r}; it has {known}")
        sides = INPUTS if self.is_pairs else INPUTS[:1]
        sentences = [self.sentences(name, side) for name, side in zip(names, sides)]
        targets = [self.targets(name) for name in names]
        self._manifest.verified(*(f"id/{name}.txt" for name in names))  # used or not: a damaged subset is damaged
        rows = [np.arange(len(targets[0]))] * len(sides)
        if names[0] != names[1]:
            places = [{id: i for i, id in enumerate(self.ids(name))} for name in names]
            shared = [id for id in places[0] if id in places[1]]
            rows = [np.array([place[id] for id in shared], dtype=np.int64) for place in places]
            different = np.flatnonzero(targets[0][rows[0]] != targets[1][rows[1]])
            if len(different):
                raise InputError(
                    f"{self.path}: example {shared[different[0]]} has different labels in {names[0]} "
                    f"and {names[1]}, so its ids do not name the same examples"
                )
        return sentences, rows, targets[0][rows[0]]

    def check_vocabulary(self, description, where):
        """Raise unless the data was binarized with the vocabulary of ``description`` (of the PLM or checkpoint ``where``)."""
        mine = self.meta["plm"]
        if mine["vocabulary_sha256"] != description.vocabulary_sha256:
            raise InputError(
                f"{self.path} was binarized with the vocabulary of {mine['name']}, but {where} has that of "
                f"{description.name}: binarize the data with that PLM"
            )
