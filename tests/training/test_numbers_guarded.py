"""Numbers that cannot be right end a training or a validation, and say where."""

import re

import numpy as np
import pytest
import torch

from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.sentence_pair_dataset import SentencePairDataset
from salt_fairseq.errors import InputError
from support.training import trained, training, validate

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("more", [[], ["--update-freq", 2, "--augment", "fr"]])
def test_training_that_diverges(bert_data, bert_plm, tmp_path, more):
    """Ids of one batch, all of the training data; the update is one that begins with broken weights."""
    with pytest.raises(InputError, match=r"the loss is not finite in update \d+, whose batch holds the examples") as error:
        trained(training(bert_data, bert_plm, tmp_path, *more, "--lr", "1e38", "--clip-norm", 0, "--disable-validation"))
    ids = re.search(r"with the ids (.*): training", str(error.value))[1].split(", ")
    assert set(ids) <= set(DataDirectory(bert_data).ids("train")) and 16 <= len(ids) <= 32


def test_validation_with_broken_weights(bert_data, bert_plm, tmp_path):
    trained(training(bert_data, bert_plm, tmp_path, "--disable-validation", updates=1))
    saved = torch.load(tmp_path / "checkpoint_last.pt", weights_only=True)
    saved["model"]["classifier.bias"][0] = torch.nan
    torch.save(saved, tmp_path / "bad.pt")
    with pytest.raises(BaseException) as failed:
        validate(bert_data, tmp_path / "bad.pt", ["test.fr"], "--batch-size", 8)
    assert "error: the loss is not finite for the examples number" in str(failed.value)


def test_an_instance_left_out(bert_data, bert_plm, tmp_path, monkeypatch):
    """As fairseq's own batches do, which leave out what does not fill a multiple of 8."""
    monkeypatch.setattr(SentencePairDataset, "ordered_indices", lambda self: np.arange(len(self) - 1))
    with pytest.raises(RuntimeError, match="not every instance is in exactly one batch"):
        trained(training(bert_data, bert_plm, tmp_path, updates=1))
