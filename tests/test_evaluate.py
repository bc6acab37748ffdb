"""``python -m salt_fairseq.evaluate`` against fairseq-validate, one example at a time, and itself interrupted."""

import json
import shutil
import sys
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from conftest import QUICKSTART, read_tsv, run
from edited import edited
from fairseq_cli import train
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import call, error_of
from training import training, validate

from preprocess import binarize
from salt_fairseq import evaluate
from salt_fairseq.checkpoints import load_checkpoint
from salt_fairseq.data_directory import DataDirectory
from salt_fairseq.distinct_pairs import Batches, DistinctPairs
from salt_fairseq.models.salt_encoder import SaltEncoder
from salt_fairseq.plm import Description
from salt_fairseq.resumable import Resumable
from salt_fairseq.sentence_pair_dataset import SentencePairDataset

MAX_LENGTH = 40  # many pairs of the quickstart are longer
LANGUAGES = ["en", "fr", "de", "ru"]


def opened(path, data, name):
    """The model of a checkpoint and the examples of a subset."""
    model = load_checkpoint(path).model
    return model, SentencePairDataset(*DataDirectory(data).load(name), model.description.join, MAX_LENGTH)


def loop(path, data, name):
    """Logits of one example after the other, in fp32: FloatTensor (N, classes)."""
    model, dataset = opened(path, data, name)
    model.cfg.autocast_bf16 = False
    with torch.inference_mode():
        return torch.cat([model(dataset[i]["tokens"][None])[0] for i in range(len(dataset))])


def sharpened(path, data, seed, to):
    """The checkpoint with a classifier that finds each of its labels often, whatever few updates have taught it."""
    state = torch.load(path, weights_only=True)
    generator = torch.Generator().manual_seed(seed)
    state["model"]["classifier.weight"] = torch.randn(state["model"]["classifier.weight"].shape, generator=generator)
    state["cfg"]["common"]["seed"] = seed
    torch.save(state, to)
    logits = loop(to, data, "test.en")
    scale = 1 / logits.std(0)
    state["model"]["classifier.weight"] *= scale[:, None]
    state["model"]["classifier.bias"] = -logits.mean(0) * scale
    torch.save(state, to)
    return to


@pytest.fixture(scope="module")
def checkpoints(xlmr_data, xlmr_plm, tmp_path_factory):
    """Two, as fairseq-train writes them; the PLM directory that they name is gone."""
    directory = tmp_path_factory.mktemp("checkpoints")
    plm = shutil.copytree(xlmr_plm, directory / "plm")
    words = training(xlmr_data, plm, directory, "--disable-validation", "--max-length", MAX_LENGTH, updates=2)
    with mock.patch.object(sys, "argv", ["fairseq-train", *map(str, words)]):
        train.cli_main()
    shutil.rmtree(plm)
    return [sharpened(directory / "checkpoint_last.pt", xlmr_data, seed, directory / f"{seed}.pt") for seed in (11, 12)]


def results(path):
    return json.loads(path.read_text(encoding="utf-8"))


def labels_of(language):
    return [int(row["label"]) for row in read_tsv(QUICKSTART / f"test.{language}.tsv")]


@contextmanager
def counted_rows():
    """The number of rows of each call of the model, as a list that grows."""
    rows, forward = [], SaltEncoder.forward

    def counting(self, src_tokens, *args):
        rows.append(len(src_tokens))
        return forward(self, src_tokens, *args)

    with mock.patch.object(SaltEncoder, "forward", counting):
        yield rows


