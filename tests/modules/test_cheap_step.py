"""What makes a training step on CPUs cheap, against torch's own, a binomial distribution, and the step without it."""

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from salt_fairseq.modules.attention import attention
from salt_fairseq.modules.bodies.bert import BertEncoder
from salt_fairseq.modules.dropout import Dropout, dropout
from salt_fairseq.modules.encoder import PAD, Architecture


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_as_many_are_dropped_as_a_binomial_distribution_has_it(p, dtype):
    """Also of the elements at each place of a 64-bit number, of each pair of neighbours there, and of a number of elements
    that is no multiple of four; what is left is divided by the probability to be kept."""
    torch.manual_seed(1)
    x = torch.full((1_000_003,), 3.0, dtype=dtype)
    found = dropout(x, p)
    zero = found == 0
    for of in (zero, *(zero[place::4] for place in range(4))):
        assert stats.binomtest(int(of.sum()), len(of), p).pvalue > 1e-4
    for place in range(4):
        both = (zero[:-1] & zero[1:])[place::4]
        assert stats.binomtest(int(both.sum()), len(both), p * p).pvalue > 1e-4
    rounding = 1e-4 if dtype == torch.float32 else 8e-3
    torch.testing.assert_close(found[~zero], torch.full_like(found[~zero], 3 / (1 - p)), rtol=rounding, atol=0)
    assert not torch.equal(dropout(x, p), found)


def test_almost_all_is_dropped():
    assert dropout(torch.ones(1000), 1 - 1e-9).isfinite().all()


def test_the_mask_follows_from_the_seed_and_is_that_of_the_gradient():
    x = torch.randn(3, 5, 7, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(7)
    found = dropout(x, 0.4)
    found.sum().backward()
    torch.testing.assert_close(found, x * x.grad)
    assert 0 < (x.grad == 0).sum() < 105
    torch.manual_seed(7)
    assert torch.equal(dropout(x, 0.4), found)


@pytest.mark.parametrize("p", [0.0, 0.3])
def test_an_evaluated_module_changes_nothing_and_draws_nothing(p):
    x, state = torch.randn(4, 9), torch.get_rng_state()
    assert torch.equal(Dropout(p).eval()(x), x) and torch.equal(torch.get_rng_state(), state)


def drawn(queries):
    """Queries, keys, values and a mask with rows of 1, 4 and 6 tokens."""
    torch.manual_seed(3)
    q, k, v = (torch.randn(3, 2, n, 8, dtype=torch.float64, requires_grad=True) for n in (queries, 6, 6))
    return q, k, v, (torch.arange(6) < torch.tensor([[1], [4], [6]]))[:, None, None]


@pytest.mark.parametrize("queries", [1, 6])
def test_attention_and_its_gradients_are_those_of_torch(queries):
    found = []
    for attend in (attention, F.scaled_dot_product_attention):
        q, k, v, mask = drawn(queries)
        attended = attend(q, k, v, mask)
        (attended.sin() * torch.linspace(0, 1, 8)).sum().backward()
        found.append((attended, q.grad, k.grad, v.grad))
    torch.testing.assert_close(found[0], found[1])


def test_dropout_of_attention_is_that_of_its_weights():
    """With values that are unit vectors, the weights can be read off: zero, or divided by 1 - p."""
    q, k, _, mask = drawn(6)
    unit = torch.eye(6, dtype=torch.float64).expand(3, 2, 6, 6)
    whole = attention(q, k, unit, mask)
    torch.testing.assert_close(whole.sum(-1), torch.ones(3, 2, 6, dtype=torch.float64))
    found = attention(q, k, unit, mask, 0.5)
    real = mask.expand_as(whole)
    assert (found[~real] == 0).all() and 0.3 < (found[real] == 0).double().mean() < 0.7
    torch.testing.assert_close(found, torch.where(found == 0, 0.0, whole * 2))


@pytest.mark.parametrize("first_tokens", [1, 2])
def test_features_of_the_first_tokens_alone(first_tokens):
    """Equal to those of all tokens, and so are the gradients of all parameters."""
    torch.manual_seed(1)
    encoder = BertEncoder(Architecture(50, 12, 3, 2, 24, 16, 2, 1e-5, True)).double()
    tokens = torch.randint(4, 50, (3, 9))
    tokens[1, 5:] = PAD
    found = []
    for features in (encoder(tokens, first_tokens=first_tokens), encoder(tokens)[:, :first_tokens]):
        encoder.zero_grad()
        (features.sin() * torch.linspace(-1, 1, 12)).sum().backward()
        found.append((features, *(parameter.grad.clone() for parameter in encoder.parameters())))
    assert found[0][0].shape == (3, first_tokens, 12) and all(gradient.abs().sum() > 0 for gradient in found[0][1:])
    torch.testing.assert_close(found[0], found[1])
