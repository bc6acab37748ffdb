"""RS-RP: uniform in each token's ball, drawn anew in each step, added to the embeddings. (RS-ADV: test_ascent.py.)"""

import copy
import math

import numpy as np
import pytest
import torch
from scipy import stats

from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import BOS, EOS, PAD, UNK
from salt_fairseq.modules.perturbation import project, random_in_ball
from support.tiny_model import DIM, LENGTHS, batch, inside, model, seeded, train_steps

MOVED = torch.tensor([[False, True, True, True, False, True, True, False], [False, True, False, True, False, False, False, False]])  # the words of batch()


@pytest.mark.parametrize("dim", [3, 48])
def test_uniform_in_the_l2_ball(dim):
    """(|delta| / radius)^d is uniform, and the direction is isotropic and independent of it: 20,000 tokens."""
    n, radius = 20_000, 0.7
    delta = random_in_ball(torch.full((200, 100), 9), dim, radius, "l2", seeded()).reshape(n, dim)
    assert inside(delta, radius, "l2")
    delta = delta.double()
    lengths = delta.norm(dim=1)
    volumes = ((lengths / radius) ** dim).numpy()
    assert stats.kstest(volumes, "uniform").pvalue > 1e-3
    directions = (delta / lengths[:, None]).numpy()
    assert abs(directions.mean(0)).max() < 4.5 / math.sqrt(dim * n)  # a coordinate has variance 1 / d
    covariance = directions.T @ directions / n * dim
    assert abs(covariance - np.eye(dim)).max() < 5 * math.sqrt(2 / n)
    assert abs(np.corrcoef(volumes, directions.T)[0, 1:]).max() < 4.5 / math.sqrt(n)
    # A coordinate x of a uniform direction: (1 + x) / 2 ~ Beta((d - 1) / 2, (d - 1) / 2).
    shape = (dim - 1) / 2
    assert stats.kstest((1 + directions[:, 0]) / 2, "beta", (shape, shape)).pvalue > 1e-3
    assert abs(np.corrcoef(volumes[::2], volumes[1::2])[0, 1]) < 4.5 / math.sqrt(n / 2), "a length per token"


def test_uniform_in_the_linf_ball():
    """Every coordinate is uniform in [-radius, radius], independent of the others."""
    radius, n = 0.7, 20_000
    delta = random_in_ball(torch.full((200, 100), 9), DIM, radius, "linf", seeded()).reshape(n, DIM).double().numpy()
    assert abs(delta).max() <= np.float32(radius)
    assert min(stats.kstest(column, "uniform", (-radius, 2 * radius)).pvalue for column in delta.T) > 1e-3
    assert abs(np.corrcoef(delta.T) - np.eye(DIM)).max() < 4.5 / math.sqrt(n)


@pytest.mark.parametrize("norm", LENGTHS)
def test_special_tokens_and_padding_stay(norm):
    """Zero for bos, each eos and padding, and for no coordinate of a word or the unknown word."""
    tokens, _ = batch()
    tokens[0, 2] = UNK
    delta = random_in_ball(tokens, DIM, 0.5, norm, seeded())
    assert delta.shape == (2, 8, DIM) and delta.dtype == torch.float32
    assert torch.equal(delta.ne(0).all(-1), MOVED) and torch.equal(delta.ne(0).any(-1), MOVED)
    assert set(tokens[~MOVED].tolist()) == {BOS, PAD, EOS} and UNK in tokens[MOVED]
    assert not random_in_ball(tokens, DIM, 0.0, norm, seeded()).any()
    assert torch.equal(delta, random_in_ball(tokens, DIM, 0.5, norm, seeded()))
    assert not torch.equal(delta, random_in_ball(tokens, DIM, 0.5, norm, seeded(2)))


@pytest.mark.parametrize("norm", LENGTHS)
def test_projection_is_the_nearest_point(norm):
    """Points of the ball stay, bit for bit; no point of the ball is nearer to one outside than its projection."""
    radius, far = 0.5, torch.randn(40, DIM, generator=seeded())
    ball = random_in_ball(torch.full((1, 4000), 9), DIM, 0.99 * radius, norm, seeded(2))[0]
    assert torch.equal(project(ball, radius, norm), ball)
    assert not project(torch.zeros(1, DIM), radius, norm).any()
    near = project(far, radius, norm)
    assert inside(near, radius, norm) and not inside(far, radius, norm)
    # A supporting hyperplane: for all points p of the ball, (far - near) . (p - near) <= 0.
    assert ((far - near) @ ball.T <= ((far - near) * near).sum(1, keepdim=True) + 1e-5).all()


