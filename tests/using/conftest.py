"""Data directories whose labels are not those of the checkpoints of these tests."""

import pytest

from support.classifiers import LABELS, binarized


@pytest.fixture
def labelled_otherwise():
    """A function that makes data directories of a PLM, and returns each with its labels as they are printed."""

    def make(plm, directory):
        named = {"exchanged": LABELS[::-1], "renamed": ["no", "yes"], "more": [*LABELS, "unclear"]}
        return {binarized(plm, directory / name, labels=labels): ", ".join(labels) for name, labels in named.items()}

    return make
