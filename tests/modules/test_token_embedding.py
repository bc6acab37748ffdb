"""The kept gradient of token embeddings against torch's own."""

import pytest
import torch
from torch import nn

from salt_fairseq.modules.encoder import PAD
from salt_fairseq.modules.token_embedding import TokenEmbedding

V, DIM = 50, 4


@pytest.fixture
def both():
    """A :class:`TokenEmbedding`, and torch's with the same weights; in float64, since the order of sums is free."""
    torch.manual_seed(1)
    theirs = nn.Embedding(V, DIM, padding_idx=PAD, dtype=torch.float64)
    ours = TokenEmbedding(V, DIM, padding_idx=PAD, dtype=torch.float64)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def use(embedding, step):
    """Two micro-batches of two look-ups each; the second depends on the whole table as well, like an LM head."""
    drawn = torch.Generator().manual_seed(step)
    for micro_batch in range(2):
        tokens, weights = (torch.randint(0, V, (3, 7), generator=drawn) for _ in range(2)), torch.rand(3, 7, DIM, generator=drawn, dtype=torch.float64)
        loss = sum((embedding(ids).sin() * weights).sum() for ids in tokens)
        if micro_batch:
            loss = loss + (weights @ embedding.weight.T).cos().sum()
        loss.backward()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_values_and_gradients_are_those_of_torch(both, optimizer):
    """Over steps, between which the optimizer drops the gradients; the buffer stays the same one, and dense."""
    optimizers, buffers = [optimizer(embedding.parameters(), lr=0.1) for embedding in both], set()
    for step in range(4):
        for embedding, steps in zip(both, optimizers):
            steps.zero_grad()
            use(embedding, step)
        ours, theirs = (embedding.weight.grad for embedding in both)
        torch.testing.assert_close(ours, theirs)
        assert ours.layout is torch.strided
        buffers.add(ours.data_ptr())
        for steps in optimizers:
            steps.step()
    assert len(buffers) == 1
    torch.testing.assert_close(both[0].weight, both[1].weight)


def test_the_padding_has_no_gradient(both):
    for embedding in both:
        embedding(torch.tensor([[5, PAD, 5]])).sum().backward()
        assert embedding.weight.grad.nonzero()[:, 0].unique().tolist() == [5] and embedding.weight.grad[5].tolist() == [2.0] * DIM


@pytest.mark.parametrize("use", ["evaluation", "no_grad", "frozen"])
def test_nothing_is_kept_where_nothing_is_trained(both, use):
    ours, tokens = both[0].train(use != "evaluation").requires_grad_(use != "frozen"), torch.tensor([[5, 6]])
    with torch.set_grad_enabled(use != "no_grad"):
        found = ours(tokens)
    assert torch.equal(found, both[1](tokens)) and ours.weight.grad is None and ours._gradient is None
    assert ours.state_dict().keys() == {"weight"}
