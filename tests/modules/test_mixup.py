"""Embedding mixup against its definition: h_i = r * E[s_i] + (1 - r) * E[t_i], r uniform, drawn in each step."""

import copy

import numpy as np
import pytest
import torch
from scipy import stats

from salt_fairseq.modules.encoder import PAD
from salt_fairseq.modules.mixup import coefficients, mean_embeddings, mix
from support.tiny_model import DIM, batch, model, train_steps


def draw(mixing, shape, seed, ratio=0.5):
    return coefficients(mixing, ratio, shape, torch.Generator().manual_seed(seed), "cpu")


def test_every_dimension_is_uniform_and_independent():
    """Kolmogorov-Smirnov and correlations over 8,000 instances, drawn in 250 steps as training draws them."""
    seeds = [int(np.random.SeedSequence([1, step, 0, 0]).generate_state(1)[0]) for step in range(250)]
    r = torch.stack([draw("instance", (32, 5, DIM), seed) for seed in seeds])  # steps, instances, 1, dimensions
    assert r.shape == (250, 32, 1, DIM)
    flat = r.reshape(-1, DIM).double().numpy()
    assert flat.min() >= 0 and flat.max() <= 1
    p = [stats.kstest(column, "uniform").pvalue for column in flat.T]
    assert min(p) > 1e-3 and stats.kstest(flat.ravel(), "uniform").pvalue > 1e-3
    bound = 4.5 / np.sqrt(len(flat))
    between_dimensions = np.corrcoef(flat.T) - np.eye(DIM)
    assert abs(between_dimensions).max() < bound
    between_instances = np.corrcoef(r[:, ::2].reshape(-1), r[:, 1::2].reshape(-1))[0, 1]
    between_steps = np.corrcoef(r[:-1].reshape(-1), r[1:].reshape(-1))[0, 1]
    assert abs(between_instances) < bound and abs(between_steps) < bound
    assert stats.kstest(r.mean(dim=(0, 1, 2)), stats.norm(0.5, np.sqrt(1 / 12 / 8000)).cdf).pvalue > 1e-3


@pytest.mark.parametrize("mixing, shape", [("instance", (6, 1, DIM)), ("token", (6, 5, DIM)), ("scalar", (6, 1, 1))])
def test_shapes_say_what_shares_a_coefficient(mixing, shape):
    """One number where the shape is 1, and nowhere else the same number twice."""
    r = draw(mixing, (6, 5, DIM), 3)
    assert r.shape == shape
    assert len(r.unique()) == r.numel()
    assert torch.equal(r, draw(mixing, (6, 5, DIM), 3)) and not torch.equal(r, draw(mixing, (6, 5, DIM), 4))


def test_fixed_is_a_constant():
    assert torch.equal(draw("fixed", (6, 5, DIM), 3, 0.3).broadcast_to(6, 5, DIM), torch.full((6, 5, DIM), 0.3))


def test_mix_is_exact_at_its_ends():
    """Bit for bit: the originals at r = 1, the substitutes at r = 0, both where they are equal; else the formula."""
    a, b = torch.randn(2, 40, 30, DIM, generator=torch.Generator().manual_seed(1)) * 3
    r = draw("instance", a.shape, 5)
    assert torch.equal(mix(a, b, torch.ones(1, 1, 1)), a)
    assert torch.equal(mix(a, b, torch.zeros(1, 1, 1)), b)
    assert torch.equal(mix(a, a.clone(), r), a)
    exact = r.double() * a.double() + (1 - r.double()) * b.double()
    torch.testing.assert_close(mix(a, b, r), exact.float(), atol=1e-6, rtol=1e-6)


def test_equal_streams_and_ratio_1_are_vanilla():
    """Bit-equal logits: unchanged instances of an augmented batch are trained as without augmentation."""
    tokens, substitutes = batch()

    def step(net, *args):
        logits, _ = net(tokens, *args)
        logits.square().sum().backward()
        return [logits, *(p.grad for p in net.parameters())]

    vanilla = step(model())
    for mixing in ("instance", "token", "scalar"):
        equal = step(model(mixing), tokens.clone(), 7)
        assert torch.equal(equal[0], vanilla[0])
        for mine, theirs in zip(equal[1:], vanilla[1:]):
            torch.testing.assert_close(mine, theirs)
    ratio_1 = step(model("fixed", 1.0), substitutes, 7)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ratio_1, vanilla))


