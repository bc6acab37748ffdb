"""What a GPU computes is what a CPU computes. Skipped without one; SALT_TEST_DEVICE=cpu tries the tests themselves."""

import os
import shutil

import numpy as np
import pytest
import torch

from preprocess import distill
from salt_fairseq import evaluate
from salt_fairseq.candidates import open_candidates
from salt_fairseq.plm import PLM, pad
from support.in_process import call
from support.running import run
from support.scored import MAX_LENGTH, results
from support.training import checkpoint, training

DEVICE = os.environ.get("SALT_TEST_DEVICE") or ("cuda" if torch.cuda.is_available() else None)
pytestmark = [pytest.mark.cuda, pytest.mark.slow, pytest.mark.skipif(DEVICE is None, reason="there is no GPU to compare with the CPU")]
of_fairseq = pytest.mark.skipif(DEVICE == "cpu", reason="--bf16 and --fp16 are refused on a CPU")
VISIBLE = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}


@pytest.mark.parametrize("kind", ["bert", "xlmr"])
def test_logits(kind, request):
    plm = PLM.load(request.getfixturevalue(f"{kind}_plm"))
    batch = pad([plm.encode("A house by the sea.", "Das Haus am Meer."), plm.encode("La mer")])
    expected = plm.logits(batch)
    torch.testing.assert_close(plm.to(DEVICE).logits(batch.to(DEVICE)).cpu(), expected, atol=1e-4, rtol=1e-4)


def test_candidates(bert_plm, bert_data, tmp_path):
    """The same words; where two are equally probable to rounding, the GPU may take the other one."""
    data = shutil.copytree(bert_data, tmp_path / "data", ignore=shutil.ignore_patterns("candidates"))
    call(distill, bert_plm, data, "--languages", "fr", "--device", DEVICE)
    ids, log_probs = zip(*open_candidates(data, "train", "fr"))
    expected_ids, expected = zip(*open_candidates(bert_data, "train", "fr"))
    np.testing.assert_allclose(torch.cat(log_probs), torch.cat(expected), atol=1e-3)
    assert (torch.cat(ids) == torch.cat(expected_ids)).float().mean() > 0.999


@pytest.mark.parametrize("dtype, equal", [("fp32", 1), ("bf16", 0.9)])
def test_evaluation(dtype, equal, xlmr_data, checkpoints, tmp_path):
    """Predictions of 120 examples."""
    predictions = []
    for device, kind in (("cpu", "fp32"), (DEVICE, dtype)):
        out = tmp_path / f"{device}.{kind}.json"
        call(evaluate, xlmr_data, "--path", checkpoints[0], "--out", out, "--subsets", "test.en", "--device", device, "--dtype", kind)
        predictions.append(results(out)["checkpoints"][0]["predictions"]["test.en"])
    assert np.mean(np.equal(*predictions)) >= equal


def trained_as_typed(data, plm, save_dir, *more):
    """Two updates without dropout; the checkpoint."""
    dropout = [word for name in ("", "attention-", "classifier-") for word in (f"--{name}dropout", 0)]
    words = training(data, plm, save_dir, "--disable-validation", "--max-length", MAX_LENGTH, *dropout, *more, updates=2)
    run("fairseq-train", *words, **VISIBLE)
    return checkpoint(save_dir)


@pytest.mark.parametrize("more", [[], ["--augment", "fr", "--thresholds", "50%", "--mixup", "fixed"]], ids=["vanilla", "SALT"])
def test_training(more, bert_data, bert_plm, tmp_path):
    """Nothing is drawn on the device, so two updates move the parameters to the same place."""
    on_cpu = trained_as_typed(bert_data, bert_plm, tmp_path / "cpu", "--cpu", *more)
    on_device = trained_as_typed(bert_data, bert_plm, tmp_path / "device", *(["--cpu"] if DEVICE == "cpu" else []), *more)
    for name, expected in on_cpu["model"].items():
        torch.testing.assert_close(on_device["model"][name], expected, atol=2e-4, rtol=1e-3, msg=name)


def test_layers_hidden_by_half_precision(bert_data, bert_plm, tmp_path):
    """fairseq trains one flat copy of all parameters, of which no layer can be told from another."""
    words = training(bert_data, bert_plm, tmp_path, "--bf16", "--optimizer", "fused_adam", "--layer-decay", 0.9)
    done = run("fairseq-train", *words, check=False, **VISIBLE)
    assert done.returncode == 1
    assert "--bf16 needs a GPU" in done.stderr if DEVICE == "cpu" else "--layer-decay with --fp16 or --bf16" in done.stderr


@pytest.mark.parametrize("precision", [pytest.param("--bf16", marks=of_fairseq), pytest.param("--fp16", marks=of_fairseq), "--autocast-bf16"])
@pytest.mark.parametrize("optimizer", ["adam", "fused_adam"])
def test_half_precision(precision, optimizer, bert_data, bert_plm, tmp_path):
    """Training with mixing ends with finite parameters, which a CPU evaluates."""
    more = ["--augment", "fr", "--thresholds", "50%", "--optimizer", optimizer]
    state = trained_as_typed(bert_data, bert_plm, tmp_path / "half", precision, *more)
    assert all(tensor.isfinite().all() for tensor in state["model"].values())
    out = tmp_path / "results.json"
    call(evaluate, bert_data, "--path", tmp_path / "half" / "checkpoint_last.pt", "--out", out, "--subsets", "test.en", "--device", "cpu")
    assert 0 <= results(out)["checkpoints"][0]["accuracy"]["test.en"] <= 100
