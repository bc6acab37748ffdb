"""RS-ADV: gradient ascent in the ball, against closed forms, losses that punish a fixed step, and a naive first step."""

import math

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

from salt_fairseq.models.salt_encoder import SaltEncoderConfig
from salt_fairseq.modules.encoder import BOS, EOS, PAD, UNK
from salt_fairseq.modules.perturbation import ascend, random_in_ball
from salt_fairseq.tasks import salt_task
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairConfig, SaltSentencePairTask
from support.tiny_model import inside, seeded
from support.tiny_plm import binarized, looked_up, tiny_plm

RADIUS, DIM = 0.5, 12
TOKENS = torch.tensor([[BOS, 10, UNK, EOS, 12, EOS], [BOS, 20, EOS, 21, EOS, PAD], [BOS, 5, EOS, EOS, PAD, PAD]])
WORDS = torch.tensor([[0, 1, 1, 0, 1, 0], [0, 1, 0, 1, 0, 0], [0, 1, 0, 0, 0, 0]])[:, :, None]
WEIGHTS = torch.randn(3, 6, DIM, generator=torch.Generator().manual_seed(5))


def linear(delta):
    return (delta * WEIGHTS).sum((1, 2)) + torch.tensor([1.0, -2.0, 3.0])


def narrow_sine(delta):
    """A fraction of a step uphill is followed by valleys; the second instance begins on a summit."""
    return torch.sin(60 * (delta * WEIGHTS).sum((1, 2)) + torch.tensor([0.0, math.pi / 2, 3.0]))


def cliff(delta):
    """Rises to half a radius from the centre, then falls off."""
    length = (delta - 1e-3 * F.normalize(WEIGHTS, dim=-1)).norm(dim=-1)
    return torch.where(length < 0.25, length, -10 * length).sum(1)


def naive(loss_of, norm, steps, step_size):
    """Projected gradient ascent in fixed steps, as textbooks have it: the losses on its way (steps + 1, B)."""
    delta, losses = torch.zeros(3, 6, DIM), []
    for _ in range(steps):
        delta.requires_grad_()
        losses.append(loss_of(delta))
        gradient = torch.autograd.grad(losses[-1].sum(), delta)[0]
        moved = delta.detach() + step_size * RADIUS * (gradient.sign() if norm == "linf" else F.normalize(gradient, dim=-1))
        if norm == "linf":
            delta = moved.clamp(-RADIUS, RADIUS) * WORDS
        else:
            delta = torch.where(moved.norm(dim=-1, keepdim=True) > RADIUS, RADIUS * F.normalize(moved, dim=-1), moved) * WORDS
    return torch.stack([*losses, loss_of(delta)]).detach()


