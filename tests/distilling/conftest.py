"""Commands that run in this process read wordfreq's lists once."""

import pytest

from preprocess.distillation import target_vocabularies
from support.word_lists import frequencies


@pytest.fixture(autouse=True)
def lists_read_once(monkeypatch):
    monkeypatch.setattr(target_vocabularies, "frequencies", frequencies)
