"""The fused Adam against the formula in float64, and against fairseq's own in training."""

import numpy as np
import pytest
import torch
from fairseq.optim import build_optimizer
from omegaconf import OmegaConf

from salt_fairseq.optim.fused_adam import FusedAdamConfig
from support.training import checkpoint, trained, training

pytestmark = pytest.mark.slow


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


@pytest.mark.parametrize("clip, scale", [(0.0, 1.0), (0.0, 4.0), (0.5, 1.0), (1e9, 2.0)])
def test_gradients_are_multiplied_and_clipped(clip, scale):
    """As a step on gradients that are multiplied and clipped by hand: fairseq multiplies by 1 / sample size first; the norm
    that it logs is that of the multiplied gradients. Neither factor is left for the next step."""
    rng = np.random.default_rng(2)
    start, gradients = rng.normal(size=(2, 5, 7)), rng.normal(size=(3, 2, 5, 7))
    parameters, expected = ([torch.nn.Parameter(torch.tensor(value)) for value in start.astype(np.float32)] for _ in range(2))
    fused, plain = optimizer(parameters), optimizer(expected)
    for gradient in gradients:
        norm = np.linalg.norm(gradient / 32)
        factor = min(1, clip / norm) / 32 / scale if clip else 1 / 32 / scale
        for own, other, value in zip(parameters, expected, gradient):
            own.grad, other.grad = (torch.tensor(value * by, dtype=torch.float32) for by in (1, factor))
        fused.multiply_grads(1 / 32)
        assert fused.clip_grad_norm(clip).item() == pytest.approx(norm, rel=1e-6)
        fused.step(scale=scale)
        plain.step()
        fused.zero_grad()
    for own, other, value in zip(parameters, expected, start):
        np.testing.assert_allclose(own.detach().numpy(), other.detach().numpy(), rtol=1e-6)
        assert (own.detach() - torch.tensor(value)).abs().max() > 1e-3


def test_a_step_that_is_left_out_leaves_no_factor():
    parameter = torch.nn.Parameter(torch.ones(3))
    fused = optimizer([parameter], adam_eps=1.0)
    parameter.grad = torch.full((3,), float("inf"))
    fused.multiply_grads(1e-6)
    assert torch.isinf(fused.clip_grad_norm(1.0))  # fairseq then goes on to the next batch
    fused.zero_grad()
    parameter.grad = torch.ones(3)
    fused.step()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 1 - 0.01 * 1 / (1 + 1)))


def test_training_is_that_of_fairseqs_own(bert_data, bert_plm, tmp_path, caplog):
    """The same steps with an eps that is smaller than gradients are, since the two add it at different places; and a
    checkpoint to go on from."""
    for name in ("adam", "fused_adam"):
        trained(training(bert_data, bert_plm, tmp_path / name, "--optimizer", name, "--adam-eps", 1e-14, "--cpu", updates=3))
    ours, theirs = (checkpoint(tmp_path / name) for name in ("fused_adam", "adam"))
    differences = torch.cat([(ours["model"][name] - tensor).abs().flatten() for name, tensor in theirs["model"].items()])
    assert (differences > 1e-4).float().mean() < 5e-3  # a step is about 1e-3
    assert {"exp_avg", "exp_avg_sq", "step"} <= ours["last_optimizer_state"]["state"][0].keys()
    caplog.set_level("INFO")
    trained(training(bert_data, bert_plm, tmp_path / "fused_adam", "--optimizer", "fused_adam", "--adam-eps", 1e-14, "--cpu", updates=6))
    assert "Loaded checkpoint" in caplog.text
    assert checkpoint(tmp_path / "fused_adam")["optimizer_history"][-1]["num_updates"] == 6


@pytest.mark.parametrize("option", ["--use-old-adam", "--fp16-adam-stats"])
def test_options_that_mean_nothing_here_are_refused(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        trained(training("data", "plm", tmp_path, "--optimizer", "fused_adam", option))
    assert ended.value.code == 2 and f"unrecognized arguments: {option}" in capsys.readouterr().err
