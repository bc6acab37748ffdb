"""Commands that run in this process read wordfreq's lists once; results to compare are computed with one thread."""

import pytest
import torch

from preprocess.distillation import target_vocabularies
from support.word_lists import frequencies


@pytest.fixture(autouse=True)
def lists_read_once(monkeypatch):
    monkeypatch.setattr(target_vocabularies, "frequencies", frequencies)


@pytest.fixture
def one_thread():
    """Matrix products of one thread and of two differ in the last bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
