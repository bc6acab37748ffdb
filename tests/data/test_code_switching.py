"""Code-switching against its definition: a token is substituted exactly if its stored probability reaches tau."""

import math
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from salt_fairseq.candidates import open_candidates, write_candidates
from salt_fairseq.data.code_switching import CodeSwitching, log_threshold, parse_thresholds, thresholds_of
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.models.salt_encoder import SaltEncoderConfig
from salt_fairseq.modules.encoder import EOS
from salt_fairseq.plm import Description, Tokenizer
from salt_fairseq.storage.manifest import write_manifest
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairConfig, SaltSentencePairTask
from support.edited import edited

LOG_PROBS = st.lists(st.one_of(st.just(-math.inf), st.floats(-90, 0, width=32)), min_size=1, max_size=12)
CORPUS = st.lists(LOG_PROBS, min_size=1, max_size=6)


def task(data, **options):
    return SaltSentencePairTask(SaltSentencePairConfig(data=str(data), seed=1, **options))


def loaded(data, plm, **options):
    """The training set that the task loads."""
    t = task(data, **options)
    t.description = Description.load(plm)
    return t.load_dataset("train")


def test_parse_thresholds():
    assert parse_thresholds("en=1e-3,1e-7") == {"en": ("probability", 1e-3), None: ("probability", 1e-7)}
    assert parse_thresholds("40%") == {None: ("fraction", 0.4)}
    assert parse_thresholds("en=0, fr=100%") == {"en": ("probability", 0), "fr": ("fraction", 1)}


@pytest.mark.parametrize(
    "text, source, expected",
    [
        ("source=1e-3,1e-7", "en", [1e-3, 1e-7, 1e-7]),
        ("source=1e-3,1e-7", "de", [1e-7, 1e-7, 1e-3]),
        ("en=1e-3,1e-7", "de", [1e-3, 1e-7, 1e-7]),  # English words, in sentences of any language
        ("en=1e-3,source=0.5,1e-7", "en", [0.5, 1e-7, 1e-7]),
        ("en=1e-3,source=0.5,1e-7", "de", [1e-3, 1e-7, 0.5]),
        ("source=0.5,en=0.1,fr=0.2", "de", [0.1, 0.2, 0.5]),
        ("zh=0.5,1", "de", [1, 1, 1]),  # another source language, which is no target language
    ],
)
def test_thresholds_of_sentences_in_a_source_language(text, source, expected):
    thresholds = thresholds_of(["en", "fr", "de"], text, source, ["de", "en", "zh"])
    assert [thresholds[language] for language in ("en", "fr", "de")] == [("probability", value) for value in expected]


@pytest.mark.parametrize("text", ["2", "-1e-3", "en=101%", "en=", "", "en:1e-3", "1e-3;1e-7", "1e-7,", "nan", "=%"])
def test_misspelt_thresholds(text):
    with pytest.raises(InputError, match="give a probability in .0, 1. or a fraction from 0% to 100%"):
        parse_thresholds(text)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.floats(-90, 0, width=32), max_size=50), st.floats(0, 1))