@pytest.mark.parametrize("steps, step_size", [(1, 1.0), (2, 0.5), (5, 0.7), (3, 0.25)])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_linear_loss(norm, steps, step_size):
    """The maximum lies where the gradient leaves the ball: radius * gradient / |gradient|, or radius * sign, per token."""
    delta, losses = ascend(linear, TOKENS, DIM, RADIUS, norm, steps, step_size)
    direction = WORDS * (WEIGHTS.sign() if norm == "linf" else WEIGHTS / WEIGHTS.square().sum(-1, keepdim=True).sqrt())
    lengths = [min(step * step_size, 1.0) * RADIUS for step in range(steps + 1)]
    torch.testing.assert_close(delta, lengths[-1] * direction, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(losses, torch.stack([linear(length * direction) for length in lengths]))


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("loss_of", [linear, narrow_sine, cliff])
@pytest.mark.parametrize("steps, step_size", [(1, 1.0), (4, 1.0), (12, 0.5), (30, 0.3)])
def test_the_loss_never_decreases(loss_of, norm, steps, step_size):
    """For each instance, inside the ball, and the last loss is that of what is returned; a fixed step fails at this."""
    delta, losses = ascend(loss_of, TOKENS, DIM, RADIUS, norm, steps, step_size)
    assert losses.shape == (steps + 1, 3) and delta.shape == (3, 6, DIM)
    assert not delta.requires_grad and not losses.requires_grad
    assert (losses.diff(dim=0) >= 0).all()
    assert torch.equal(losses[0], loss_of(torch.zeros(3, 6, DIM))) and torch.equal(losses[-1], loss_of(delta))
    assert inside(delta, RADIUS, norm) and not delta[WORDS.expand_as(delta) == 0].any()
    if loss_of is not linear:
        assert (naive(loss_of, norm, steps, step_size).diff(dim=0) < 0).any()
    if steps == 30:
        assert (losses[-1] > {linear: losses[0], narrow_sine: torch.full((3,), 0.9), cliff: losses[0]}[loss_of]).all()


def test_a_step_is_taken_back_and_halved():
    """By hand: a ridge 0.1 away from the centre of one token; 0.5 and 0.25 lie beyond it and are worse, 0.125 is better.
    From there 0.125 and 0.0625 back are worse again, 0.03125 is better: the gradient is that of the last point kept."""
    direction = F.normalize(torch.ones(1, 1, DIM), dim=-1)

    def ridge(delta):
        return -((delta * direction).sum((1, 2)) - 0.1).abs()

    delta, losses = ascend(ridge, torch.tensor([[9]]), DIM, RADIUS, "l2", 5, 1.0)
    torch.testing.assert_close(losses[:, 0], torch.tensor([-0.1, -0.1, -0.1, -0.025, -0.025, -0.025]))
    torch.testing.assert_close(delta, 0.125 * direction)
    delta, losses = ascend(ridge, torch.tensor([[9]]), DIM, RADIUS, "l2", 6, 1.0)
    torch.testing.assert_close(delta, (0.125 - 0.03125) * direction)
    torch.testing.assert_close(losses[-1:, 0], torch.tensor([-0.1 + 0.09375]))


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_no_step_at_all(norm):
    delta, losses = ascend(narrow_sine, TOKENS, DIM, RADIUS, norm, 0, 1.0)
    assert not delta.any() and torch.equal(losses, narrow_sine(delta)[None])


def test_instances_do_not_depend_on_each_other():
    """A step that one instance takes back is kept by the others: each climbs as it does alone."""
    together, losses = ascend(narrow_sine, TOKENS, DIM, RADIUS, "l2", 8, 0.5)
    kept = losses.diff(dim=0) > 0
    assert (kept.any(1) & ~kept.all(1)).any()
    for i in range(3):

        def alone(delta, i=i):
            return narrow_sine(torch.zeros(3, 6, DIM).index_put((torch.tensor([i]),), delta))[i : i + 1]

        delta, its_losses = ascend(alone, TOKENS[i : i + 1], DIM, RADIUS, "l2", 8, 0.5)
        assert torch.equal(delta[0], together[i]) and torch.equal(its_losses[:, 0], losses[:, i])


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A PLM directory, and sentences of different lengths with a dictionary of some of their words."""
    plm = tiny_plm(tmp_path_factory.mktemp("plm") / "tiny")
    pairs = [("The big House sleeps.", "House cat, big the cat"), ("the cat", "House sleeps"), ("cat, cat, cat, the House.", "3 big cat resume")]
    data = binarized(plm, tmp_path_factory.mktemp("data") / "data", pairs * 4)
    looked_up(plm, data, fr="the le\nhouse maison\ncat chat\nbig grande\n")
    return plm, data


@pytest.fixture
def real(words):
    """A task that mixes and perturbs adversarially, its model in training, with dropout and a sharp classifier, a batch."""
    plm, data = words
    torch.manual_seed(1)
    task = SaltSentencePairTask(SaltSentencePairConfig(data=str(data), seed=1, lexicon="muse", perturbation="adversarial", radius=0.4, ascent_steps=4))
    net = task.build_model(OmegaConf.structured(SaltEncoderConfig(_name="salt_encoder", plm=str(plm)))).train()
    net.pooler.weight.data *= 20
    net.classifier.weight.data *= 30
    dataset = task.load_dataset("train")
    return task, net, dataset.collater([dataset[i] for i in range(8, 20)])


class Optimizer:
    """What ``train_step`` needs of one."""

    def backward(self, loss):
        loss.backward()


def losses_with(net, tokens, target, embeddings):
    """Losses (B,) without dropout, ``embeddings`` put in place of the table's output by a hook."""
    modes = [module.training for module in net.modules()]
    handle = net.eval().encoder.embed_tokens.register_forward_hook(lambda module, args, output: embeddings)
    losses = F.cross_entropy(net(tokens)[0], target, reduction="none")
    handle.remove()
    for module, mode in zip(net.modules(), modes):
        module.training = mode
    return losses


def test_a_training_step(real, monkeypatch):
    """Mixup and RS-ADV together, on a batch of the data: dropout, gradients, losses on the way, and what the model is given."""
    task, net, sample = real
    tokens, target, climbs, given = sample["net_input"]["src_tokens"], sample["target"], [], []
    parameters = list(net.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 0.25)

    def watched(loss_of, *args):
        def checked(delta):
            assert not any(module.training for module in net.modules()), "dropout is off"
            return loss_of(delta)

        state = torch.get_rng_state()
        climbs.append(ascend(checked, *args))
        assert torch.equal(torch.get_rng_state(), state), "the dropout that follows is that of vanilla fine-tuning"
        assert all(p.grad.eq(0.25).all() for p in parameters), "the ascent leaves no gradients"
        return climbs[-1]

    def criterion(net, sample):
        assert all(module.training for module in net.modules())
        given.append(sample["net_input"])
        return F.cross_entropy(net(**sample["net_input"])[0], sample["target"], reduction="sum"), 1, {}

    monkeypatch.setattr(salt_task, "ascend", watched)
    task.train_step(sample, net, criterion, Optimizer(), 7)
    assert all(p.grad.ne(0.25).any() for p in parameters), "the step itself does"
    [(delta, losses)], [net_input] = climbs, given
    assert torch.equal(net_input["perturbation"], delta) and inside(delta, 0.4, "l2")
    assert torch.equal(delta.ne(0).any(-1), tokens > EOS)
    assert losses.shape == (5, len(tokens)) and (losses.diff(dim=0) >= 0).all() and (losses[-1] > losses[0]).all()
    table, substitutes = net.encoder.embed_tokens.weight.detach(), net_input["substitutes"]
    assert not torch.equal(substitutes[:, :, 0], tokens)
    assert substitutes.dim() == 3
    counts = substitutes.ne(PAD).sum(2, keepdim=True).clamp(min=1)
    means = (table[substitutes] * substitutes.ne(PAD)[..., None]).sum(2) / counts + table[PAD] * tokens.eq(PAD)[..., None]
    r = torch.rand(len(tokens), 1, 8, generator=seeded(net_input["mixup_seed"]))
    mixed = r * table[tokens] + (1 - r) * means
    for step, embeddings in ((0, mixed), (-1, mixed + delta)):
        torch.testing.assert_close(losses[step], losses_with(net, tokens, target, embeddings), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_first_step(real, norm):
    """Token by token, with gradients taken one pair at a time, without padding, in float64."""
    task, net, sample = real
    tokens, target = sample["net_input"]["src_tokens"], sample["target"]
    task.cfg.norm, task.cfg.radius, task.cfg.ascent_steps = norm, 1e-3, 1  # so short a step lowers no loss
    delta = task._perturbation({"net_input": {"src_tokens": tokens}, "target": target}, net, 1)
    assert all(module.training for module in net.modules())
    net.double()
    for i in range(len(tokens)):
        row = tokens[i : i + 1, : int(tokens[i].ne(PAD).sum())]
        embeddings = net.encoder.embed_tokens.weight.detach()[row].requires_grad_()
        gradient = torch.autograd.grad(losses_with(net, row, target[i : i + 1], embeddings).sum(), embeddings)[0][0]
        assert not delta[i, row.shape[1] :].any()
        for k, token in enumerate(row[0].tolist()):
            if token in (BOS, EOS):
                assert not delta[i, k].any()
                continue
            g = gradient[k]
            clear = g.abs() > 1e-3 * g.abs().max()  # in the others the sign is rounding
            expected = 0.5e-3 * (g.sign() if norm == "linf" else g / g.square().sum().sqrt())
            torch.testing.assert_close(delta[i, k].double()[clear], expected[clear], atol=1e-7, rtol=1e-2)


def test_worse_than_random(real):
    """In the same ball and batch, the adversary raises the mean loss by far more than random perturbations do."""
    task, net, sample = real
    tokens, target = sample["net_input"]["src_tokens"], sample["target"]
    embeddings = net.encoder.embed_tokens.weight.detach()[tokens]
    adversarial = task._perturbation({"net_input": {"src_tokens": tokens}, "target": target}, net, 1)
    before = losses_with(net, tokens, target, embeddings).mean()
    by_adversary = losses_with(net, tokens, target, embeddings + adversarial).mean() - before
    by_chance = max(losses_with(net, tokens, target, embeddings + random_in_ball(tokens, 8, 0.4, "l2", seeded(seed))).mean() - before for seed in range(10))
    assert by_adversary > 3 * by_chance.abs()
