"""RS-DA, CoSDA-ML and SCOPA as training sets: lexicons that look_up.py makes, texts and embeddings worked by hand."""

import itertools
from collections import Counter

import pytest
import torch
from omegaconf import OmegaConf
from scipy import stats

from salt_fairseq.errors import InputError
from salt_fairseq.models.salt_encoder import SaltEncoderConfig
from salt_fairseq.modules.encoder import BOS, EOS, PAD
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairConfig, SaltSentencePairTask
from support.tiny_plm import WORDPIECES, binarized, looked_up, tiny_plm
from support.training import epoch_batches

pytestmark = pytest.mark.slow

PAIR = ("The big House sleeps.", "House cat, big the cat")
ID = {piece: i for i, piece in enumerate(WORDPIECES, 4)}


def ids(text):
    return [ID[piece] for piece in text.split()]


@pytest.fixture(scope="module")
def plm(tmp_path_factory):
    return tiny_plm(tmp_path_factory.mktemp("plm") / "tiny")


@pytest.fixture(scope="module")
def data(plm, tmp_path_factory):
    """300 times the same pair; ``muse`` (French, German), ``synonyms``, and ``one`` without any choice."""
    data = binarized(plm, tmp_path_factory.mktemp("data") / "data", [PAIR] * 300)
    looked_up(plm, data, fr="the le\nthe la\nhouse maison\ncat chat\nbig grande\n", de="house Haus\ncat katze\nhouse Hausboot\n")
    synonyms = {"the": ["le", "la"], "house": ["casa", "Hausboots", "maison"], "big": ["grande maison"], "sleeps": []}
    looked_up(plm, data, "--name", "synonyms", "--include-word", en=synonyms)
    looked_up(plm, data, "--name", "one", de="big gross\ncat Hausboots\nhouse Hausboot\n")
    return data


def task(data, mixup="instance", plm=None, **options):
    """A task; with a ``plm``, and its model: both know whether substitutes are mixed in."""
    found = SaltSentencePairTask(SaltSentencePairConfig(**{"data": str(data), "seed": 1, **options}))
    config = SaltEncoderConfig(_name="salt_encoder", plm=str(plm), mixup=mixup)
    return found, found.build_model(OmegaConf.structured(config))


def loaded(data, plm, mixup="none", max_length=40, **options):
    return task(data, mixup, plm, max_length=max_length, **options)[0].load_dataset("train")


def parsed(tokens, substitutes):
    """The words of PAIR in a joined text, each what ``substitutes`` lists at its place; the rest is checked."""
    rest, found = tokens.tolist(), []
    for word in [None, "The", "big", "House", "sleeps", ".", None, "House", "cat", ",", "big", "the", "cat", None]:
        if word is None:
            assert rest.pop(0) in (BOS, EOS)
            continue
        choices = [choice for choice in [word, *substitutes.get(word.lower(), [])] if rest[: len(choice.split())] == ids(choice)]
        found.append(max(choices, key=len))
        rest = rest[len(found[-1].split()) :]
    assert rest == []
    return found


def test_synonyms(data, plm):
    """RS-DA: every word uniform over itself, as it is written, and its neighbours; three variants; no original; labels."""
    dataset = loaded(data, plm, lexicon="synonyms", variants=3, no_original=True)
    assert len(dataset) == 3 * 300
    substitutes = {"the": ["le", "la"], "house": ["casa", "Haus ##boot ##s", "maison"], "big": ["grand ##e maison"]}
    texts = [parsed(dataset[i]["tokens"], substitutes) for i in range(900)]
    expected = {
        0: ["The", *substitutes["the"]],
        1: ["big", *substitutes["big"]],
        2: ["House", *substitutes["house"]],
        3: ["sleeps"],
        4: ["."],
        5: ["House", *substitutes["house"]],
        6: ["cat"],
        7: [","],
        8: ["big", *substitutes["big"]],
        9: ["the", *substitutes["the"]],
        10: ["cat"],
    }
    for place, choices in expected.items():
        counts = Counter(text[place] for text in texts)
        assert set(counts) == set(choices)
        assert len(choices) == 1 or stats.chisquare([counts[c] for c in choices]).pvalue > 1e-3
    assert [dataset[i]["target"] for i in range(900)] == [i % 2 for i in range(300)] * 3
    same = [sum(texts[i] == texts[300 * k + i] for i in range(300)) / 300 for k in (1, 2)]
    assert max(same) < 0.05, "variants differ"
    lengths = [len(dataset[i]["tokens"]) for i in range(900)]
    assert min(lengths) == 14 and max(lengths) > 18
    batch = dataset.collater([dataset[i] for i in range(900)])
    assert batch["net_input"]["src_tokens"].shape == (900, max(lengths)) and set(batch["net_input"]) == {"src_tokens"}
    assert batch["ntokens"] == sum(lengths)
    with_original = loaded(data, plm, lexicon="synonyms", variants=3)
    assert len(with_original) == 4 * 300
    assert all(parsed(with_original[i]["tokens"], {}) for i in range(300))
    assert all(torch.equal(with_original[300 + i]["tokens"], dataset[i]["tokens"]) for i in range(900))


