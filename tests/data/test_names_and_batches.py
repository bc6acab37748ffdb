"""Names of subsets, and batches under a budget of tokens, against their definitions."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from salt_fairseq.data.subset import STORED, Subset
from salt_fairseq.data.token_batches import token_batches


@pytest.mark.parametrize(
    "name, split, languages, pair",
    [
        ("valid", "valid", (), ("en", "en")),
        ("test.fr", "test", ("fr",), ("fr", "fr")),
        ("test.en-de", "test", ("en", "de"), ("en", "de")),
        ("test.a-b-c", "test", ("a", "b", "c"), None),
    ],
)
def test_subset_names(name, split, languages, pair):
    assert Subset.parse(name) == (split, languages)
    assert pair is None or Subset.parse(name).pair("en") == pair


def test_names_of_stored_subsets():
    names = ["train", "valid", "test", "valid.fr", "test.zh_TW", "dev", "train.", "test.en-de", "../train", "test.fr.de"]
    assert [name for name in names if re.fullmatch(STORED, name)] == names[:5]


@given(st.lists(st.integers(1, 60), max_size=80), st.integers(1, 300), st.sampled_from([0.0, 0.5, 0.8, 1.0]))
def test_batches(sizes, max_tokens, similar):
    """Each sequence once, in order; within the budget and alike, and as large as both allow."""
    sizes = np.sort(np.array(sizes, dtype=np.int64))[::-1]
    bounds = list(token_batches(sizes, max_tokens, similar))
    assert [i for start, stop in bounds for i in range(start, stop)] == list(range(len(sizes)))

    def allowed(start, stop):
        return stop - start == 1 or ((stop - start) * sizes[start] <= max_tokens and sizes[stop - 1] >= similar * sizes[start])

    for start, stop in bounds:
        assert allowed(start, stop) and (stop == len(sizes) or not allowed(start, stop + 1))
