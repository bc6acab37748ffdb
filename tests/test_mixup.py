"""Embedding mixup against its definition: h_i = r * E[s_i] + (1 - r) * E[t_i], r uniform, drawn in each step."""

import copy
import json

import numpy as np
import pytest
import torch
from scipy import stats

from salt_fairseq.models.salt_encoder import SaltEncoder, SaltEncoderConfig
from salt_fairseq.modules.encoder import BOS, EOS, PAD, Architecture
from salt_fairseq.modules.mixup import coefficients, mix
from salt_fairseq.plm import Description
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairConfig, SaltSentencePairTask

DIM = 12
SPECIALS = {"bos": "[CLS]", "pad": "[PAD]", "eos": "[SEP]", "unk": "[UNK]", "mask": "[MASK]"}


def draw(mixing, shape, seed, ratio=0.5):
    return coefficients(mixing, ratio, shape, torch.Generator().manual_seed(seed), "cpu")


def model(mixup="instance", ratio=0.5, segments=2, **options):
    """A model without dropout whose weights are large enough that a wrong embedding shows."""
    arch = Architecture(60, DIM, 2, 3, 20, 16, segments, 1e-12, True)
    description = Description("tiny", "test", "wordpiece", 1, SPECIALS, arch, {})
    config = SaltEncoderConfig(plm_description=description.to_json(), dropout=0, attention_dropout=0,
                               classifier_dropout=0, mixup=mixup, mixup_ratio=ratio, **options)
    torch.manual_seed(1)
    net = SaltEncoder(config, 3)
    net.pooler.weight.data *= 20
    net.classifier.weight.data *= 20
    return net.train()


def batch():
    """Two pairs, the second one padded, and substitutes for some of their tokens."""
    tokens = torch.tensor([[BOS, 10, 11, 12, EOS, 13, 14, EOS], [BOS, 20, EOS, 21, EOS, PAD, PAD, PAD]])
    substitutes = tokens.clone()
    substitutes[0, [1, 3, 5]] = torch.tensor([30, 31, 32])
    substitutes[1, 3] = 33
    return tokens, substitutes


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
    assert stats.kstest(r.mean(dim=(0, 1, 2)), "norm", (0.5, np.sqrt(1 / 12 / 8000))).pvalue > 1e-3


@pytest.mark.parametrize("mixing, shape", [("instance", (6, 1, DIM)), ("token", (6, 5, DIM)), ("scalar", (6, 1, 1))])
def test_shapes_say_what_shares_a_coefficient(mixing, shape):
    """One number where the shape is 1, and nowhere else the same number twice."""
    r = draw(mixing, (6, 5, DIM), 3)
    assert r.shape == shape
    assert len(r.unique()) == r.numel()
    assert torch.equal(r, draw(mixing, (6, 5, DIM), 3)) and not torch.equal(r, draw(mixing, (6, 5, DIM), 4))


def test_fixed_and_none_are_constants():
    assert torch.equal(draw("fixed", (6, 5, DIM), 3, 0.3).broadcast_to(6, 5, DIM), torch.full((6, 5, DIM), 0.3))
    assert torch.equal(draw("none", (6, 5, DIM), 3, 0.3).broadcast_to(6, 5, DIM), torch.zeros(6, 5, DIM))


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
    for mixing in ("instance", "token", "scalar", "none"):
        equal = step(model(mixing), tokens.clone(), 7)
        assert torch.equal(equal[0], vanilla[0])
        for mine, theirs in zip(equal[1:], vanilla[1:]):
            torch.testing.assert_close(mine, theirs)
    ratio_1 = step(model("fixed", 1.0), substitutes, 7)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ratio_1, vanilla))


@pytest.mark.parametrize("segments", [1, 2])
@pytest.mark.parametrize("mixing", ["instance", "token", "scalar", "fixed", "none"])
def test_forward_is_the_formula(mixing, segments):
    """The reference is a vanilla model whose embedding table holds h_i in the row of token s_i."""
    net, (tokens, substitutes) = model(mixing, 0.25, segments), batch()
    shape = {"instance": (2, 1, DIM), "token": (2, 8, DIM), "scalar": (2, 1, 1)}.get(mixing)
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(9)) if shape else None
    r = {"fixed": torch.tensor(0.25), "none": torch.tensor(0.0)}.get(mixing, drawn)
    table = net.encoder.embed_tokens.weight.detach()
    h = r * table[tokens] + (1 - r) * table[substitutes]
    logits, _ = net(tokens, substitutes, 9)
    for i in range(2):
        vanilla = copy.deepcopy(net).eval()
        vanilla.encoder.embed_tokens.weight.data[tokens[i]] = h[i]
        torch.testing.assert_close(vanilla(tokens[i : i + 1])[0], logits[i : i + 1], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits, net(tokens)[0], atol=1e-3)


def test_padding_and_batch_size_do_not_change_an_instance():
    """A pair alone, unpadded, is what it is as a padded row, if it has the same coefficients."""
    net, (tokens, substitutes) = model("fixed", 0.4), batch()
    alone, _ = net(tokens[1:, :5], substitutes[1:, :5])
    torch.testing.assert_close(alone, net(tokens, substitutes)[0][1:], atol=1e-5, rtol=1e-5)


def test_off_when_not_training():
    """In evaluation the substitutes do not count, whatever the mixing."""
    tokens, substitutes = batch()
    for mixing in ("instance", "none"):
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


def seeds_of(tmp_path, steps, seed=1):
    """The mixup seeds that the task hands to the model in the given updates, one train_step for each."""
    (tmp_path / "meta.json").write_text(json.dumps({}))
    task, seeds = SaltSentencePairTask(SaltSentencePairConfig(data=str(tmp_path), seed=seed)), []

    class Optimizer:
        def backward(self, loss):
            loss.backward()

    def criterion(net, sample):
        seeds.append(sample["net_input"]["mixup_seed"])
        return net(**sample["net_input"])[0].sum(), 2, {}

    tokens, substitutes = batch()
    for update in steps:
        sample = {"net_input": {"src_tokens": tokens, "substitutes": substitutes}}
        task.train_step(sample, model(), criterion, Optimizer(), update)
    return seeds


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