@pytest.mark.parametrize("max_length, kept", [(11, (4, 4)), (13, (5, 5)), (15, (6, 6)), (19, (6, 10)), (20, (6, 11)), (40, (6, 11))])
def test_the_longer_text_is_cut(data, plm, max_length, kept):
    """Of 6 and 11 tokens with their substitutes in place, the longest sentence first; the pair as written would have 5 and 6."""
    first, second = ids("The gross Haus ##boot sleeps ."), ids("Haus ##boot Haus ##boot ##s , gross the Haus ##boot ##s")
    dataset = loaded(data, plm, max_length=max_length, lexicon="one", no_original=True)
    assert dataset[7]["tokens"].tolist() == [BOS, *first[: kept[0]], EOS, *second[: kept[1]], EOS]


def epochs_of(data, plm, workers, **options):
    """Each epoch's item to its text, from batches as the trainer asks for them."""
    found, _ = task(data, "none", plm, max_length=40, lexicon="muse", no_original=True, **options)
    dataset, epochs = found.load_dataset("train"), []
    for epoch in (1, 2, 3, 1):
        batches = epoch_batches(found, dataset, epoch, max_sentences=32, num_workers=workers)
        texts = {i: [t for t in row if t != PAD] for batch in batches for i, row in zip(batch["id"].tolist(), batch["net_input"]["src_tokens"].tolist())}
        assert sorted(texts) == list(range(300))
        epochs.append(texts)
    return epochs


def test_redrawn_in_every_epoch(data, plm):
    """CoSDA-ML: other texts in each epoch, equal when repeated, with and without workers; as often as by definition."""
    epochs = epochs_of(data, plm, 0, redraw=True, word_ratio=0.9)
    assert epochs_of(data, plm, 2, redraw=True, word_ratio=0.9) == epochs
    assert epochs[3] == epochs[0]
    for a, b in itertools.combinations(epochs[:3], 2):
        assert sum(a[i] == b[i] for i in range(300)) < 30
    other_seed = epochs_of(data, plm, 0, redraw=True, word_ratio=0.9, seed=2)
    assert sum(other_seed[0][i] == epochs[0][i] for i in range(300)) < 30
    substitutes = {"the": ["le", "la"], "house": ["maison", "Haus", "Haus ##boot"], "cat": ["chat", "katze"], "big": ["grand ##e"]}
    counts = Counter(parsed(torch.tensor(text), substitutes)[2] for texts in epochs[:3] for text in texts.values())
    expected = {"House": 0.1, "maison": 0.45, "Haus": 0.225, "Haus ##boot": 0.225}
    assert stats.chisquare([counts[w] for w in expected], [900 * p for p in expected.values()]).pvalue > 1e-3
    counts = Counter(parsed(torch.tensor(text), substitutes)[0] for texts in epochs[:3] for text in texts.values())
    expected = {"The": 0.55, "le": 0.225, "la": 0.225}  # German has no word for it: no second draw
    assert stats.chisquare([counts[w] for w in expected], [900 * p for p in expected.values()]).pvalue > 1e-3


def test_drawn_once(data, plm):
    epochs = epochs_of(data, plm, 2)
    assert epochs[0] == epochs[1] == epochs[2] == epochs_of(data, plm, 0)[0]


def aligned_batch(data, plm, mixup, ratio, **options):
    """Task, model and a batch whose substitutes are those of ``one``: no choice anywhere."""
    found, net = task(data, mixup, plm, max_length=40, lexicon="one", **options)
    net.cfg.mixup_ratio = ratio
    dataset = found.load_dataset("train")
    return found, net, dataset.collater([dataset[i] for i in range(len(dataset) - 5, len(dataset))])


# [CLS] The big House sleeps . [SEP] House cat , big the cat [SEP]
ALIGNED = {2: "gross", 3: "Haus ##boot", 7: "Haus ##boot", 8: "Haus ##boot ##s", 10: "gross", 12: "Haus ##boot ##s"}


@pytest.mark.parametrize("ratio", [0.5, 0.3])
def test_scopa(data, plm, ratio):
    """ratio * own embedding + (1 - ratio) * mean of the translation's token embeddings; all others bit for bit their own."""
    _, net, batch = aligned_batch(data, plm, "fixed", ratio, no_original=True)
    tokens, substitutes = batch["net_input"]["src_tokens"], batch["net_input"]["substitutes"]
    assert tokens.shape == (5, 14) and substitutes.shape == (5, 14, 3)
    table = torch.load(plm / "model.pt", weights_only=True)["model"]["encoder.embed_tokens.weight"]
    embedded = net.train().embed(tokens, substitutes)
    for place in range(14):
        own = table[tokens[0, place]]
        if place in ALIGNED:
            mean = sum(table[i].double() for i in ids(ALIGNED[place])) / len(ids(ALIGNED[place]))
            expected = (ratio * own.double() + (1 - ratio) * mean).float()
            torch.testing.assert_close(embedded[:, place], expected.expand(5, -1), atol=1e-6, rtol=1e-6)
        else:
            assert torch.equal(embedded[:, place], own.expand(5, -1)), f"token {place}"


