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


@pytest.fixture(scope="module")
def texts(tmp_path_factory, sentences):
    """Two files of 60 lines, the second one compressed."""
    import lzma

    directory = tmp_path_factory.mktemp("text")
    english, other = sentences[:60], sentences[-60:]
    (directory / "a.txt").write_text("\n\n".join(english) + "\n", encoding="utf-8")
    with lzma.open(directory / "b.txt.xz", "wt", encoding="utf-8") as file:
        file.write("\n".join(other))
    return [directory / "a.txt", directory / "b.txt.xz"]
