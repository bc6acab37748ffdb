"""The batches of an evaluation against the data set of the training."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salt_fairseq.data.directory import Examples
from salt_fairseq.data.distinct_pairs import Batches, DistinctPairs
from salt_fairseq.data.sentence_pair_dataset import SentencePairDataset
from salt_fairseq.plm import Description
from support.zipped import zip_equal


class Sentences(list):
    """Stands in for an indexed input."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=20),
    st.integers(8, 60),
    st.integers(1, 200),
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_batches_are_those_of_the_dataset(lengths, max_length, more_tokens, separators, single):
    """Truncated and joined as SentencePairDataset does it, padded, within the limit, each pair once, longest first."""
    rng = np.random.default_rng(max_length)
    inputs = [Sentences(torch.tensor([*rng.integers(4, 9, n - 1), 2]) for n in side) for side in zip(*lengths)][: 2 - single]
    rows, targets = [rng.permutation(len(lengths)) for _ in inputs], np.zeros(len(lengths), int)
    join = Description("", "", "", separators, {}, None, {}, "").join
    pairs = DistinctPairs({"a": Examples(inputs, rows, targets), "b": Examples(inputs, [r[:1] for r in rows], targets[:1])})
    assert pairs.number["b"][0] == pairs.number["a"][0]
    for side in inputs:
        side.sizes = np.array([len(s) for s in side])
    dataset = SentencePairDataset(Examples(inputs, rows, targets), join, max_length)
    expected = {int(number): dataset[i]["tokens"].tolist() for i, number in enumerate(pairs.number["a"])}
    batches, unpadded, sizes = Batches(pairs, join, max_length, max_length + more_tokens, "cpu"), {}, []
    for start, stop, tokens in batches:
        assert tokens.numel() <= max_length + more_tokens and len(tokens) == stop - start
        sizes += [tokens.shape[1]]
        for number, row in zip_equal(batches.order[start:stop].tolist(), tokens.tolist()):
            assert number not in unpadded
            length = len(expected[number])
            unpadded[number] = row[:length]
            assert row[length:] == [1] * (len(row) - length)
    assert unpadded == expected and sizes == sorted(sizes, reverse=True)
    assert len(pairs) == len({tuple(tuple(s[i].tolist()) for s, i in zip(inputs, place)) for place in zip(*rows)})