def test_scopa_cuts_both_alike(data, plm):
    """Substitutes are cut where the tokens are, and unchanged instances have none."""
    dataset = loaded(data, plm, "fixed", 9, lexicon="one")
    original, switched = dataset[7], dataset[307]
    expected = [BOS, *ids("The big House"), EOS, *ids("House cat ,"), EOS]
    assert original["tokens"].tolist() == switched["tokens"].tolist() == expected
    assert original["substitutes"][:, 0].tolist() == expected and original["substitutes"][:, 1:].eq(PAD).all()
    rows = [[t for t in row if t != PAD] for row in switched["substitutes"].tolist()]
    assert rows == [[BOS], ids("The"), ids("gross"), ids("Haus ##boot"), [EOS], ids("Haus ##boot"), ids("Haus ##boot ##s"), ids(","), [EOS]]
    both = dataset.collater([original, switched])["net_input"]
    assert both["substitutes"].shape == (2, 9, 3) and both["src_tokens"].shape == (2, 9)
    assert dataset.collater([original])["net_input"]["substitutes"].shape == (1, 9)


class Optimizer:
    def backward(self, loss):
        loss.backward()


@pytest.mark.parametrize("perturbation", ["none", "random", "adversarial"])
def test_scopa_at_ratio_1_is_vanilla(data, plm, perturbation):
    """A training step with dropout, logits and gradients: bit for bit; with the perturbations, too."""
    steps = {}
    for name, options in {"vanilla": {}, "scopa": {"lexicon": "one", "no_original": True}}.items():
        torch.manual_seed(1)
        found, net = task(data, "fixed", plm, max_length=40, perturbation=perturbation, **options)
        net.cfg.mixup_ratio = 1.0
        dataset = found.load_dataset("train")

        def criterion(net, sample):
            logits, _ = net(**sample["net_input"])
            return torch.nn.functional.cross_entropy(logits, sample["target"]), 1, {"logits": logits}

        sample = dataset.collater([dataset[i] for i in range(8)])
        assert ("substitutes" in sample["net_input"]) == (name == "scopa")
        torch.manual_seed(2)
        _, _, log = found.train_step(sample, net, criterion, Optimizer(), 3)
        steps[name] = [log["logits"], *(p.grad for p in net.parameters())]
    assert len(steps["vanilla"]) == len(steps["scopa"]) > 10
    assert all(map(torch.equal, steps["vanilla"], steps["scopa"]))


def test_dictionaries_with_salts_mixing(data, plm):
    """Per dimension: a source of substitutes knows nothing of the mixing, nor the mixing of the source."""
    _, net, batch = aligned_batch(data, plm, "instance", 0.5, no_original=True)
    tokens, substitutes = batch["net_input"]["src_tokens"], batch["net_input"]["substitutes"]
    table = net.encoder.embed_tokens.weight.detach()
    r = torch.rand(5, 1, 8, generator=torch.Generator().manual_seed(4))
    expected = table[tokens].clone()
    for place, text in ALIGNED.items():
        expected[:, place] = r[:, 0] * expected[:, place] + (1 - r[:, 0]) * table[ids(text)].mean(0)
    torch.testing.assert_close(net.train().embed(tokens, substitutes, 4), expected)


def test_one_stream(data, plm):
    """One of original and two variants for each instance in each epoch: an epoch costs what it costs without a lexicon."""
    dataset = loaded(data, plm, lexicon="muse", variants=2, one_stream=True)
    every = loaded(data, plm, lexicon="muse", variants=2)
    assert len(dataset) == 300 and len(every) == 900
    found = Counter()
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        for i in range(300):
            streams = [s for s in range(3) if torch.equal(dataset[i]["tokens"], every[300 * s + i]["tokens"])]
            assert streams
            found[streams[0]] += len(streams) == 1
    assert min(found[s] for s in range(3)) > 150


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"lexicon": "muse", "augment": "fr"}, "--lexicon and --augment: substitutes come from a lexicon or from the PLM, choose one"),
        ({"lexicon": "must"}, r"has no lexicon 'must' \(it has: muse, one, synonyms\): run preprocess/look_up.py"),
        ({"lexicon": "muse", "variants": 0}, r"--variants 0 is outside \[1, 1000\]"),
        ({"sentence_ratio": 1.1}, r"--sentence-ratio 1.1 is outside \[0, 1\]"),
        ({"word_ratio": -0.5}, r"--word-ratio -0.5 is outside \[0, 1\]"),
        ({"no_original": True}, "--no-original without --augment or --lexicon leaves nothing to train on"),
    ],
)
def test_errors(data, plm, options, sentence):
    with pytest.raises(InputError, match=sentence):
        loaded(data, plm, **options)
