"""Substitutes drawn from a lexicon written by hand: their joint frequencies against the products of probabilities."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from salt_fairseq.data.lexicon import CONTINUES, LexicalSubstitution, Lexicon, write_lexicon
from salt_fairseq.modules.encoder import EOS, PAD
from salt_fairseq.storage.manifest import write_manifest

# A sentence of three listed words, the second of three tokens, in 3 languages: their substitutes in each.
SENTENCE = [10, 11, 12, 13, 14, 15, EOS]
WORDS = [1, 0, 2, CONTINUES, CONTINUES, 3, 0]
SPANS = [(0, 1), (2, 5), (5, 6)]
SUBSTITUTES = [[[[20], [21, 22]], [[23]], []], [[], [[30], [31, 32, 33, 34], [35, 36]], []], [[[40]], [[41]], [[42, 43]]]]
SENTENCES = 100


@pytest.fixture(scope="module")
def lexicon(tmp_path_factory):
    """The sentence above, many times in both inputs."""
    data = tmp_path_factory.mktemp("lexicon")
    cells = [cell for word in SUBSTITUTES for cell in word]
    sides = {"input0": "train", "input1": "train"}
    write_lexicon(
        data / "lexicons" / "hand",
        sides,
        dict.fromkeys(sides, [WORDS] * SENTENCES),
        [ids for cell in cells for ids in cell],
        [len(cell) for cell in cells],
        np.uint16,
    )
    write_manifest(data / "lexicons" / "hand", {"languages": ["aa", "bb", "cc"], "sentences_sha256": {"input0/train": "0", "input1/train": "1"}})
    write_manifest(data, {"subsets": {"train": {"sha256": {"input0": "0", "input1": "1"}}}})
    return Lexicon(data, "hand", "train", ["input0", "input1"])


def outcome(text):
    """For each of the three words, what stands for it: ``None`` itself, else (language, number); from the text alone."""
    rest, choices = text.tolist(), []
    for (start, end), languages in zip(SPANS, SUBSTITUTES):
        known = {tuple(SENTENCE[start:end]): None}
        known |= {tuple(ids): (k, n) for k, cell in enumerate(languages) for n, ids in enumerate(cell)}
        ids = next(ids for ids in known if tuple(rest[: len(ids)]) == ids)
        choices.append(known[ids])
        rest = rest[len(ids) :]
        if len(choices) == 1:
            assert rest.pop(0) == 11
    assert rest == [EOS]
    return tuple(choices)


def outcomes(lexicon, epochs, variants=(0, 1), seeds=(1,), **options):
    """Array (seed, variant, epoch, side, sentence) of numbers of outcomes, and the outcomes that are numbered."""
    numbers, sentence = {}, torch.tensor(SENTENCE)
    drawn = np.zeros((len(seeds), len(variants), epochs, 2, SENTENCES), dtype=int)
    for (a, seed), (b, variant) in itertools.product(enumerate(seeds), enumerate(variants)):
        stream = LexicalSubstitution(lexicon, variant, seed, redraw=True, **options)
        for epoch, side, i in itertools.product(range(epochs), range(2), range(SENTENCES)):
            stream.epoch = epoch + 1
            drawn[a, b, epoch, side, i] = numbers.setdefault(outcome(stream.text(side, i, sentence)), len(numbers))
    return drawn, numbers


def probabilities(sentence_ratio, word_ratio):
    """Joint outcome of the three words to its probability, as CoSDA-ML defines it."""
    alone = []
    for languages in SUBSTITUTES:
        word = {(k, n): word_ratio / 3 / len(cell) for k, cell in enumerate(languages) for n in range(len(cell))}
        alone.append({**word, None: 1 - sum(word.values())})
    joint = {combined: sentence_ratio * math.prod(p[o] for p, o in zip(alone, combined)) for combined in itertools.product(*alone)}
    joint[None, None, None] += 1 - sentence_ratio
    return {combined: p for combined, p in joint.items() if p > 0}


@pytest.mark.slow
@pytest.mark.parametrize("sentence_ratio, word_ratio", [(1.0, 1.0), (1.0, 0.4), (0.6, 0.7)])
def test_frequencies(lexicon, sentence_ratio, word_ratio):
    """9,600 sentences, drawn for 2 variants, 24 epochs, 2 sides, 100 sentences: the joint distribution of their words.

    A language is drawn uniformly over all, and a word stays where it has none there."""
    drawn, numbers = outcomes(lexicon, 24, sentence_ratio=sentence_ratio, word_ratio=word_ratio)
    expected = probabilities(sentence_ratio, word_ratio)
    assert sum(expected.values()) == pytest.approx(1) and set(numbers) <= set(expected)
    counts = Counter(drawn.ravel().tolist())
    frequencies = {o: counts[numbers[o]] if o in numbers else 0 for o in expected}
    rare = [o for o, p in expected.items() if p * drawn.size < 10]  # one class for the test
    groups = [[o] for o in expected if o not in rare] + [rare] * bool(rare)
    assert len(groups) > 20
    observed, probability = ([sum(values[o] for o in group) for group in groups] for values in (frequencies, expected))
    assert stats.chisquare(observed, np.array(probability) * drawn.size).pvalue > 1e-3
    for axis in range(1, drawn.ndim):  # variants, epochs, sides, sentences: as if drawn independently
        half = [np.take(drawn, range(k, drawn.shape[axis], 2), axis) for k in (0, 1)]
        chance = sum(p * p for p in expected.values())
        n = half[0].size
        assert abs((half[0] == half[1]).mean() - chance) < 4.5 * math.sqrt(chance * (1 - chance) / n)


def test_draws_follow_from_the_seed(lexicon):
    """Equal in any order and when repeated; another seed draws otherwise."""
    drawn, numbers = outcomes(lexicon, 3, seeds=(1, 2))
    again, their_numbers = outcomes(lexicon, 3, seeds=(1, 2))
    assert np.array_equal(drawn, again) and numbers == their_numbers
    assert (drawn[0] == drawn[1]).mean() < 0.5
    stream = LexicalSubstitution(lexicon, 1, 2, redraw=True)
    for epoch, side, i in [(2, 1, 99), (0, 1, 3), (2, 1, 99), (1, 0, 0)]:
        stream.epoch = epoch + 1
        assert numbers[outcome(stream.text(side, i, torch.tensor(SENTENCE)))] == drawn[1, 1, epoch, side, i]


def test_without_redraw_every_epoch_is_the_same(lexicon):
    sentence = torch.tensor(SENTENCE)
    for redraw in (False, True):
        stream = LexicalSubstitution(lexicon, 0, 1, redraw=redraw)
        epochs = []
        for stream.epoch in (1, 2, 7):
            epochs.append([outcome(stream.text(side, i, sentence)) for side in (0, 1) for i in range(SENTENCES)])
        assert (epochs[0] == epochs[1] == epochs[2]) is not redraw


def test_nothing_is_drawn_at_ratio_0(lexicon):
    for ratios in ((0.0, 1.0), (1.0, 0.0)):
        stream = LexicalSubstitution(lexicon, 0, 1, *ratios)
        assert all(stream.text(0, i, torch.tensor(SENTENCE)).tolist() == SENTENCE for i in range(SENTENCES))


def test_aligned_and_text_are_the_same_draw(lexicon):
    """At each token of a substituted word the tokens of its substitute, padded; elsewhere the token itself."""
    stream, sentence, widths = LexicalSubstitution(lexicon, 0, 1, 0.9, 0.8), torch.tensor(SENTENCE), Counter()
    for i in range(SENTENCES):
        choices = outcome(stream.text(1, i, sentence))
        rows = [[t] for t in SENTENCE]
        for chosen, (start, end), languages in zip(choices, SPANS, SUBSTITUTES):
            if chosen is not None:
                rows[start:end] = [languages[chosen[0]][chosen[1]]] * (end - start)
        width = max(map(len, rows))
        assert stream.aligned(1, i, sentence).tolist() == [[*row, *[PAD] * (width - len(row))] for row in rows]
        widths[width] += 1
    assert set(widths) == {1, 2, 4}
