"""The training and test sets: truncation, streams, batches that cover everything once, and pairs across languages."""

import shutil
from collections import Counter

import numpy as np
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from salt_fairseq.data.directory import DataDirectory, Examples
from salt_fairseq.data.sentence_pair_dataset import SentencePairDataset
from salt_fairseq.data.streams import Streams
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import BOS, EOS
from salt_fairseq.plm import PLM, Description
from salt_fairseq.storage.manifest import write_manifest
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairConfig, SaltSentencePairTask
from support.running import QUICKSTART, read_tsv
from support.training import epoch_batches

LANGUAGES = "en,fr,es,de"


def task(data, plm, **options):
    t = SaltSentencePairTask(SaltSentencePairConfig(**{"data": str(data), "seed": 1, **options}))
    t.description = Description.load(plm)
    return t


class Sentences(list):
    """Stands in for an indexed input."""

    @property
    def sizes(self):
        return np.array([len(s) for s in self])


class Thousands:
    """Stands in for a source of substitutes."""

    def text(self, side, i, tokens):
        return torch.where(tokens == EOS, tokens, tokens + 1000)

    def aligned(self, side, i, tokens):
        return self.text(side, i, tokens)[:, None]


def longest_first(a, b, budget):
    """What the library ``tokenizers`` keeps of two sentences, as transformers' fast tokenizers truncate."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"w": 0}, unk_token="w"))
    tokenizer.enable_truncation(budget, strategy="longest_first")
    kept = tokenizer.encode(["w"] * len(a), ["w"] * len(b), is_pretokenized=True).sequence_ids
    return a[: kept.count(0)], b[: kept.count(1)]


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 60), st.integers(0, 60), st.integers(8, 80), st.sampled_from([1, 2]))
def test_truncation_of_pairs(length_a, length_b, max_length, separators):
    """Against that library, over sentences without specials; the substitutes are cut at the same places."""
    a, b = range(100, 100 + length_a), range(200, 200 + length_b)
    specials = 2 + separators
    cut_a, cut_b = longest_first(a, b, max_length - specials)
    expected = [BOS, *cut_a, EOS, *[EOS] * (separators - 1), *cut_b, EOS]
    inputs = [Sentences([torch.tensor([*s, EOS])]) for s in (a, b)]
    description = Description("", "", "", separators, {}, None, {}, "")

    examples = Examples(inputs, [np.arange(1)] * 2, np.zeros(1, int))
    dataset = SentencePairDataset(examples, description.join, max_length, Streams([None, Thousands()]))
    original, switched = dataset[0], dataset[1]
    assert original["tokens"].tolist() == original["substitutes"][:, 0].tolist() == switched["tokens"].tolist() == expected
    assert switched["substitutes"].tolist() == [[t + 1000] if t >= 100 else [t] for t in expected]
    assert dataset.size(0) == dataset.num_tokens(1) == len(expected) <= max_length
    text = SentencePairDataset(examples, description.join, max_length, Streams([Thousands()], mixed=False))[0]
    assert text["tokens"].tolist() == [t + 1000 if t >= 100 else t for t in expected] and "substitutes" not in text


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 40), st.integers(3, 45))
def test_truncation_of_single_sentences(length, max_length):
    """The first ``max_length - 2`` tokens between bos and eos."""
    inputs = [Sentences([torch.tensor([*range(100, 100 + length), EOS])])]
    join = Description("", "", "", 2, {}, None, {}, "").join
    item = SentencePairDataset(Examples(inputs, [np.arange(1)], np.zeros(1, int)), join, max_length)[0]
    assert item["tokens"].tolist() == [BOS, *range(100, 100 + length)][: max_length - 1] + [EOS]


@pytest.mark.parametrize("name", ["bert", "xlmr"])
def test_items_are_the_encoded_text(name, request):
    """The reference is the text, encoded by ``PLM.encode``, and the labels in the TSV; in every stream."""
    data, directory = request.getfixturevalue(f"{name}_data"), request.getfixturevalue(f"{name}_plm")
    t, plm = task(data, directory, augment=LANGUAGES, max_length=160), PLM.load(directory)
    rows = {lang: read_tsv(QUICKSTART / f"test.{lang}.tsv") for lang in ("en", "fr")}
    cases = [("train", read_tsv(QUICKSTART / "train.en.tsv"), None), ("test.fr", rows["fr"], None), ("test.en-fr", rows["en"], rows["fr"])]
    for subset, first, second in cases:
        dataset = t.load_dataset(subset)
        n = len(first)
        streams = 5 if subset == "train" else 1
        assert len(dataset) == streams * n
        for i in range(0, n, 3):
            item = dataset[(i % streams) * n + i]
            assert torch.equal(item["tokens"], plm.encode(first[i]["sentence1"], (second or first)[i]["sentence2"]))
            assert t.data.labels[item["target"]] == first[i]["label"]


def test_streams(bert_data, bert_plm):
    """N instances unchanged and N in each language; without the unchanged; evaluation sets have one stream."""
    both = task(bert_data, bert_plm, augment=LANGUAGES, thresholds="50%").load_dataset("train")
    alone = task(bert_data, bert_plm, augment=LANGUAGES, thresholds="50%", no_original=True).load_dataset("train")
    assert len(both) == 480 * 5 and len(alone) == 480 * 4
    for i in range(0, 480 * 4, 7):
        assert torch.equal(both[480 + i]["substitutes"], alone[i]["substitutes"])
    assert all(torch.equal(both[i]["substitutes"][:, 0], both[i]["tokens"]) for i in range(480))
    switched = task(bert_data, bert_plm, augment=LANGUAGES, one_stream=True)
    assert len(switched.load_dataset("valid")) == 60 and len(switched.load_dataset("train")) == 480
    assert "substitutes" not in switched.datasets["valid"].collater([switched.datasets["valid"][0]])["net_input"]
    assert "substitutes" not in task(bert_data, bert_plm).load_dataset("train").collater([both[0]])["net_input"]


def test_a_size_of_batches_is_needed(bert_data, bert_plm):
    """Under python -O, too, which leaves fairseq's own assertion out."""
    t = task(bert_data, bert_plm)
    with pytest.raises(InputError, match="^--batch-size or --max-tokens is missing"):
        t.get_batch_iterator(t.load_dataset("valid"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_one_stream(bert_data, bert_plm, workers):
    """One stream for each instance: uniform (chi-square), new in each epoch, equal when asked again; workers or not."""
    t = task(bert_data, bert_plm, augment=LANGUAGES, thresholds="0", one_stream=True)
    dataset = t.load_dataset("train")
    every = task(bert_data, bert_plm, augment=LANGUAGES, thresholds="0").load_dataset("train")
    variants = [[tuple(every[s * 480 + i]["substitutes"][:, 0].tolist()) for s in range(5)] for i in range(480)]

    def drawn(t, dataset, epoch):
        """For every instance the streams whose substitutes it has (several, where languages agree)."""
        matching = {}
        for batch in epoch_batches(t, dataset, epoch, max_sentences=32, num_workers=workers):
            for i, substitutes in zip(batch["id"].tolist(), batch["net_input"]["substitutes"].tolist()):
                length = len(variants[i][0])
                matching[i] = tuple(s for s in range(5) if variants[i][s] == tuple(substitutes[:length]))
        assert sorted(matching) == list(range(480)) and all(matching.values())
        return matching

    epochs = [drawn(t, dataset, epoch) for epoch in (1, 2, 3)]
    again = task(bert_data, bert_plm, augment=LANGUAGES, thresholds="0", one_stream=True)
    assert drawn(again, again.load_dataset("train"), 2) == epochs[1]
    clear = [i for i in range(480) if len(set(variants[i])) == 5]
    assert len(clear) > 300
    same = np.mean([epochs[0][i] == epochs[1][i] for i in clear])
    assert 0.1 < same < 0.3  # one in five
    counts = Counter(epoch[i][0] for epoch in epochs for i in clear)
    assert stats.chisquare([counts[s] for s in range(5)]).pvalue > 1e-3
    other = task(bert_data, bert_plm, augment=LANGUAGES, thresholds="0", one_stream=True, seed=2)
    assert drawn(other, other.load_dataset("train"), 1) != epochs[0]


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("options", [{"max_sentences": 32}, {"max_tokens": 1000}, {"max_sentences": 7, "max_tokens": 300}], ids=",".join)
def test_every_instance_once_per_epoch(bert_data, bert_plm, options, shards):
    """All (instance, stream) pairs, once; within the limits; other batches in another epoch; equal when asked again."""
    t = task(bert_data, bert_plm, augment="en,de")
    dataset, epochs = t.load_dataset("train"), []
    for epoch in (1, 2, 1):
        parts = [epoch_batches(t, dataset, epoch, num_shards=shards, shard_id=k, **options) for k in range(shards)]
        assert len({len(part) for part in parts}) == 1, "every process takes as many steps"
        batches = [batch for part in parts for batch in part if batch]
        ids = [batch["id"].tolist() for batch in batches]
        assert sorted(i for batch in ids for i in batch) == list(range(480 * 3))
        assert max(len(i) for i in ids) <= options.get("max_sentences", 480)
        assert max(b["net_input"]["src_tokens"].numel() for b in batches) <= options.get("max_tokens", 10**9)
        epochs.append(ids)
    assert epochs[0] == epochs[2] != epochs[1]
    members = [{frozenset(batch) for batch in ids} for ids in epochs]
    assert len(members[0] & members[1]) < 0.1 * len(members[0])


def test_evaluation_scores_every_example(bert_data, bert_plm):
    """fairseq's default leaves out the last examples that do not fill a multiple of 8."""
    t = task(bert_data, bert_plm)
    dataset = t.load_dataset("test.en")
    ids = [i for batch in epoch_batches(t, dataset, 1, max_sentences=7) for i in batch["id"].tolist()]
    assert sorted(ids) == list(range(120))


def without(data, subset, missing):
    """Take examples out of a subset of a copied data directory, as a data set that lacks their translation."""
    from salt_fairseq.storage.indexed_data import load_indexed, write_indexed

    manifest = DataDirectory(data)._manifest
    ids = DataDirectory(data).ids(subset)
    keep = [i for i, id in enumerate(ids) if id not in missing]
    for part in ("input0", "input1", "label"):
        stored = load_indexed(manifest, f"{part}/{subset}")
        sequences, dtype = [stored[i].clone() for i in keep], stored.dtype
        write_indexed(data / part / f"{subset}.new", sequences, dtype)
        for suffix in ("bin", "idx"):
            (data / part / f"{subset}.new.{suffix}").replace(data / part / f"{subset}.{suffix}")
    (data / "id" / f"{subset}.txt").write_text("".join(f"{ids[i]}\n" for i in keep), encoding="utf-8")
    write_manifest(data, manifest.values)


def test_generalized_pairs_are_matched_by_id(bert_data, bert_plm, tmp_path):
    """Both languages lack some examples, not the same ones: the reference joins the TSVs by id."""
    data, plm = shutil.copytree(bert_data, tmp_path / "data"), PLM.load(bert_plm)
    en, fr = ({row["id"]: row for row in read_tsv(QUICKSTART / f"test.{lang}.tsv")} for lang in ("en", "fr"))
    ids = list(en)
    missing = {"test.en": {ids[0], ids[5], ids[119]}, "test.fr": {ids[1], ids[5], ids[60]}}
    for subset, gone in missing.items():
        without(data, subset, gone)
    t = task(data, bert_plm, max_length=160)
    dataset = t.load_dataset("test.en-fr")
    expected = [id for id in ids if id not in missing["test.en"] | missing["test.fr"]]
    assert len(dataset) == len(expected) == 115
    for i, id in enumerate(expected):
        assert torch.equal(dataset[i]["tokens"], plm.encode(en[id]["sentence1"], fr[id]["sentence2"]))
        assert t.data.labels[dataset[i]["target"]] == en[id]["label"]
    with pytest.raises(InputError, match="has no subset 'test.xx'; it has train, valid, test.en"):
        t.load_dataset("test.en-xx")
