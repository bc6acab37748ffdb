"""Where a PLM is imported from: the hub's cache, and sources that are refused."""

import shutil
import sys

import pytest
import torch

from preprocess import import_plm
from salt_fairseq.plm import Description
from support.in_process import error_of
from support.published import Payload, copy_of
from support.running import run


def test_payload_in_pytorch_model_bin(bert_dir, tmp_path):
    tensors = copy_of(bert_dir, tmp_path / "bert")
    payload = Payload(f"__import__('os').mkdir({str(tmp_path / 'ran')!r})", eval)
    torch.save({**tensors, "x": payload}, tmp_path / "bert" / "pytorch_model.bin")
    assert "not run" in error_of(import_plm, tmp_path / "bert", tmp_path / "plm")
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def hub_cache(bert_dir, tmp_path):
    """A cache as huggingface_hub lays it out: blobs, a commit that links to them, and the branch that names the commit."""
    model, commit = tmp_path / "hub" / "models--someone--tiny-bert", "0123456789abcdef0123456789abcdef01234567"
    for folder in ("blobs", "refs", f"snapshots/{commit}"):
        (model / folder).mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    for number, file in enumerate(sorted(bert_dir.iterdir())):
        shutil.copy(file, model / "blobs" / f"{number:040x}")
        (model / "snapshots" / commit / file.name).symlink_to(f"../../blobs/{number:040x}")
    return tmp_path / "hub"


@pytest.mark.slow
def test_hub_name_from_the_cache(hub_cache, bert_plm, tmp_path):
    """Offline, as a user types it."""
    done = run("python", "preprocess/import_plm.py", "someone/tiny-bert", tmp_path / "plm", HF_HUB_OFFLINE="1", HF_HUB_CACHE=str(hub_cache))
    assert done.stdout.startswith("wrote") and "someone/tiny-bert" in done.stdout
    for name in ("model.pt", "dict.txt", "tokenizer.json"):
        assert (tmp_path / "plm" / name).read_bytes() == (bert_plm / name).read_bytes()
    description = Description.load(tmp_path / "plm")
    assert (description.name, description.source) == ("tiny-bert", "someone/tiny-bert")


def test_hub_name_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install huggingface_hub" in error_of(import_plm, "someone/tiny-bert", tmp_path / "plm")


def test_plm_directory_as_source(bert_plm, tmp_path):
    assert "is a PLM directory already" in error_of(import_plm, bert_plm, tmp_path / "plm")


def test_directory_without_a_model(tmp_path):
    assert "neither config.json (Hugging Face) nor model.pt (fairseq)" in error_of(import_plm, tmp_path, tmp_path / "plm")