def test_fraction_is_that_of_the_most_probable(values, fraction):
    """The reference is a full sort: k of n values reach the threshold, more only where the k-th has equals."""
    values = np.array([*values, -np.inf, -np.inf], dtype=np.float32)
    threshold = log_threshold(np.split(values, [len(values) // 2]), ("fraction", fraction))
    k = round(fraction * (len(values) - 2))
    descending = np.sort(values)[::-1]
    assert threshold == (descending[k - 1] if k else math.inf)
    assert (values >= threshold).sum() >= k and (values > threshold).sum() < max(k, 1)


def write_data(directory, corpus):
    """A data directory's candidates in ``xx`` with these log-probabilities; candidate ids are 1000, 1001, ..."""
    (directory / "candidates" / "xx" / "input0").mkdir(parents=True)
    flat = np.concatenate(corpus).astype(np.float32)
    ids = np.split(np.arange(1000, 1000 + len(flat)), np.cumsum([len(c) for c in corpus])[:-1])
    prefix = directory / "candidates" / "xx" / "input0" / "train"
    write_candidates(prefix, np.arange(len(corpus)), len(flat), [(np.array([len(c) for c in corpus]), np.concatenate(ids), flat)], np.int32)
    write_manifest(directory / "candidates" / "xx", {"sentences_sha256": {"input0/train": "0"}})
    write_manifest(directory, {"subsets": {"train": {"sha256": {"input0": "0"}}}})
    return ids


def substituted(data, corpus, kind, value):
    """Which tokens of each sentence are substituted, as sets of (sentence, token)."""
    switching = CodeSwitching(data, "train", "xx", ["input0"], (kind, value))
    positions = {(i, int(k)) for i, c in enumerate(corpus) for k in (switching.text(0, i, torch.zeros(len(c))) > 0).nonzero()}
    candidates = sum(math.isfinite(x) for c in corpus for x in c)
    assert switching.fraction == pytest.approx(len(positions) / max(1, candidates))
    return positions


@settings(max_examples=40, deadline=None, derandomize=True)
@given(corpus=CORPUS, exponents=st.lists(st.floats(-35, 0), min_size=2, max_size=4))
def test_thresholds_on_random_probabilities(tmp_path_factory, corpus, exponents):
    """For every tau the substituted tokens are those of {p >= tau}; the ids are the stored ones."""
    data = tmp_path_factory.mktemp("random")
    ids = write_data(data, corpus)
    for tau in [0, *(10**e for e in exponents), 1]:
        least = np.float32(math.log(tau)) if tau else -math.inf
        expected = {(i, k) for i, c in enumerate(corpus) for k, x in enumerate(c) if x >= least and x > -math.inf}
        assert substituted(data, corpus, "probability", tau) == expected
    everything = CodeSwitching(data, "train", "xx", ["input0"], ("probability", 0))
    for i, sentence in enumerate(corpus):
        switched = everything.text(0, i, torch.arange(len(sentence))).tolist()
        assert switched == [ids[i][k] if math.isfinite(x) else k for k, x in enumerate(sentence)]


@pytest.mark.slow
@pytest.mark.parametrize("plm_name", ["bert", "xlmr"])
def test_thresholds_on_real_candidates(plm_name, request):
    """Every stream of every language, read back from the training set, against the stored log-probabilities."""
    data, plm = request.getfixturevalue(f"{plm_name}_data"), request.getfixturevalue(f"{plm_name}_plm")
    sentences = [DataDirectory(data).sentences("train", f"input{side}") for side in (0, 1)]
    has_letter = torch.from_numpy(Tokenizer.load(plm, Description.load(plm).tokenizer).has_letter)
    n, counts, taus = len(sentences[0]), {}, ("0", "2e-3", "3e-3", "1")
    for tau in taus:
        dataset = loaded(data, plm, augment="en,de", thresholds=f"de={tau},2e-3", max_length=160)
        for stream, (language, least) in enumerate([("en", math.log(2e-3)), ("de", math.log(float(tau) or 1e-300))], 1):
            candidates = [open_candidates(data, "train", language, f"input{side}") for side in (0, 1)]
            counts[language, tau] = 0
            for i in range(0, n, 5):
                item = dataset[stream * n + i]
                tokens, substitutes = item["tokens"], item["substitutes"][:, 0]
                pairs = [candidates[side][i] for side in (0, 1)]
                ids, log_probs = (dataset.join(*parts) for parts in zip(*pairs))
                inner = dataset.join(*[torch.ones(len(s[i]), dtype=torch.long) * 9 for s in sentences]) == 9
                chosen = inner & (log_probs.double() >= least)
                assert len(tokens) == len(substitutes) and torch.equal(substitutes, torch.where(chosen, ids, tokens))
                assert torch.equal(substitutes != tokens, chosen), "a candidate is another word than the token"
                assert has_letter[tokens[chosen]].all() and not (tokens[chosen] <= EOS).any()
                assert torch.equal(tokens, dataset[i]["tokens"])
                counts[language, tau] += int(chosen.sum())
    de = [counts["de", tau] for tau in taus]
    assert de[0] > de[1] > de[2] > de[3] == 0
    assert len({count for (language, _), count in counts.items() if language == "en"}) == 1


def test_fraction_of_real_candidates(bert_data, bert_plm):
    """30% of the candidate tokens of both sentences together are substituted."""
    dataset = loaded(bert_data, bert_plm, augment="fr", thresholds="30%", no_original=True, max_length=160)
    both = [p for side in ("input0", "input1") for _, p in open_candidates(bert_data, "train", "fr", side)]
    changed = sum(int((dataset[i]["tokens"] != dataset[i]["substitutes"][:, 0]).sum()) for i in range(len(dataset)))
    assert changed == pytest.approx(0.3 * np.isfinite(np.concatenate(both)).sum(), abs=3)


@pytest.mark.parametrize("one_stream", [False, True])
def test_without_mixup_the_text_is_substituted(bert_data, bert_plm, one_stream):
    """``--mixup none``: what is mixed otherwise stands in the text itself, and the model gets nothing to mix."""
    options, sets = {"augment": "en,fr", "thresholds": "50%", "one_stream": one_stream}, {}
    for mixup in ("instance", "none"):
        t = task(bert_data, **options)
        t.build_model(OmegaConf.structured(SaltEncoderConfig(_name="salt_encoder", plm=str(bert_plm), mixup=mixup)))
        sets[mixup] = t.load_dataset("train")
    mixed, text = sets["instance"], sets["none"]
    assert len(mixed) == len(text) == (480 if one_stream else 1440)
    changed = 0
    for i in range(0, len(mixed), 7):
        assert torch.equal(text[i]["tokens"], mixed[i]["substitutes"][:, 0]) and text[i]["target"] == mixed[i]["target"]
        changed += not torch.equal(text[i]["tokens"], mixed[i]["tokens"])
    assert 0.4 < changed / len(range(0, len(mixed), 7)) < 0.8  # of three streams, two
    batch = text.collater([text[i] for i in range(0, len(text), 97)])["net_input"]
    assert set(batch) == {"src_tokens"}
    assert set(mixed.collater([mixed[0]])["net_input"]) == {"src_tokens", "substitutes"}


def test_no_language_model_is_needed(bert_data, bert_plm, tmp_path):
    """A sweep over thresholds reads nothing but the data directory: the PLM directory is gone."""
    plm = shutil.copytree(bert_plm, tmp_path / "plm")
    t = task(bert_data, augment="en,fr", thresholds="1e-4")
    t.build_model(OmegaConf.structured(SaltEncoderConfig(_name="salt_encoder", plm=str(plm))))
    shutil.rmtree(plm)
    changed = []
    for thresholds in ("1e-4", "1e-2", "50%"):
        t.cfg.thresholds = thresholds
        dataset = t.load_dataset("train")
        changed.append(sum(int((dataset[i]["tokens"] != dataset[i]["substitutes"][:, 0]).sum()) for i in range(480, 960)))
    assert len(set(changed)) == 3


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"augment": "en,sw"}, "has no candidates in language 'sw' .it has: de, en, es, fr.: run preprocess/distill.py"),
        ({"augment": "fr", "thresholds": "2"}, "threshold '2': give a probability in .0, 1."),
        ({"augment": "fr", "thresholds": "en=1e-3"}, "--thresholds en=1e-3 says nothing of language fr"),
        ({"no_original": True}, "--no-original without --augment or --lexicon leaves nothing to train on"),
    ],
)
def test_errors(bert_data, bert_plm, options, sentence):
    with pytest.raises(InputError, match=sentence):
        loaded(bert_data, bert_plm, **options)


def test_candidates_of_other_sentences(bert_data, bert_plm, tmp_path):
    """Data binarized again after distillation: its candidates belong to other sentences."""
    data = shutil.copytree(bert_data, tmp_path / "data")
    with edited(data / "meta.json") as meta:
        meta["subsets"]["train"]["sha256"]["input1"] = "0" * 64
    assert len(loaded(data, bert_plm)) == 480
    with pytest.raises(InputError, match="was not made from .*input1.train as it is now: make it again with preprocess/distill"):
        loaded(data, bert_plm, augment="fr")
