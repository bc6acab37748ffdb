"""Training of the LM head as a command: what changes and what does not, what it learns, and that it can be killed.

Reference: bytes of an uninterrupted run. What it draws and computes: test_lm_head_parts.py.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from preprocess import export_hf, train_lm_head
from preprocess.lm_head import head_training
from salt_fairseq.cli import progress
from salt_fairseq.plm import PLM
from salt_fairseq.storage.resumable import Resumable
from support.in_process import call, error_of
from support.running import ROOT

pytestmark = pytest.mark.slow

FILES = ["model.pt", "dict.txt", "tokenizer.json", "plm.json", "training.json"]


def options(texts, *more, steps=6):
    return ["--text", *texts, "--steps", steps, "--max-tokens", 256, "--device", "cpu", "--seed", 7, *more]


def tensors(plm_dir):
    return torch.load(plm_dir / "model.pt", weights_only=True)["model"]


def files(plm_dir):
    return {name: (plm_dir / name).read_bytes() for name in FILES}


@pytest.mark.parametrize(
    ("layers", "more"),
    [(0, []), (1, ["--autocast-bf16"]), (2, ["--fresh-head", "--unmasked", "itself"]), (0, ["--selected", 0]), (0, ["--unmasked", "nothing"])],
)
def test_only_what_should_be_trained_changes(layers, more, xlmr_plm, texts, tmp_path, capsys):
    call(train_lm_head, xlmr_plm, tmp_path / "out", *options(texts, "--layers", layers, *more, steps=2))
    before, after = tensors(xlmr_plm), tensors(tmp_path / "out")
    assert {name for name in before if not torch.equal(before[name], after[name])} == {n for n in before if n.startswith("lm_head.")}
    own = {name: after[name] for name in after.keys() - before.keys()}  # began as copies of the encoder's top layers
    starts = {
        name: before[name.replace(f"lm_head.layers.{i}.", f"encoder.layers.{2 - layers + i}.")]
        for i in range(layers)
        for name in own
        if name.startswith(f"lm_head.layers.{i}.")
    }
    assert len(own) == 12 * layers and starts.keys() == own.keys()
    assert all(own[name].shape == starts[name].shape and not torch.equal(own[name], starts[name]) for name in own)
    plm, (*_, last) = PLM.load(tmp_path / "out"), capsys.readouterr().out.splitlines()
    assert plm.description.lm_head == "trained" and plm.description.name == "out"
    assert last.startswith(f"wrote {tmp_path / 'out'}: LM head{f' with {layers} layers' * bool(layers)} for")
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert list(record["text"]) == ["a.txt", "b.txt.xz"] and record["layers"] == layers
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_layers_of_the_heads_own(xlmr_plm, texts, tmp_path):
    """Trained twice, for one layer, then two: the logits are those of a model of transformers with these layers on top."""
    for source, out, layers in ((xlmr_plm, "one", 1), (tmp_path / "one", "two", 2), (tmp_path / "two", "same", 0)):
        call(train_lm_head, source, tmp_path / out, *options(texts, "--layers", layers, steps=2))
    before, two, same = (tensors(directory) for directory in (tmp_path / "one", tmp_path / "two", tmp_path / "same"))
    assert not torch.equal(before["lm_head.layers.0.fc1.weight"], two["lm_head.layers.1.fc1.weight"])
    assert all(torch.equal(two[name], same[name]) for name in two if name.startswith("lm_head.layers."))
    plm = PLM.load(tmp_path / "two")
    tokens = plm.encode("The house by the sea.", "Das Haus")[None]
    assert torch.equal(plm.features(tokens), PLM.load(xlmr_plm).features(tokens))
    call(export_hf, tmp_path / "two", tmp_path / "hf")
    ids = torch.load(tmp_path / "two" / "model.pt", weights_only=True)["published"]["ids"]
    with torch.inference_mode():
        theirs = AutoModelForMaskedLM.from_pretrained(tmp_path / "hf")(ids[tokens]).logits[:, :, ids]
    torch.testing.assert_close(plm.logits(tokens), theirs, atol=1e-4, rtol=0)


def test_wordpiece_with_a_pooler(bert_plm, texts, tmp_path):
    call(train_lm_head, bert_plm, tmp_path / "out", *options(texts, steps=1))
    before, after = tensors(bert_plm), tensors(tmp_path / "out")
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "lm_head.dense.weight",
        "lm_head.dense.bias",
        "lm_head.layer_norm.weight",
        "lm_head.layer_norm.bias",
        "lm_head.bias",
    }
    assert any(name.startswith("pooler.") for name in after)


def test_learns(xlmr_plm, texts, tmp_path, monkeypatch, capsys):
    """Held-out accuracies rise from those of random weights, and both losses fall."""
    losses = []
    step = head_training.HeadTraining.step
    monkeypatch.setattr(head_training.HeadTraining, "step", lambda self, *a: losses.append(step(self, *a)) or losses[-1])
    call(train_lm_head, xlmr_plm, tmp_path / "out", *options(texts, "--lr", 3e-2, "--temperature", 0.05, steps=150))
    before, after = (json.loads((tmp_path / "out" / "training.json").read_text())["held_out_accuracy"][w] for w in ("before", "after"))
    assert before.keys() == after.keys() == {"masked", "unmasked", "neighbours"}
    assert after["unmasked"] > before["unmasked"] + 0.3 and after["neighbours"] > before["neighbours"] + 0.05
    (masked, unmasked), (masked_then, unmasked_then) = np.mean(losses[:10], 0), np.mean(losses[-10:], 0)
    assert masked_then < masked - 0.5 and unmasked_then < 0.7 * unmasked
    printed = capsys.readouterr().out.splitlines()
    assert printed[1] == "held-out accuracy after: " + ", ".join(f"{k} {100 * v:.1f}%" for k, v in after.items())


@pytest.mark.long
def test_killed_and_repeated(xlmr_plm, texts, tmp_path, one_thread, capsys, monkeypatch):
    """SIGKILL, then the same command: byte for byte the files of a run that nothing stopped."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    slow = (
        "import sys, time; from preprocess import train_lm_head as t; from preprocess.lm_head import head_training as h\n"
        "from salt_fairseq.storage import resumable as r; r.CHECKPOINT_SECONDS = 0\n"
        "step = h.HeadTraining.step; h.HeadTraining.step = lambda s, *a: time.sleep(0.2) or step(s, *a)\nt.main()"
    )
    words = [str(w) for w in options(texts, "--layers", 1, steps=20)]
    process = subprocess.Popen(
        [sys.executable, "-c", slow, str(xlmr_plm), str(tmp_path / "killed"), *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / ".killed.training" / "checkpoint.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = torch.load(checkpoint, weights_only=True)["steps"]
    assert 0 < done < 20 and not (tmp_path / "killed").exists()
    torch.manual_seed(5)
    monkeypatch.setattr(progress, "SECONDS", 0)
    call(train_lm_head, xlmr_plm, tmp_path / "killed", *words)
    assert f" {done}/20 [00:00<" in capsys.readouterr().err and not checkpoint.parent.exists()
    (tmp_path / "whole").mkdir()
    call(train_lm_head, xlmr_plm, tmp_path / "whole" / "killed", *words)
    assert files(tmp_path / "killed") == files(tmp_path / "whole" / "killed")


def test_killed_after_publishing(xlmr_plm, texts, tmp_path, monkeypatch, capsys):
    """Between the end of the work and the removal of its state: the same command says so, and removes it; another does not."""
    out, state, words = tmp_path / "out", tmp_path / ".out.training", options(texts)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Resumable, "remove", mock.Mock(side_effect=KeyboardInterrupt))
        call(train_lm_head, xlmr_plm, out, *words)
    written = files(out)
    assert state.is_dir() and (out / "plm.json").is_file()
    assert f"{out} exists" in error_of(train_lm_head, xlmr_plm, out, *words, "--lr", 1)
    assert state.is_dir() and files(out) == written
    for _ in range(2):
        capsys.readouterr()
        call(train_lm_head, xlmr_plm, out, *words)
        assert capsys.readouterr().out == f"{out} is finished already, by the same command\n"
        assert files(out) == written and sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_other_options_do_not_resume(xlmr_plm, texts, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(head_training.HeadTraining, "step", stop)
    with pytest.raises(KeyboardInterrupt):
        call(train_lm_head, xlmr_plm, tmp_path / "out", *options(texts))
    message = error_of(train_lm_head, xlmr_plm, tmp_path / "out", *options(texts, "--lr", 1e-3))
    assert str(tmp_path / ".out.training") in message and "begun with another lr:" in message
    shutil.rmtree(tmp_path / ".out.training")


def test_seed_determines_the_result(xlmr_plm, texts, tmp_path):
    for name, more in (("a", []), ("b", []), ("c", ["--seed", 8])):
        (tmp_path / name).mkdir()
        call(train_lm_head, xlmr_plm, tmp_path / name / "plm", *options(texts, "--fresh-head", *more, steps=3))
    assert files(tmp_path / "a" / "plm") == files(tmp_path / "b" / "plm")
    assert (tmp_path / "a" / "plm" / "model.pt").read_bytes() != (tmp_path / "c" / "plm" / "model.pt").read_bytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--layers", 3], "has 2 layers"),
        (["--neighbour-layer", 3], "--neighbour-layer 3: "),
        (["--steps", 0], "--steps 0: more than 0"),
        (["--max-length", 161], "3 to 160 is possible"),
        (["--temperature", 0], "--temperature 0.0: more than 0"),
        (["--selected", 1.5], "between 0 and 1"),
        (["--masked", 0.8, "--random", 0.3], "between 0 and 1"),
        (["--unmasked", "nothing", "--selected", 0], "trains nothing"),
        (["--text", "absent.txt"], "absent.txt does not exist"),
        (["--text", "EMPTY"], "holds no text"),
        (["--text", "ONE"], "holds one line"),
        (["--text", "LATIN1"], "LATIN1, line 1: not UTF-8"),
        (["--text", "BAD.xz"], "BAD.xz cannot be read"),
    ],
)
def test_errors(more, message, xlmr_plm, texts, tmp_path):
    for name, content in (("EMPTY", b"\n \n"), ("ONE", b"one\n\n"), ("LATIN1", b"\xe9t\xe9\n" * 9), ("BAD.xz", b"no archive\n")):
        (tmp_path / name).write_bytes(content)
    more = [tmp_path / word if (tmp_path / str(word)).is_file() else word for word in more]
    assert message in error_of(train_lm_head, xlmr_plm, tmp_path / "out", *options(texts, *more))
    assert not (tmp_path / "out").exists() and not (tmp_path / ".out.training").exists()


def test_existing_output_and_missing_plm(xlmr_plm, texts, tmp_path):
    (tmp_path / "out").mkdir()
    assert "out exists" in error_of(train_lm_head, xlmr_plm, tmp_path / "out", *options(texts))
    assert "import_plm.py" in error_of(train_lm_head, tmp_path / "none", tmp_path / "new", *options(texts))