def test_command_line(xlmr_data, checkpoints, tmp_path):
    """As typed: accuracies are those of fairseq-validate, predictions those of a loop over single examples."""
    out, names = tmp_path / "new" / "results.json", ["test.en", "test.fr", "test.en-de"]
    done = run("python", "-m", "salt_fairseq.evaluate", xlmr_data, "--path", *checkpoints, "--out", out, "--subsets",
               "test.en-en,test.f*,test.en-de")
    found = results(out)
    assert list(out.parent.iterdir()) == [out]
    assert found["labels"] == ["0", "1"] and found["data"]["source_language"] == "en"
    meta = json.loads((xlmr_data / "meta.json").read_text())["subsets"]
    assert found["data"]["subsets"] == {
        "test.en": {"examples": 120, "sha256": meta["test.en"]["sha256"]},
        "test.fr": {"examples": 120, "sha256": meta["test.fr"]["sha256"]},
        "test.en-de": {"examples": 120, "sha256": {"input0": meta["test.en"]["sha256"]["input0"],
                                                   "input1": meta["test.de"]["sha256"]["input1"]}},
    }
    assert found["targets"] == {name: labels_of(name[5:7]) for name in names}
    validated = validate(xlmr_data, checkpoints[1], names, "--max-length", MAX_LENGTH, "--batch-size", 9)
    for path, seed, one in zip(checkpoints, (11, 12), found["checkpoints"], strict=True):
        assert (one["path"], one["seed"], one["updates"], one["dtype"]) == (str(path), seed, 2, "fp32")
        assert one["task"]["max_length"] == MAX_LENGTH and one["model"]["mixup"] == "instance"
        assert "plm_description" not in one["model"] and one["plm"] == "xlmr0"
        for name in names:
            assert one["predictions"][name] == loop(path, xlmr_data, name).argmax(1).tolist()
            assert 10 < sum(one["predictions"][name]) < 110
            right = np.mean(np.equal(one["predictions"][name], found["targets"][name]))
            assert one["accuracy"][name] == 100 * right
            if seed == 12:
                assert round(one["accuracy"][name], 2) == validated[name]["accuracy"]
        accuracy = one["accuracy"]
        # German and Russian are missing, so there is no average.
        assert f"{path}: {'; '.join(f'{name} {accuracy[name]:.2f}' for name in names)} (" in done.stdout
    assert found["checkpoints"][0]["predictions"] != found["checkpoints"][1]["predictions"]
    assert done.stdout.splitlines()[-1] == f"wrote {out}: 2 checkpoints, 3 subsets"


def test_generalized_scores_each_distinct_pair_once(xlmr_data, checkpoints, tmp_path, capsys):
    """All pairs of languages, two of which have equal sentences; in many batches or few."""
    data = shutil.copytree(xlmr_data, tmp_path / "data")
    for file in data.rglob("test.en.*"):
        shutil.copy(file, file.with_name(file.name.replace("test.en", "test.xx")))
    with edited(data / "meta.json") as meta:
        meta["subsets"]["test.xx"] = meta["subsets"]["test.en"]
    for max_tokens in (MAX_LENGTH, 2000):
        with counted_rows() as rows:
            call(evaluate, data, "--path", checkpoints[0], "--generalized", "test", "--subsets", "test.fr,test.fr-fr",
                 "--max-tokens", max_tokens, "--out", tmp_path / f"{max_tokens}.json")
        assert sum(rows) == 16 * 120
    few, many = results(tmp_path / "2000.json"), results(tmp_path / "40.json")
    assert few["checkpoints"] == many["checkpoints"]
    accuracy, predictions = (few["checkpoints"][0][key] for key in ("accuracy", "predictions"))
    languages = [*LANGUAGES, "xx"]
    matrix = [f"test.{a}" if a == b else f"test.{a}-{b}" for a in languages for b in languages]
    assert sorted(accuracy) == sorted(predictions) == sorted(matrix) and list(accuracy)[0] == "test.fr"
    for name in ("test.ru-en", "test.de", "test.fr-ru"):
        assert predictions[name] == loop(checkpoints[0], xlmr_data, name).argmax(1).tolist()
    assert predictions["test.ru-en"] == predictions["test.ru-xx"] and predictions["test.en"] == predictions["test.xx-en"]
    line = [line for line in capsys.readouterr().out.splitlines() if "pairs of languages" in line][0]
    assert f"; 25 pairs of languages {np.mean(list(accuracy.values())):.2f} (" in line
    plain = [accuracy[f"test.{language}"] for language in languages]
    assert f"without en {np.mean(plain[1:]):.2f}, with en {np.mean(plain):.2f}" in line


