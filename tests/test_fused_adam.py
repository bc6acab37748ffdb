"""The fused Adam against the formula in float64, and against fairseq's own in training."""

import numpy as np
import pytest
import torch
from conftest import run
from fairseq.optim import build_optimizer
from omegaconf import OmegaConf
from training import checkpoint, training

from salt_fairseq.fused_adam import FusedAdamConfig


def optimizer(parameters, **options):
    cfg = OmegaConf.structured(FusedAdamConfig(lr=[0.01], **options))
    cfg._name = "fused_adam"
    return build_optimizer(cfg, parameters)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_formula(decay):
    """Kingma & Ba (2015), algorithm 1, with the decay of Loshchilov & Hutter (2019), algorithm 2."""
    rng = np.random.default_rng(1)
    start, gradients = rng.normal(size=(5, 7)), rng.normal(size=(12, 5, 7))
    parameter = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    fused = optimizer([parameter], adam_betas="(0.8, 0.95)", adam_eps=1e-3, weight_decay=decay)
    expected, m, v = start, 0.0, 0.0
    for t, gradient in enumerate(gradients, 1):
        fused.set_lr(rate := 0.01 / t)
        parameter.grad = torch.tensor(gradient, dtype=torch.float32)
        fused.step()
        m, v = 0.8 * m + 0.2 * gradient, 0.95 * v + 0.05 * gradient**2
        root = np.sqrt(v / (1 - 0.95**t)) + 1e-3
        expected = expected - rate * decay * expected - rate * m / (1 - 0.8**t) / root
    np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_training_is_that_of_fairseqs_own(bert_data, bert_plm, tmp_path):
    """The same steps but where gradients are as small as eps, which the two add at different places; and a checkpoint to go
    on from."""
    for name in ("adam", "fused_adam"):
        run("fairseq-train", *training(bert_data, bert_plm, tmp_path / name, "--optimizer", name, "--cpu", updates=3))
    ours, theirs = (checkpoint(tmp_path / name) for name in ("fused_adam", "adam"))
    differences = torch.cat([(ours["model"][name] - tensor).abs().flatten() for name, tensor in theirs["model"].items()])
    assert (differences > 1e-4).float().mean() < 0.02  # a step is about 1e-3
    assert {"exp_avg", "exp_avg_sq", "step"} <= ours["last_optimizer_state"]["state"][0].keys()
    more = run("fairseq-train", *training(bert_data, bert_plm, tmp_path / "fused_adam", "--optimizer", "fused_adam", "--cpu",
                                          updates=6))
    assert "Loaded checkpoint" in more.stdout + more.stderr
    assert checkpoint(tmp_path / "fused_adam")["optimizer_history"][-1]["num_updates"] == 6
