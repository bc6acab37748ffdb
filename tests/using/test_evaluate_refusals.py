"""What ``python -m salt_fairseq.evaluate`` does not score, and single sentences."""

import shutil
from unittest import mock

import pytest
import torch

from preprocess import binarize
from salt_fairseq import evaluate
from salt_fairseq.data import distinct_pairs
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.token_batches import token_batches
from support.edited import edited
from support.in_process import call, error_of
from support.running import QUICKSTART, read_tsv
from support.scored import loop, results


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
    written = results(tmp_path / "out.json")
    expected = loop(tmp_path / "single.pt", tmp_path / "data", "test.fr").argmax(1).tolist()
    assert written["checkpoints"][0]["predictions"] == {"test.fr": expected}
    assert list(written["data"]["subsets"]["test.fr"]["sha256"]) == ["input0"]
    sentence = error_of(evaluate, *words, tmp_path / "single.pt", "--generalized", "test")
    assert sentence == (f"--generalized test: sentence pairs of this split in two languages or more are needed, but {tmp_path / 'data'} has test.fr")
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
    sentence = error_of(evaluate, xlmr_data, "--path", tmp_path / "broken.pt", "--subsets", "test.fr", "--out", tmp_path / "out.json")
    assert sentence.startswith(f"{tmp_path / 'broken.pt'} gives logits that are not finite, first for example {id} of test.fr:")
    assert not (tmp_path / "out.json").exists()


def test_a_lost_example_is_noticed(xlmr_data, checkpoints, tmp_path):
    with mock.patch.object(distinct_pairs, "token_batches", lambda *args: list(token_batches(*args))[:-1]), pytest.raises(RuntimeError, match="once"):
        call(evaluate, xlmr_data, "--path", checkpoints[0], "--max-tokens", 200, "--out", tmp_path / "out.json")


@pytest.mark.parametrize(
    "more, sentence",
    [
        (["--subsets", "test.xx"], "has no subset 'test.xx'; it has train, valid, test.en, test.fr, test.de, test.ru"),
        (["--subsets", "test.en-xx"], "has no subset 'test.xx'; it has train"),
        (["--subsets", "test.en-fr-de"], "'test.en-fr-de': the generalized setting takes two languages"),
        (["--subsets", "tset.*"], "--subsets tset.* matches no subset of "),
        (["--generalized", "valid"], "--generalized valid: "),
        (["--max-tokens", 39], "--max-tokens 39 is less than the --max-length 40 of "),
        (["--out", "/proc/x/out.json"], "cannot write /proc/x/out.json: No such file or directory; choose another output path"),
        (["--device", "cuda:77"], "--device cuda:77 cannot be used here ("),
        (["--out", "tests"], "/tests is a directory: name a file"),
    ],
)
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
    assert sentence(bad) == (f"{bad} tells 1, 0 apart, but {xlmr_data} has 0, 1: binarize its data with the labels of the training data, in their order")
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
