"""Checkpoints, data directories and PLM directories that predict takes, and those that it refuses."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from salt_fairseq.checkpoints import load_checkpoint, load_labels
from salt_fairseq.errors import InputError
from support.classifiers import LABELS, binarized, fine_tuned
from support.predicting import error, typed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(xlmr_plm, tmp_path_factory):
    """Data directory, PLM directory and checkpoint of a classifier of pairs."""
    directory = tmp_path_factory.mktemp("pairs")
    data = binarized(xlmr_plm, directory / "data")
    return SimpleNamespace(data=data, plm=xlmr_plm, path=fine_tuned(data, xlmr_plm, directory / "ckpt"))


def altered(made, tmp_path, **values):
    """A copy of the checkpoint with other entries."""
    saved = torch.load(made.path, weights_only=True)
    torch.save({**saved, **values}, tmp_path / "altered.pt")
    return tmp_path / "altered.pt"


def test_labels(made, bert_plm, tmp_path):
    """The checkpoint names them; an older one needs the data directory that it was trained on, or another that fits."""
    ours, sentence = made, "a\tb\n".encode()
    assert load_labels(load_checkpoint(ours.path)) == (LABELS, 2)
    older = altered(made, tmp_path, task_state={})
    expected = typed(sentence, ours.path)
    assert typed(sentence, older) == expected
    data = shutil.move(ours.data, tmp_path / "moved")
    assert typed(sentence, ours.path) == typed(sentence, older, "--data", data) == expected
    assert error(sentence, older) == (
        f"{ours.data} is no data directory, and {older} does not name its labels: name the data directory that it was trained on with --data"
    )
    with_three = binarized(ours.plm, tmp_path / "three", labels=["no", "yes", "perhaps"])
    assert f"{older} tells 2 classes apart, but {with_three} has the labels no, yes, perhaps" in error(sentence, older, "--data", with_three)
    shutil.move(data, ours.data)


# QData/TextAttack#684: 7% accuracy where 84% was right, as the classes are numbered in another order
def test_directories_with_other_labels(made, tmp_path, labelled_otherwise):
    """The checkpoint's own labels decide: with the same ones in another order, every answer would be another."""
    path = made.path
    for directory, labels in labelled_otherwise(made.plm, tmp_path).items():
        assert error(b"a\tb\n", path, "--data", directory) == (
            f"{path} tells other, paraphrase apart, but {directory} has the labels {labels}: name the data directory that it was trained on with --data"
        )
    single = binarized(made.plm, tmp_path / "single", pairs=False)
    assert error(b"a\tb\n", path, "--data", single) == f"one of {path} and {single} is for sentence pairs and the other for single sentences"
    assert error(b"a\tb\n", path, "--data", tmp_path) == f"{tmp_path} is no data directory: name the data directory that it was trained on with --data"


def test_plm_directory(made, bert_plm, tmp_path):
    sentence, path = b"a\tb\n", made.path
    assert error(sentence, path, "--plm", bert_plm) == (
        f"{bert_plm} has the vocabulary of bert0, but {path} was trained with that of xlmr0: name its PLM directory with --plm"
    )
    assert error(sentence, path, "--plm", tmp_path).startswith(f"{tmp_path} is no PLM directory, and the tokenizer of {path}")
    copy = shutil.copytree(made.plm, tmp_path / "plm")
    assert typed(sentence, path, "--plm", copy) == typed(sentence, path)
    (copy / "tokenizer.json").write_text("{}")
    assert error(sentence, path, "--plm", copy) == (f"{copy / 'tokenizer.json'} is not the file plm.json describes: import the PLM again")


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_checkpoints_that_are_none(made, tmp_path):
    """One sentence each; what a pickle would run does not run."""
    ours, bad = made, tmp_path / "bad.pt"

    def sentence(path=bad):
        with pytest.raises(InputError) as raised:
            load_checkpoint(path)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert sentence(tmp_path) == f"{tmp_path} is a directory: name a checkpoint in it, e.g. {tmp_path}/checkpoint_best.pt"
    assert sentence() == f"{bad} does not exist: name a checkpoint that fairseq-train wrote"
    for content in (b"", b"hello", ours.path.read_bytes()[:5000]):
        bad.write_bytes(content)
        assert sentence() == f"{bad} is not a checkpoint, or not a complete one (BadZipFile): copy or train it again"
    torch.save({"cfg": Payload(tmp_path / "ran"), "model": {}}, bad)
    assert "more than tensors and plain values" in sentence() and not (tmp_path / "ran").exists()
    assert sentence(ours.plm / "model.pt").endswith("is not a fine-tuned checkpoint: name a file that fairseq-train wrote")
    saved = torch.load(ours.path, weights_only=True)
    cfg, weights = saved["cfg"], saved["model"]

    def with_model(**tensors):
        return sentence(altered(made, tmp_path, model={k: v for k, v in {**weights, **tensors}.items() if v is not None}))

    other = altered(made, tmp_path, cfg={**cfg, "model": {**cfg["model"], "_name": "roberta"}})
    assert sentence(other) == f"{other} holds the model roberta: a checkpoint trained with --arch salt_encoder is needed"
    assert "is not a checkpoint of this project's" in sentence(altered(made, tmp_path, cfg={}))
    assert "Key 'depth' not in" in sentence(altered(made, tmp_path, cfg={**cfg, "model": {**cfg["model"], "depth": 3}}))
    assert "lacks classifier.weight" in with_model(**{"classifier.weight": None})
    assert "pooler.bias" in with_model(**{"pooler.bias": None})
    assert "size mismatch for pooler.bias" in with_model(**{"pooler.bias": torch.zeros(3)})
    broken = weights["pooler.bias"].clone()
    broken[0] = float("nan")
    assert "the weights pooler.bias are not finite: training diverged" in with_model(**{"pooler.bias": broken})
