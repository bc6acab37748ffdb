"""Tags stay with their words: in truncated and code-switched sentences, in those of a lexicon, and in segments."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess import look_up
from salt_fairseq.data import segments
from salt_fairseq.data.directory import IGNORED, DataDirectory, Examples, TokenLabels
from salt_fairseq.data.lexicon import LexicalSubstitution, Lexicon
from salt_fairseq.data.streams import Streams
from salt_fairseq.data.token_labelling_dataset import TokenLabellingDataset
from salt_fairseq.modules.encoder import BOS, EOS
from salt_fairseq.plm import Description
from support.in_process import call
from support.tagged import binarized, conll, stored
from support.tiny_plm import WORDPIECES, tiny_plm

JOIN = Description("", "", "", 2, {}, None, {}, "").join
WORDS = st.lists(st.integers(1, 4), min_size=1, max_size=12)  # pieces of each word


class Stored(list):
    """Stands in for an indexed input."""

    sizes = property(lambda self: np.array([len(row) for row in self]))


class Shifted:
    """Stands in for a source of candidates at every third token."""

    def aligned(self, side, i, tokens):
        return self.text(side, i, tokens)[:, None]

    def text(self, side, i, tokens):
        return torch.where((torch.arange(len(tokens)) % 3 == 0) & (tokens > EOS), tokens + 1000, tokens)

    def labels(self, side, i, labels):
        return labels


def sentence(words, first):
    """Ids and labels: word k has the label k at its first piece, and pieces ``first``, ``first`` + 1, ..."""
    ids = torch.tensor([*range(first, first + sum(words)), EOS])
    labels = torch.full_like(ids, IGNORED)
    labels[np.cumsum([0, *words])[:-1]] = torch.arange(len(words))
    return ids, labels


def examples(sentences):
    ids, labels = zip(*(sentence(words, 100 + 100 * i) for i, words in enumerate(sentences)))
    return Examples([Stored(ids)], [np.arange(len(ids))], list(labels))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(4, 30), st.sampled_from([True, False]))
def test_truncated_and_code_switched(sentences, max_length, mixed):
    """Each label is at the first piece of its own word, whatever substitutes that; what is cut has none."""
    dataset = TokenLabellingDataset(examples(sentences), JOIN, max_length, Streams([None, Shifted()], mixed))
    items = [dataset[i] for i in range(len(dataset))]
    for item, words in zip(items, sentences * 2):
        assert len(item["target"]) == len(item["tokens"]) <= max_length
        starts = np.cumsum([0, *words])[:-1]
        kept = [(at + 1, k) for k, at in enumerate(starts) if at < max_length - 2]
        assert [(int(at), int(item["target"][at])) for at in item["target"].ne(IGNORED).nonzero()] == kept
        assert all(item["tokens"][at] % 100 == starts[k] for at, k in kept)
    batch = dataset.collater(items)
    assert batch["target"].shape == batch["net_input"]["src_tokens"].shape
    assert batch["nlabels"] == sum(int(item["target"].ne(IGNORED).sum()) for item in items)
    assert ("substitutes" in batch["net_input"]) == mixed


@settings(deadline=None, derandomize=True, max_examples=80)
@given(st.lists(WORDS, min_size=1, max_size=4), st.integers(2, 20), st.integers(2, 13))
def test_segments_hold_every_word_once(sentences, budget, missing):
    """In order, at its first piece, in segments of at most ``budget`` tokens, which only end within a word that is longer.
    Every so many words, a tag is missing: those words are no targets, and segments end before them as before others."""
    subset = examples(sentences)
    stored = [torch.where(row == IGNORED, 1, torch.where(row % missing == 1, 3, row + 4)) for row in subset.targets]
    made = segments.Segments(subset._replace(targets=TokenLabels(Stored(stored))), budget)
    tagged = [(i, k) for i, words in enumerate(sentences) for k in range(len(words)) if k % missing != 1]
    assert list(zip(made.examples.tolist(), made.targets.tolist())) == tagged
    starts = {(i, k): 100 + 100 * i + at for i, words in enumerate(sentences) for k, at in enumerate(np.cumsum([0, *words])[:-1])}
    assert [int(made[n][p]) for n, p in zip(made.numbers, made.places)] == [starts[word] for word in tagged]
    pieces = [made[i].tolist() for i in range(len(made))]
    assert [i for part in pieces for i in part[:-1]] == [i for row in subset.inputs[0] for i in row.tolist()[:-1]]
    assert all(len(part) <= budget and part[-1] == EOS for part in pieces)
    for before, part in zip(pieces, pieces[1:]):
        assert part[0] in starts.values() or len(before) == budget


TEXT = [(["The", "houseboats", "and", "the", "cat", "."], ["O", "B-X", "O", "O", "S-Y", "O"]), (["cat", "house", "summary"], ["S-Y", "O", "O"])] * 8
DICTIONARY = "cat peniche\nhouse Hausboot\nsummary pen\nhouseboats maison\n"


def test_words_of_a_lexicon_keep_their_tags(tmp_path):
    """A word and its translation with another number of pieces, mixed or in its place, by hand."""
    plm = tiny_plm(tmp_path / "plm")
    data = binarized(plm, tmp_path / "data", conll(TEXT), "--tags", "conll")
    (tmp_path / "de.txt").write_text(DICTIONARY, encoding="utf-8")
    call(look_up, plm, data.path, "--name", "muse", "--dictionary", f"de={tmp_path / 'de.txt'}")
    lexicon = Lexicon(data.path, "muse", "train", data.sides)
    pieces = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", *WORDPIECES]

    def item(i, mixed):
        source = LexicalSubstitution(lexicon, 0, 1)
        made = TokenLabellingDataset(data.load("train"), JOIN, 128, Streams([source], mixed))[i]
        tags = [None if label == IGNORED else data.labels[label] for label in made["target"].tolist()]
        return [pieces[t] for t in made["tokens"].tolist()], tags

    assert item(1, False) == (["[CLS]", "peniche", "Haus", "##boot", "pen", "[SEP]"], [None, "S-Y", "O", None, "O", None])
    assert item(1, True) == (["[CLS]", "cat", "house", "sum", "##mary", "[SEP]"], [None, "S-Y", "O", "O", None, None])
    words, tags = item(0, False)
    assert words == ["[CLS]", "The", "maison", "[UNK]", "the", "peniche", ".", "[SEP]"]
    assert tags == [None, "O", "B-X", "O", "O", "S-Y", "O", None]


@pytest.fixture(scope="module")
def looked_up(tmp_path_factory):
    """Forty sentences of words that are listed, or parts of which are, or not; word k of each has the tag T(k modulo 3)."""
    directory, draw = tmp_path_factory.mktemp("random"), random.Random(1)
    words = ["cat", "house", "summary", "houseboats", "the", "big", "don't", "house-cat", "3"]
    sentences = [draw.choices(words, k=draw.randint(1, 9)) for _ in range(40)]
    text = conll([(row, [f"T{k % 3}" for k in range(len(row))]) for row in sentences])
    plm = tiny_plm(directory / "plm")
    data = binarized(plm, directory / "data", text, "--tags", "conll")
    (directory / "de.txt").write_text(DICTIONARY, encoding="utf-8")
    call(look_up, plm, data.path, "--name", "muse", "--dictionary", f"de={directory / 'de.txt'}")
    return sentences, Lexicon(data.path, "muse", "train", data.sides), data.load("train")


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.integers(0, 39), st.integers(0, 1000), st.booleans())
def test_tags_in_order_whatever_is_drawn(looked_up, i, seed, mixed):
    """Each word has its tag, in order, at a piece that begins a word."""
    sentences, lexicon, examples = looked_up
    source = LexicalSubstitution(lexicon, 0, seed, 1.0, 0.6)
    made = TokenLabellingDataset(examples, JOIN, 128, Streams([source], mixed))[i]
    assert [label for label in made["target"].tolist() if label != IGNORED] == [k % 3 for k in range(len(sentences[i]))]
    continued = {4 + k for k, piece in enumerate(WORDPIECES) if piece.startswith("##")}
    labelled = made["tokens"][made["target"].ne(IGNORED)].tolist()
    assert not continued & set(labelled) and BOS not in labelled


def test_several_source_languages(tmp_path):
    """The training sets of both, one after another, with the labels of each."""
    plm, text = tiny_plm(tmp_path / "plm"), conll(TEXT)
    (tmp_path / "de.txt").write_text(conll(TEXT[:3]), encoding="utf-8")
    more = ("--tags", "conll", "--source-language", "en,de", "--subset", f"train.de={tmp_path / 'de.txt'}")
    data = binarized(plm, tmp_path / "data", text, *more, subset="train.en")
    assert stored(data) == stored(data, "train.en") + stored(data, "train.de") and len(stored(data)) == 19


def test_what_is_stored_is_what_is_loaded(tmp_path):
    """Adding a subset leaves the others, and labels are checked with their file's checksum."""
    plm = tiny_plm(tmp_path / "plm")
    data = binarized(plm, tmp_path / "data", conll(TEXT), "--tags", "conll")
    before = stored(data)
    binarized(plm, tmp_path / "data", conll(TEXT[:1]), "--tags", "conll", name="fr", subset="test.fr")
    again = DataDirectory(data.path)
    assert stored(again) == before and len(again.load("test.fr").targets) == 1
    assert again.checksums("train") == data.checksums("train") and "label/train.bin" in again.checksums("train")
