"""Averaged checkpoints: the mean of the parameters in float64, in a file that the other commands and fairseq take."""

import json

import numpy as np
import pytest
import torch
from fairseq_cli import train

from preprocess import export_hf
from salt_fairseq import average, evaluate
from salt_fairseq.checkpoints import load_checkpoint
from support.in_process import call, error_of
from support.training import training, validate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def three(checkpoints, tmp_path_factory):
    """The two checkpoints, and one with other weights of which some are in half precision."""
    saved = torch.load(checkpoints[0], weights_only=True)
    generator = torch.Generator().manual_seed(5)
    saved["model"] = {name: t + 0.3 * torch.randn(t.shape, generator=generator) for name, t in saved["model"].items()}
    saved["model"]["pooler.weight"] = saved["model"]["pooler.weight"].half()
    path = tmp_path_factory.mktemp("third") / "third.pt"
    torch.save(saved, path)
    return [*checkpoints, path]


def test_mean_of_each_parameter(three, xlmr_data, tmp_path):
    call(average, *three, "--out", tmp_path / "average.pt")
    saved = [torch.load(path, weights_only=True) for path in three]
    averaged = torch.load(tmp_path / "average.pt", weights_only=True)
    assert averaged["model"].keys() == saved[0]["model"].keys() and "last_optimizer_state" not in averaged
    for name, tensor in averaged["model"].items():
        expected = np.mean([s["model"][name].numpy().astype(np.float64) for s in saved], axis=0)
        assert tensor.dtype == torch.float32
        np.testing.assert_allclose(tensor.numpy(), expected, atol=2e-6, rtol=1e-6)
    assert averaged["task_state"] == saved[0]["task_state"]
    assert averaged["averaged"] == [load_checkpoint(path).sha256 for path in three]
    call(average, *three[:2], "--out", tmp_path / "average.pt")  # again into the same file
    assert len(torch.load(tmp_path / "average.pt", weights_only=True)["averaged"]) == 2


def test_other_commands_take_it(three, xlmr_data, xlmr_plm, tmp_path):
    """evaluate and fairseq-validate agree on its accuracy, and it can be exported."""
    path, out = tmp_path / "average.pt", tmp_path / "results.json"
    call(average, *three, "--out", path)
    call(evaluate, xlmr_data, "--path", path, "--subsets", "test.fr,test.de", "--out", out)
    accuracy = json.loads(out.read_text(encoding="utf-8"))["checkpoints"][0]["accuracy"]
    call(evaluate, xlmr_data, "--path", *three, "--average", "--subsets", "test.fr,test.de", "--out", tmp_path / "at_once.json")
    at_once = json.loads((tmp_path / "at_once.json").read_text(encoding="utf-8"))["checkpoints"]
    assert len(at_once) == 1 and at_once[0]["accuracy"] == accuracy and at_once[0]["selection"] == "average"
    assert at_once[0]["path"] == f"average of {', '.join(map(str, three))}"
    validated = validate(xlmr_data, path, ["test.fr", "test.de"], "--batch-size", 8, "--cpu")
    assert {subset: numbers["accuracy"] for subset, numbers in validated.items()} == pytest.approx(accuracy, abs=0.01)
    call(export_hf, path, tmp_path / "exported", "--plm", xlmr_plm)


def test_moving_average(xlmr_data, xlmr_plm, tmp_path):
    """mean := 0.8 mean + 0.2 parameters after each update, from the first on, by hand in float64; stopped after the third
    update and gone on with, the same bit for bit."""
    options = ["--store-ema", "--ema-decay", 0.8, "--ema-start-update", 2, "--save-interval-updates", 1, "--batch-size", 64]
    for updates in (3, 6):
        call(train, *training(xlmr_data, xlmr_plm, tmp_path / "stopped", *options, updates=updates))
    call(train, *training(xlmr_data, xlmr_plm, tmp_path / "whole", *options, updates=6))
    steps = [torch.load(tmp_path / "whole" / f"checkpoint_1_{update}.pt", weights_only=True)["model"] for update in range(1, 7)]
    call(average, "--ema", tmp_path / "whole" / "checkpoint_last.pt", "--out", tmp_path / "ema.pt")
    call(average, "--ema", tmp_path / "stopped" / "checkpoint_last.pt", "--out", tmp_path / "again.pt")
    averaged, again = (torch.load(tmp_path / name, weights_only=True)["model"] for name in ("ema.pt", "again.pt"))
    for name, tensor in averaged.items():
        mean = steps[0][name].double()
        for step in steps[1:]:
            mean = 0.8 * mean + 0.2 * step[name].double()
        np.testing.assert_allclose(tensor.numpy(), mean.numpy(), atol=1e-6)
        assert torch.equal(again[name], tensor)
    load_checkpoint(tmp_path / "ema.pt")


def test_refusals(three, tmp_path):
    out, other = tmp_path / "average.pt", tmp_path / "other.pt"
    assert error_of(average, three[0], "--out", out).startswith("averaging takes at least two checkpoints")
    assert error_of(average, three[0], three[0], "--out", out).startswith("averaging takes at least two checkpoints")
    assert f"{three[0]} holds no moving average: train with --store-ema" in error_of(average, "--ema", three[0], "--out", out)
    assert "is not an earlier output of this command" in error_of(average, *three[:2], "--out", three[1])
    saved = torch.load(three[0], weights_only=True)
    torch.save({**saved, "task_state": {**saved["task_state"], "labels": ["b", "a"]}}, other)
    assert error_of(average, three[1], other, "--out", out).startswith(f"{other} and {three[1]} differ in their labels")
    cfg = {**saved["cfg"], "model": {**saved["cfg"]["model"], "pooling": "mean"}}
    torch.save({**saved, "cfg": cfg}, other)
    assert error_of(average, three[1], other, "--out", out).startswith(f"{other} and {three[1]} differ in their pooling")
    model = {name: torch.cat([t, t]) if name.startswith("classifier.") else t for name, t in saved["model"].items()}
    torch.save({**saved, "model": model}, other)
    assert error_of(average, three[1], other, "--out", out).startswith(f"{other} and {three[1]} differ in their weights")
    model = {**saved["model"], "pooler.bias": saved["model"]["pooler.bias"] * torch.nan}
    torch.save({**saved, "model": model}, other)
    assert "the weights pooler.bias are not finite" in error_of(average, three[1], other, "--out", out)
    assert not out.exists()
