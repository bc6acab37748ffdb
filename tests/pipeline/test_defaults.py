"""What salt train chooses from the size of the data: numbers worked by hand, and the paper's own at the paper's sizes."""

import math

import pytest

from salt_fairseq.pipeline.defaults import Size, defaults, epochs_of, validation_interval


def values(size, **given):
    return {name: chosen.value for name, chosen in defaults(size, given).items()}


def test_xnli_as_in_the_paper():
    """Batches of 32, 1 epoch of 5 streams: 61,360 updates (recipes/config/xnli.yaml), validated every 1,000."""
    assert values(Size(examples=392_702, validation=2490, streams=5, dim=768)) == {
        "batch_size": 32,
        "one_stream": False,
        "epochs": 1,
        "updates": 61_360,
        "learning_rate": 2e-5,
        "warmup_updates": 500,
        "validation_interval": 1000,
        "freeze_embeddings": False,
    }


def test_pawsx_as_in_the_paper():
    """3 epochs of 5 streams: 23,157 updates (recipes/config/pawsx.yaml)."""
    chosen = values(Size(examples=49_401, validation=2000, streams=5, dim=768))
    assert (chosen["epochs"], chosen["updates"]) == (3, 3 * math.ceil(5 * 49_401 / 32)) == (3, 23_157)


def test_few_examples():
    """480 pairs, one variant of each in 10 epochs: 30 batches of 16 an epoch. 60 examples may be validated ten times: 300 x 16 x
    3 / (4 x 60) = 60 times would be affordable."""
    chosen = values(Size(examples=480, validation=60, streams=5, dim=384))
    assert chosen == {
        "batch_size": 16,
        "one_stream": True,
        "epochs": 10,
        "updates": 300,
        "learning_rate": 1e-4,
        "warmup_updates": 30,
        "validation_interval": 30,
        "freeze_embeddings": True,
    }


def test_what_is_given_stays_and_the_rest_follows_from_it():
    size = Size(examples=20_000, validation=1000, streams=2, dim=768)
    chosen = values(size, batch_size=100, epochs=2, one_stream=None)
    assert "batch_size" not in chosen and "epochs" not in chosen
    assert chosen["updates"] == 2 * 400 and chosen["warmup_updates"] == 80 and chosen["validation_interval"] == 80
    assert values(size, updates=50)["warmup_updates"] == 5


@pytest.mark.parametrize("examples, epochs", [(10, 10), (4_000, 10), (10_000, 7), (49_401, 3), (100_000, 2), (392_702, 1), (10**8, 1)])
def test_epochs(examples, epochs):
    assert epochs_of(examples) == epochs


@pytest.mark.parametrize(
    "updates, batch, validation, interval",
    [(100, 16, 0, 10), (100, 16, 10_000, 50), (61_360, 32, 2490, 1000), (1, 1, 5, 1), (100, 32, 480, 20)],  # the last: 5 are affordable
)
def test_validation_interval(updates, batch, validation, interval):
    assert validation_interval(updates, batch, validation) == interval