class Sentences(list):
    """Stands in for an indexed input."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=20), st.integers(8, 60),
       st.integers(1, 200), st.sampled_from([1, 2]), st.booleans())
def test_batches_are_those_of_the_dataset(lengths, max_length, more_tokens, separators, single):
    """Truncated and joined as SentencePairDataset does it, padded, within the limit, each pair once, longest first."""
    rng = np.random.default_rng(max_length)
    inputs = [Sentences(torch.tensor([*rng.integers(4, 9, n - 1), 2]) for n in side) for side in zip(*lengths)][: 2 - single]
    rows, targets = [rng.permutation(len(lengths)) for _ in inputs], np.zeros(len(lengths), int)
    join = Description("", "", "", separators, {}, None, {}).join
    pairs = DistinctPairs({"a": (inputs, rows, targets), "b": (inputs, [r[:1] for r in rows], targets[:1])})
    assert pairs.number["b"][0] == pairs.number["a"][0]
    for side in inputs:
        side.sizes = np.array([len(s) for s in side])
    dataset = SentencePairDataset(inputs, rows, targets, join, max_length)
    expected = {int(number): dataset[i]["tokens"].tolist() for i, number in enumerate(pairs.number["a"])}
    batches, found, sizes = Batches(pairs, join, max_length, max_length + more_tokens, "cpu"), {}, []
    for start, stop, tokens in batches:
        assert tokens.numel() <= max_length + more_tokens and len(tokens) == stop - start
        sizes += [tokens.shape[1]]
        for number, row in zip(batches.order[start:stop].tolist(), tokens.tolist(), strict=True):
            assert number not in found
            length = len(expected[number])
            found[number] = row[:length]
            assert row[length:] == [1] * (len(row) - length)
    assert found == expected and sizes == sorted(sizes, reverse=True)
    assert len(pairs) == len({tuple(tuple(s[i].tolist()) for s, i in zip(inputs, place)) for place in zip(*rows)})


@pytest.mark.parametrize("due, left", [(False, 480), (True, 360)])
def test_resumed(xlmr_data, checkpoints, tmp_path, capsys, due, left):
    """Interrupted in the second checkpoint, run again: nothing that was saved is scored again, the file is equal in every
    byte, and so are the averages on the screen to those of the file. ``due``: after each batch, it is time to save."""
    words = [xlmr_data, "--path", *checkpoints, "--subsets", "test.*", "--max-tokens", 60 * MAX_LENGTH, "--out"]
    whole, out = tmp_path / "whole.json", tmp_path / "out.json"
    call(evaluate, *words, whole)
    printed = capsys.readouterr().out
    for path, one in zip(checkpoints, results(whole)["checkpoints"], strict=True):
        others = np.mean([one["accuracy"][f"test.{language}"] for language in ("fr", "de", "ru")])
        assert f"{path}: test avg. without en {others:.2f}, with en {np.mean(list(one['accuracy'].values())):.2f} (" in printed
    forward, scored = SaltEncoder.forward, []

    def interrupted(self, src_tokens):
        scored.append(len(src_tokens))
        if sum(scored) > 600:
            raise KeyboardInterrupt
        return forward(self, src_tokens)

    with mock.patch.object(SaltEncoder, "forward", interrupted), pytest.raises(KeyboardInterrupt):
        with mock.patch.object(Resumable, "due", lambda self: due):
            call(evaluate, *words, out)
    assert not out.exists() and (tmp_path / ".out.json.evaluation").is_dir()
    capsys.readouterr()
    with counted_rows() as rows:
        call(evaluate, *words, out)
    assert left - 60 < sum(rows) <= left and "(finished before)" in capsys.readouterr().out
    assert out.read_bytes() == whole.read_bytes() and sorted(tmp_path.iterdir()) == [out, whole]


def test_other_options_do_not_resume(xlmr_data, checkpoints, tmp_path):
    """What was scored on other subsets or in another precision is not taken for the result."""
    out = tmp_path / "out.json"
    for more in (["--subsets", "test.fr"], ["--subsets", "test.de"], ["--subsets", "test.de", "--dtype", "bf16"]):
        with mock.patch.object(Resumable, "remove"), counted_rows() as rows:
            call(evaluate, xlmr_data, "--path", checkpoints[0], "--out", out, *more)
        assert sum(rows) == 120
    assert results(out)["checkpoints"][0]["dtype"] == "bf16" and list(results(out)["targets"]) == ["test.de"]


def test_precision(xlmr_data, checkpoints, tmp_path):
    """bf16 by default where the checkpoint was trained in it, and as the model computes in it; fp32 if asked for."""
    state = torch.load(checkpoints[0], weights_only=True)
    state["cfg"]["model"]["autocast_bf16"] = True
    torch.save(state, tmp_path / "bf16.pt")
    words = [xlmr_data, "--path", tmp_path / "bf16.pt", "--subsets", "test.fr", "--out"]
    model, dataset = opened(tmp_path / "bf16.pt", xlmr_data, "test.fr")
    order = sorted(range(120), key=lambda i: -len(dataset[i]["tokens"]))
    with torch.inference_mode():
        items = dataset.collater([dataset[i] for i in order])
        logits, _ = model(**items["net_input"])
    assert logits.dtype == torch.bfloat16
    bf16 = dict(zip(order, logits.argmax(1).tolist()))
    fp32 = loop(tmp_path / "bf16.pt", xlmr_data, "test.fr").argmax(1).tolist()
    for more, dtype, expected in (([], "bf16", [bf16[i] for i in range(120)]), (["--dtype", "fp32"], "fp32", fp32)):
        call(evaluate, *words, tmp_path / "out.json", "--max-tokens", 120 * MAX_LENGTH, *more)
        found = results(tmp_path / "out.json")["checkpoints"][0]
        assert found["dtype"] == dtype and found["predictions"]["test.fr"] == expected
        assert found["model"]["autocast_bf16"] is True


def test_single_sentences(xlmr_data, xlmr_plm, checkpoints, tmp_path):
    """Not with a checkpoint that was trained on pairs; there is no generalized setting."""
    rows = read_tsv(QUICKSTART / "test.fr.tsv")
    (tmp_path / "fr.tsv").write_text("sentence1\tlabel\n" + "".join(f"{r['sentence1']}\t{r['label']}\n" for r in rows))
    call(binarize, xlmr_plm, tmp_path / "data", "--subset", f"test.fr={tmp_path / 'fr.tsv'}", "--labels", "0,1")
    state = torch.load(checkpoints[0], weights_only=True)
    assert state["task_state"]["pairs"] is True
    state["task_state"]["pairs"] = False
    torch.save(state, tmp_path / "single.pt")
    words = [tmp_path / "data", "--out", tmp_path / "out.json", "--path"]
    call(evaluate, *words, tmp_path / "single.pt")
    found = results(tmp_path / "out.json")
    expected = loop(tmp_path / "single.pt", tmp_path / "data", "test.fr").argmax(1).tolist()
    assert found["checkpoints"][0]["predictions"] == {"test.fr": expected}
    assert list(found["data"]["subsets"]["test.fr"]["sha256"]) == ["input0"]
    sentence = error_of(evaluate, *words, tmp_path / "single.pt", "--generalized", "test")
    assert sentence == (f"--generalized test: sentence pairs of this split in two languages or more are needed, but "
                        f"{tmp_path / 'data'} has test.fr")
    sentence = error_of(evaluate, *words, checkpoints[0])
    assert sentence == f"one of {checkpoints[0]} and {tmp_path / 'data'} is for sentence pairs and the other for single sentences"


def test_not_finite(xlmr_data, checkpoints, tmp_path):
    """The first example that has a token whose embedding overflows is named, and nothing is written."""
    first, second = (DataDirectory(xlmr_data).sentences("test.fr", side) for side in ("input0", "input1"))
    state = torch.load(checkpoints[0], weights_only=True)
    token = int(first[50][1])
    state["model"]["encoder.embed_tokens.weight"][token] = 3e38
    torch.save(state, tmp_path / "broken.pt")
    guilty = [i for i in range(120) if token in first[i].tolist() + second[i].tolist()][0]
    id = read_tsv(QUICKSTART / "test.fr.tsv")[guilty]["id"]
    sentence = error_of(evaluate, xlmr_data, "--path", tmp_path / "broken.pt", "--subsets", "test.fr", "--out",
                        tmp_path / "out.json")
    assert sentence.startswith(f"{tmp_path / 'broken.pt'} gives logits that are not finite, first for example {id} of test.fr:")
    assert not (tmp_path / "out.json").exists()


def test_a_lost_example_is_noticed(xlmr_data, checkpoints, tmp_path):
    split = Batches._split
    with mock.patch.object(Batches, "_split", staticmethod(lambda *args: split(*args)[:-1])), pytest.raises(RuntimeError, match="once"):
        call(evaluate, xlmr_data, "--path", checkpoints[0], "--max-tokens", 200, "--out", tmp_path / "out.json")


@pytest.mark.parametrize("more, sentence", [
    (["--subsets", "test.xx"], "has no subset 'test.xx'; it has train, valid, test.en, test.fr, test.de, test.ru"),
    (["--subsets", "test.en-xx"], "has no subset 'test.xx'; it has train"),
    (["--subsets", "test.en-fr-de"], "'test.en-fr-de': the generalized setting takes two languages"),
    (["--subsets", "tset.*"], "--subsets tset.* matches no subset of "),
    (["--generalized", "valid"], "--generalized valid: "),
    (["--max-tokens", 39], "--max-tokens 39 is less than the --max-length 40 of "),
    (["--out", "/proc/x/out.json"], "cannot write /proc/x/out.json: No such file or directory; choose another output path"),
    (["--device", "cuda:77"], "--device cuda:77 cannot be used here ("),
    (["--out", "tests"], "--out tests is a directory: name a file"),
])
def test_options(xlmr_data, checkpoints, tmp_path, more, sentence):
    words = [xlmr_data, "--path", checkpoints[0], *([] if "--out" in more else ["--out", tmp_path / "out.json"]), *more]
    assert sentence in error_of(evaluate, *words)


class Payload:
    def __reduce__(self):
        return print, ("code from the checkpoint runs",)


def test_checkpoints_that_do_not_fit(xlmr_data, checkpoints, tmp_path, capsys):
    """All of ``--path`` are looked at before any work."""
    bad, first = tmp_path / "bad.pt", checkpoints[0]

    def sentence(*paths, data=xlmr_data):
        return error_of(evaluate, data, "--path", *paths, "--out", tmp_path / "out.json")

    assert sentence(first, tmp_path / "no.pt").startswith(f"{tmp_path}/no.pt does not exist")
    assert sentence(first, first.parent).startswith(f"{first.parent} is a directory")
    assert sentence(first, first.parent / "." / first.name) == f"--path names {first} twice"
    bad.write_bytes(first.read_bytes()[:3000])
    assert str(bad) in sentence(first, bad)
    torch.save({"cfg": Payload()}, bad)
    assert str(bad) in sentence(first, bad)
    state = torch.load(first, weights_only=True)
    torch.save({**state, "cfg": {"task": {"_name": "sentence_prediction"}, "model": {"_name": "roberta"}}}, bad)
    assert f"{bad} holds the model roberta" in sentence(first, bad)
    torch.save({**state, "task_state": {**state["task_state"], "labels": ["1", "0"]}}, bad)
    assert sentence(bad) == (f"{bad} tells 1, 0 apart, but {xlmr_data} has 0, 1: binarize its data with the labels of the "
                             "training data, in their order")
    state["model"] |= {"classifier.weight": torch.zeros(3, 40), "classifier.bias": torch.zeros(3)}
    torch.save({**state, "task_state": {}}, bad)
    assert f"{bad} tells 3 labels apart, but {xlmr_data} has 0, 1" in sentence(bad)
    data = shutil.copytree(xlmr_data, tmp_path / "data")
    with edited(data / "meta.json") as meta:
        meta["plm"] |= {"name": "other", "vocabulary_sha256": "0"}
    assert f"{data} was binarized with the vocabulary of other, but {first} has that of xlmr0" in sentence(first, data=data)
    out = capsys.readouterr()
    assert "code from the checkpoint" not in out.out and "tokens/s" not in out.err
    assert sorted(tmp_path.iterdir()) == [bad, data]
