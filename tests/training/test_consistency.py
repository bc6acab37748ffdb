"""The consistency loss against scipy and against two separate readings of the same batch."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F

from salt_fairseq.criterions.salt_classification import SaltClassificationCriterion, divergence
from salt_fairseq.errors import InputError
from salt_fairseq.modules.mixup import mix
from support.tiny_model import batch, model


def criterion(weight, direction="symmetric", mixes=True, augment="en"):
    task = SimpleNamespace(cfg=SimpleNamespace(augment=augment, lexicon=""), mixes=mixes, target_dictionary=None, has_token_labels=False)
    return SaltClassificationCriterion(task, weight, direction)


def sample(**more):
    tokens, substitutes = batch()
    net_input = {"src_tokens": tokens, "substitutes": substitutes, "mixup_seed": 7, **more}
    return {"net_input": net_input, "target": torch.tensor([1, 2]), "ntokens": 13, "nsentences": 2, "nlabels": 2}


def test_divergence_is_scipys():
    p, q = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()
    pairs = list(zip(scipy.special.softmax(p.numpy().astype(float), 1), scipy.special.softmax(q.numpy().astype(float), 1)))
    forward = sum(scipy.stats.entropy(a, b) for a, b in pairs)
    backward = sum(scipy.stats.entropy(b, a) for a, b in pairs)
    assert divergence(p, q).item() == pytest.approx((forward + backward) / 2, rel=1e-5)
    assert divergence(p, q, "from_original").item() == pytest.approx(forward, rel=1e-5)


def test_the_original_is_a_fixed_target_in_one_direction():
    p, q = (torch.randn(4, 3, generator=torch.Generator().manual_seed(seed), requires_grad=True) for seed in (1, 2))
    divergence(p, q, "from_original").backward()
    assert p.grad is None
    torch.testing.assert_close(q.grad, q.softmax(1) - p.softmax(1))  # the gradient of KL(p || softmax(q)) by q


@pytest.mark.parametrize("direction", ["symmetric", "from_original"])
def test_loss_of_two_readings(direction):
    """Cross-entropy of both readings, halved, and the weighted divergence, each from a forward pass of its own."""
    net, one = model("fixed", 0.25), sample()
    tokens, substitutes, target = one["net_input"]["src_tokens"], one["net_input"]["substitutes"], one["target"]
    embeddings = net.encoder.embed_tokens(torch.stack([tokens, substitutes]))
    original = net.classify(tokens, embeddings[0])
    switched = net.classify(tokens, mix(embeddings[0], embeddings[1], torch.tensor(0.25)))
    entropies = (F.cross_entropy(original, target, reduction="sum") + F.cross_entropy(switched, target, reduction="sum")) / 2
    loss, size, log = criterion(0.75, direction)(net, one)
    expected = divergence(original, switched, direction)
    torch.testing.assert_close(loss, entropies + 0.75 * expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(log["consistency"], expected.detach(), rtol=1e-5, atol=1e-6)
    assert size == 2 and log["ncorrect"] == (original.argmax(1) == target).sum()


def test_several_tokens_for_one():
    """A translation of two tokens is mixed in as their mean; the unchanged reading stays unchanged."""
    net, one = model("fixed", 0.5), sample()
    tokens, substitutes = one["net_input"]["src_tokens"], one["net_input"]["substitutes"]
    second = torch.zeros_like(substitutes) + 1  # padding
    second[0, 1] = 40
    one["net_input"]["substitutes"] = torch.stack([substitutes, second], 2)
    _, _, log = criterion(1.0)(net, one)
    mean = net.encoder.embed_tokens(substitutes).clone()
    mean[0, 1] = net.encoder.embed_tokens(torch.tensor([30, 40])).mean(0)
    originals = net.encoder.embed_tokens(tokens)
    expected = divergence(net.classify(tokens, originals), net.classify(tokens, (originals + mean) / 2))
    torch.testing.assert_close(log["consistency"], expected.detach(), rtol=1e-4, atol=1e-6)


def test_two_dropout_passes_without_substitutes():
    """R-Drop: nothing differs without dropout, and with it the passes do."""
    for dropout, same in ((0.0, True), (0.4, False)):
        net, one = model(), sample()
        del one["net_input"]["substitutes"]
        net.dropout.p = dropout
        _, _, log = criterion(1.0, augment="")(net, one)
        assert (log["consistency"].item() == 0) is same


def test_a_perturbation_moves_the_second_reading_only():
    net, delta = model(), torch.full((2, 8, 12), 0.3)
    one = sample(perturbation=delta)
    del one["net_input"]["substitutes"]
    _, _, log = criterion(1.0)(net, one)
    tokens = one["net_input"]["src_tokens"]
    expected = divergence(net.classify(tokens), net.classify(tokens, net.encoder.embed_tokens(tokens) + delta))
    torch.testing.assert_close(log["consistency"], expected.detach(), rtol=1e-4, atol=1e-6)


def test_validation_and_weight_zero_read_once():
    net, one = model(), sample()
    plain, _, log = criterion(0.0)(net, one)
    assert "consistency" not in log
    net.eval()
    torch.testing.assert_close(criterion(1.0)(net, one)[0], criterion(0.0)(net, one)[0])
    assert np.isfinite(plain.item())


def test_refusals():
    with pytest.raises(InputError, match="--consistency -1 is no weight"):
        criterion(-1)
    with pytest.raises(InputError, match="--consistency with --mixup none"):
        criterion(1.0, mixes=False)