def test_draws_differ_between_steps_micro_batches_and_ranks(tmp_path, monkeypatch):
    """Three updates of two micro-batches, for two training seeds and two ranks: 24 perturbations, equal when run again."""
    updates = [0, 0, 1, 1, 2, 2]

    def drawn(updates, seed):
        return [net_input["perturbation"] for net_input in train_steps(tmp_path, updates, perturbation="random", seed=seed)]

    found = {seed: drawn(updates, seed) for seed in (1, 2)}
    assert all(map(torch.equal, drawn(updates, 1), found[1]))
    assert all(map(torch.equal, drawn([2, 2], 1), found[1][4:])), "as after a restart from a checkpoint"
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    found |= {-seed: drawn(updates, seed) for seed in (1, 2)}
    everything = torch.stack([delta for deltas in found.values() for delta in deltas])[:, MOVED].flatten(1)
    assert everything.shape == (24, int(MOVED.sum()) * DIM)
    assert len(everything.unique(dim=0)) == 24
    assert abs(np.corrcoef(everything) - np.eye(24)).max() < 4.5 / math.sqrt(everything.shape[1])


@pytest.mark.parametrize("norm", LENGTHS)
def test_the_task_draws_in_the_ball_that_the_options_name(tmp_path, norm):
    """Many steps: inside the ball and close to its border; the mixup seeds are those without a perturbation."""
    updates = list(range(40))
    plain = train_steps(tmp_path, updates)
    moved = train_steps(tmp_path, updates, perturbation="random", radius=0.3, norm=norm)
    assert [x["mixup_seed"] for x in plain] == [x["mixup_seed"] for x in moved]
    assert [x for x in plain if "perturbation" in x] == []
    deltas = torch.stack([x["perturbation"] for x in moved])
    assert inside(deltas, 0.3, norm) and not inside(deltas, 0.298, norm)
    volumes = (LENGTHS[norm](deltas)[:, MOVED].flatten().double() / 0.3) ** DIM
    assert stats.kstest(volumes, "uniform").pvalue > 1e-3
    assert not deltas[:, ~MOVED].any()


@pytest.mark.parametrize("mixing", ["fixed", "instance", None])
def test_it_is_added_to_the_embeddings(mixing):
    """With SALT's mixing, with a fixed one, and without substitutes. The reference is a vanilla model whose embedding
    table holds the moved, mixed embeddings in the rows of the tokens. In evaluation nothing is moved."""
    net, (tokens, substitutes) = model(mixing or "instance", 0.25), batch()
    options = {"substitutes": substitutes, "mixup_seed": 9} if mixing else {}
    delta = random_in_ball(tokens, DIM, 1.5, "l2", seeded())
    table = net.encoder.embed_tokens.weight.detach()
    r = {"fixed": 0.25, "instance": torch.rand(2, 1, DIM, generator=seeded(9))}.get(mixing, 1.0)
    h = r * table[tokens] + (1 - r) * table[substitutes] + delta
    logits, _ = net(tokens, perturbation=delta, **options)
    for i in range(2):
        vanilla = copy.deepcopy(net).eval()
        vanilla.encoder.embed_tokens.weight.data[tokens[i]] = h[i]
        torch.testing.assert_close(vanilla(tokens[i : i + 1])[0], logits[i : i + 1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits, net(tokens, **options)[0], atol=1e-3)
    net.eval()
    assert torch.equal(net(tokens, perturbation=delta, **options)[0], net(tokens)[0])


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"radius": -0.1}, r"--radius -0.1 is outside \[0, 1000\]"),
        ({"radius": math.nan}, r"--radius nan is outside \[0, 1000\]"),
        ({"ascent_steps": 0}, r"--ascent-steps 0 is outside \[1, 1000\]"),
        ({"ascent_step_size": 1.5}, r"--ascent-step-size 1.5 is outside \[0, 1\]"),
    ],
)
def test_bad_options(tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        train_steps(tmp_path, [], **options)
