"""What is patched in fairseq has the signature that the patch was written for, the fault, and is patched once."""

import errno
import inspect
import io
import shutil
import time
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from salt_fairseq import fairseq_patches
from salt_fairseq.errors import InputError

PATCHED = [
    (checkpoint_utils, "load_checkpoint_to_cpu", {"path": None, "arg_overrides": None, "load_on_all_ranks": False}),
    (
        checkpoint_utils,
        "load_model_ensemble_and_task",
        {"filenames": None, "arg_overrides": None, "task": None, "strict": True, "suffix": "", "num_shards": 1, "state": None},
    ),
    (checkpoint_utils, "load_checkpoint", {"cfg": None, "trainer": None, "passthrough_args": None}),
    (
        Trainer,
        "load_checkpoint",
        {"self": None, "filename": None, "reset_optimizer": False, "reset_lr_scheduler": False, "optimizer_overrides": None, "reset_meters": False},
    ),
    (checkpoint_utils, "torch_persistent_save", {"obj": None, "filename": None, "async_write": False}),
    (PathManager, "copy", {"src_path": None, "dst_path": None, "overwrite": False}),
    (distributed_utils, "broadcast_object", {"obj": None, "src_rank": None, "group": None, "dist_device": None}),
]
by_name = pytest.mark.parametrize("owner, name, parameters", PATCHED, ids=[name for _, name, _ in PATCHED])


@pytest.fixture(autouse=True)
def patched():
    fairseq_patches.apply()


@by_name
def test_signature(owner, name, parameters):
    """Parameters of the original and their defaults, here None for those without any."""
    signature = inspect.signature(getattr(owner, name).__wrapped__)
    assert {n: None if p.default is p.empty else p.default for n, p in signature.parameters.items()} == parameters


@by_name
def test_patched_once(owner, name, parameters):
    before = vars(owner)[name]
    fairseq_patches.apply()
    assert vars(owner)[name] is before
    original = getattr(owner, name).__wrapped__
    if owner is Trainer:  # two patches, the task's state and early stopping, are around this method
        original = original.__wrapped__
    assert not hasattr(original, "__wrapped__")


class FullOnce(io.BytesIO):
    """A file on a disk that is full once, after 2,000 bytes."""

    full = True

    def write(self, data):
        if self.full and self.tell() + len(data) > 2000:
            self.full = False
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(data)


def test_fault_of_saving_again(monkeypatch):
    """What fairseq counts as saved cannot be read: the patch may go once this fails."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    file = FullOnce()
    checkpoint_utils._torch_persistent_save({"model": torch.arange(5000)}, file)
    file.seek(0)
    with pytest.raises(RuntimeError):
        torch.load(file, weights_only=True)


def test_a_failed_save_names_the_path_and_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoint_utils.torch_persistent_save({"model": torch.arange(5)}, str(path))

    def full(value, file):
        file.write(b"half")
        raise RuntimeError("unexpected pos 4 vs 0") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match=f"^cannot write {path}: No space left on device; free some space"):
        checkpoint_utils.torch_persistent_save({}, str(path))
    assert [*tmp_path.iterdir()] == [path]
    assert torch.equal(torch.load(path, weights_only=True)["model"], torch.arange(5))


def test_an_interrupted_copy_leaves_the_old_file(tmp_path, monkeypatch):
    source, target = tmp_path / "checkpoint_1_2.pt", tmp_path / "checkpoint_last.pt"
    source.write_bytes(b"new" * 100)
    target.write_bytes(b"old")

    def interrupted(source, target):
        Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", interrupted)
        with pytest.raises(KeyboardInterrupt):
            PathManager.copy(str(source), str(target), overwrite=True)
    assert target.read_bytes() == b"old" and len([*tmp_path.iterdir()]) == 2
    assert PathManager.copy(str(source), str(target), overwrite=True)
    assert target.read_bytes() == source.read_bytes()


def test_fault_of_broadcasting():
    """torch's safe loader refuses a configuration of omegaconf's."""
    file = io.BytesIO()
    torch.save({"cfg": OmegaConf.create({"a": 1})}, file)
    file.seek(0)
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(file)
