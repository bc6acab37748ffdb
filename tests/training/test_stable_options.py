"""Options of stable fine-tuning: top layers drawn anew, and learning rates that fall from layer to layer.

References: the PLM's own tensors, the moments of the distribution that BERT's weights are drawn from, and Adam's first step,
which moves each parameter by the learning rate.
"""

import pytest
import torch
from fairseq.optim import build_optimizer
from omegaconf import OmegaConf

from salt_fairseq.errors import InputError
from salt_fairseq.modules.initialization import depth
from salt_fairseq.optim.fused_adam import FusedAdamConfig
from salt_fairseq.plm import Description, load_state
from support.training import checkpoint, trained, training

pytestmark = pytest.mark.slow
LAYERS = 3  # of the tiny PLM


def state_after(data, plm, path, *more, updates=1):
    trained(training(data, plm, path, "--cpu", "--disable-validation", *more, updates=updates))
    return checkpoint(path)["model"]


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_top_layers_are_drawn_anew(layers, bert_data, bert_plm, tmp_path):
    state = state_after(bert_data, bert_plm, tmp_path, "--reinit-layers", layers, "--lr", 1e-12)
    before = load_state(bert_plm, Description.load(bert_plm))
    for i in range(LAYERS):
        for name in ("qkv", "out_proj", "fc1", "fc2"):
            weight, own = (of[f"encoder.layers.{i}.{name}.weight"] for of in (state, before))
            if i < LAYERS - layers:
                torch.testing.assert_close(weight, own, atol=1e-9, rtol=0)
            else:
                assert (weight - own).abs().mean() > 0.01
                assert weight.mean().abs() < 0.002 and weight.std() == pytest.approx(0.02, rel=0.1)
                assert state[f"encoder.layers.{i}.{name}.bias"].abs().max() < 1e-9
        if i >= LAYERS - layers:
            gain = state[f"encoder.layers.{i}.final_layer_norm.weight"]
            torch.testing.assert_close(gain, torch.ones_like(gain), atol=1e-9, rtol=0)


@pytest.mark.parametrize("layers", [-1, 4])
def test_more_layers_than_there_are_is_refused(layers, bert_data, bert_plm, tmp_path):
    with pytest.raises(InputError, match=f"--reinit-layers {layers}: the PLM has {LAYERS} layers"):
        trained(training(bert_data, bert_plm, tmp_path, "--cpu", f"--reinit-layers={layers}"))


def test_learning_rate_falls_with_depth(bert_data, bert_plm, tmp_path):
    """Adam's first step moves every parameter with a gradient by its learning rate."""
    words = ("--optimizer", "fused_adam", "--lr", 1e-3, "--adam-eps", 1e-30, "--clip-norm", 0, "--warmup-updates", 0)
    state = state_after(bert_data, bert_plm, tmp_path, "--layer-decay", 0.5, *words)
    before = load_state(bert_plm, Description.load(bert_plm))
    moved = {name: (state[name] - before[name]).abs().max().item() for name in state.keys() & before.keys()}
    for name, rate in {
        "encoder.embed_positions.weight": 1e-3 / 16,
        "encoder.layernorm_embedding.bias": 1e-3 / 16,
        "encoder.layers.0.fc1.weight": 1e-3 / 8,
        "encoder.layers.2.fc1.weight": 1e-3 / 2,
        "pooler.weight": 1e-3,
    }.items():
        assert moved[name] == pytest.approx(rate, rel=1e-3), name


def test_depths_of_all_bodies():
    """By the names that their parameters have; the layers are twelve."""
    for name, expected in {
        "encoder.embed_tokens.weight": 0,
        "encoder.embed_buckets.weight": 0,
        "encoder.layernorm_buckets.bias": 0,
        "encoder.layers.0.qkv.weight": 1,
        "encoder.layers.11.fc2.bias": 12,
        "encoder.layer_norm.weight": 13,
        "pooler.layer_norm.weight": 13,
        "classifier.bias": 13,
    }.items():
        assert depth(name, 12) == expected, name


@pytest.mark.parametrize("decay", [0, -0.5, 1.5])
def test_decay_out_of_range(decay):
    cfg = OmegaConf.structured(FusedAdamConfig(lr=[0.01], layer_decay=decay))
    cfg._name = "fused_adam"
    with pytest.raises(InputError, match=r"--layer-decay .* is outside \(0, 1\]"):
        build_optimizer(cfg, [torch.nn.Parameter(torch.ones(1))])


def test_resumed_with_the_same_rates(bert_data, bert_plm, tmp_path):
    """Two updates at once, and one after the other, end alike."""
    words = ("--optimizer", "fused_adam", "--layer-decay", 0.5, "--dropout", 0, "--attention-dropout", 0)
    words += ("--classifier-dropout", 0)
    # The schedule is that of 30 updates.
    at_once = state_after(bert_data, bert_plm, tmp_path / "once", *words, updates=2)
    state_after(bert_data, bert_plm, tmp_path / "twice", *words, updates=1)
    later = state_after(bert_data, bert_plm, tmp_path / "twice", *words, updates=2)
    for name, tensor in at_once.items():
        torch.testing.assert_close(later[name], tensor, atol=1e-7, rtol=1e-6, msg=name)