@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize("mixing", ["instance", "token", "scalar", "fixed"])
def test_forward_is_the_formula(mixing, segments):
    """The reference is a vanilla model whose embedding table holds h_i in the row of token s_i."""
    net, (tokens, substitutes) = model(mixing, 0.25, segments), batch()
    shape = {"instance": (2, 1, DIM), "token": (2, 8, DIM), "scalar": (2, 1, 1)}.get(mixing)
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(9)) if shape else None
    r = torch.tensor(0.25) if mixing == "fixed" else drawn
    table = net.encoder.embed_tokens.weight.detach()
    h = r * table[tokens] + (1 - r) * table[substitutes]
    logits, _ = net(tokens, substitutes, 9)
    for i in range(2):
        vanilla = copy.deepcopy(net).eval()
        vanilla.encoder.embed_tokens.weight.data[tokens[i]] = h[i]
        torch.testing.assert_close(vanilla(tokens[i : i + 1])[0], logits[i : i + 1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits, net(tokens)[0], atol=1e-3)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_a_token_is_mixed_with_the_mean_of_its_translation(ratio):
    """SCOPA: substitutes of one to three tokens, padded; the reference table is worked by hand. At ratio 1: vanilla."""
    net, (tokens, _) = model("fixed", ratio), batch()
    substitutes = torch.full((2, 8, 3), PAD)
    substitutes[:, :, 0] = tokens
    substitutes[0, 1] = torch.tensor([30, 31, 32])
    substitutes[0, 2, :2] = torch.tensor([33, 34])
    substitutes[1, 3, 0] = 35
    table = net.encoder.embed_tokens.weight.detach()
    means = {(0, 1): (table[30] + table[31] + table[32]) / 3, (0, 2): (table[33] + table[34]) / 2, (1, 3): table[35]}
    expected = table[tokens].clone()
    for place, mean in means.items():
        expected[place] = ratio * expected[place] + (1 - ratio) * mean
    embedded = net.embed(tokens, substitutes)
    torch.testing.assert_close(embedded, expected)
    same = torch.ones(2, 8, dtype=torch.bool)
    same[tuple(zip(*means))] = False
    assert torch.equal(embedded[same], table[tokens[same]]), "bit for bit, padding too"
    logits, vanilla = net(tokens, substitutes)[0], net(tokens)[0]
    assert torch.equal(logits, vanilla) == (ratio == 1.0)
    table[PAD] += 100
    assert torch.equal(net.embed(tokens, substitutes)[tokens != PAD], embedded[tokens != PAD]), "padding does not count"


@pytest.mark.parametrize("mixing, shape", [("instance", (2, 1, DIM)), ("token", (2, 8, DIM)), ("scalar", (2, 1, 1))])
def test_a_mean_is_mixed_in_every_way(mixing, shape):
    """Dictionaries with SALT's mixing: the same coefficients as for substitutes of one token."""
    net, (tokens, first) = model(mixing), batch()
    substitutes = torch.stack([first, torch.full_like(first, PAD)], 2)
    substitutes[0, 3, 1] = 40
    r = torch.rand(shape, generator=torch.Generator().manual_seed(9))
    table = net.encoder.embed_tokens.weight.detach()
    means = table[first].clone()
    means[0, 3] = (table[31] + table[40]) / 2
    torch.testing.assert_close(net.embed(tokens, substitutes, 9), r * table[tokens] + (1 - r) * means)
    assert torch.equal(mean_embeddings(net.encoder.embed_tokens(first)[None], first[None], PAD), table[first])
    assert torch.equal(net(tokens, first[:, :, None], 9)[0], net(tokens, first, 9)[0])


def test_padding_and_batch_size_do_not_change_an_instance():
    """A pair alone, unpadded, is what it is as a padded row, if it has the same coefficients."""
    net, (tokens, substitutes) = model("fixed", 0.4), batch()
    alone, _ = net(tokens[1:, :5], substitutes[1:, :5])
    torch.testing.assert_close(alone, net(tokens, substitutes)[0][1:], atol=1e-5, rtol=1e-5)


def test_off_when_not_training():
    """In evaluation the substitutes do not count, whatever the mixing."""
    tokens, substitutes = batch()
    for mixing in ("instance", "fixed"):
        net = model(mixing).eval()
        assert torch.equal(net(tokens, substitutes, 3)[0], net(tokens)[0])


def test_gradients_reach_both_embeddings():
    """Rows of originals and of substitutes learn, in proportion to r and 1 - r; rows of neither, and none if frozen."""
    (tokens, substitutes), grads = batch(), {}
    for ratio in (0.25, 0.5):
        net = model("fixed", ratio)
        net(tokens, substitutes)[0].square().sum().backward()
        grads[ratio] = net.encoder.embed_tokens.weight.grad
    grad = grads[0.25]
    torch.testing.assert_close(grad[10] * 3, grad[30])  # r = 0.25 against 1 - r = 0.75
    torch.testing.assert_close(grads[0.5][10], grads[0.5][30])
    used = set(tokens.flatten().tolist()) | set(substitutes.flatten().tolist())
    assert {i for i in range(60) if grad[i].any()} == used - {PAD}
    frozen = model("instance", freeze_embeddings=True)
    frozen(tokens, substitutes)[0].sum().backward()
    assert frozen.encoder.embed_tokens.weight.grad is None


def seeds_of(tmp_path, updates, seed=1):
    return [net_input["mixup_seed"] for net_input in train_steps(tmp_path, updates, seed=seed)]


def test_seeds_differ_between_steps_micro_batches_and_ranks(tmp_path, monkeypatch):
    """Three updates of two micro-batches, for two training seeds and two ranks: 24 seeds, equal when run again."""
    updates = [0, 0, 1, 1, 2, 2]
    found = {seed: seeds_of(tmp_path, updates, seed) for seed in (1, 2)}
    assert seeds_of(tmp_path, updates, 1) == found[1]
    assert seeds_of(tmp_path, [2, 2], 1) == found[1][4:]  # as after a restart from a checkpoint
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    found |= {-seed: seeds_of(tmp_path, updates, seed) for seed in (1, 2)}
    assert len({seed for seeds in found.values() for seed in seeds}) == 24
