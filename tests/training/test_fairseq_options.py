"""Options of fairseq's that this task treats in its own way: honoured, or answered with one warning."""

import logging

import pytest
import torch

from salt_fairseq.tasks.salt_task import workers
from support.training import trained, training

pytestmark = pytest.mark.slow


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING and record.name.startswith("salt_fairseq")]


@pytest.mark.parametrize("option, default, other", [("--data-buffer-size", 10, 3), ("--required-batch-size-multiple", 8, 4)])
def test_ignored_options_are_answered_with_one_warning(option, default, other, bert_data, bert_plm, tmp_path, caplog):
    """One for all epochs, training and validation; none for fairseq's default."""
    words = training(bert_data, bert_plm, tmp_path, "--max-epoch", 2, "--no-save", updates=0)
    trained([*words, option, default])
    assert warnings(caplog) == []
    trained([*words, option, other])
    (warning,) = warnings(caplog)
    assert warning.startswith(f"{option} is ignored: ")


@pytest.mark.parametrize("gpu", [False, True])
def test_workers(gpu, monkeypatch):
    """As many as are asked for, but none on a CPU for fairseq's default of one."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert [workers(n) for n in range(4)] == [0, 1 if gpu else 0, 2, 3]
