"""How fairseq's own commands read and write checkpoints, with four faults mended.

They load a checkpoint whatever its checksums say; they begin anew where ``--restore-file`` names no file; they copy onto
``checkpoint_last.pt``, so that a process killed meanwhile leaves half of it; and training goes on in one process only, since
what the trainer sends to the others is not what torch's safe loader takes.
"""

import functools
import os

import torch
from fairseq import checkpoint_utils
from fairseq.distributed.utils import _TensorPlaceholder
from omegaconf import OmegaConf

from salt_fairseq.errors import InputError
from salt_fairseq.storage.archives import check_archive

LAST = "checkpoint_last.pt"  # fairseq's default, which may be absent
restored = {}  # the task's state in the checkpoint that a training goes on from, which its trainer does not look at


def mend():
    """Mend them in this process."""
    load, restore = checkpoint_utils.load_checkpoint_to_cpu, checkpoint_utils.load_checkpoint
    files = checkpoint_utils.PathManager
    copy = files.copy

    @functools.wraps(restore)
    def existing(cfg, *args, **kwargs):
        if cfg.restore_file != LAST and not files.exists(cfg.restore_file):
            raise InputError(
                f"--restore-file {cfg.restore_file} does not exist: name a checkpoint, with its directory, or "
                f"leave the option out to go on from {os.path.join(cfg.save_dir, LAST)} where there is one"
            )
        return restore(cfg, *args, **kwargs)

    @functools.wraps(load)
    def checked(path, *args, **kwargs):
        check_archive(path)
        state = load(path, *args, **kwargs)
        if "load_on_all_ranks" in kwargs:
            restored.update(state.get("task_state") or {})
        if kwargs.get("load_on_all_ranks") is False and state.get("cfg") is not None:
            # The trainer sends all of it to the other processes, and torch's safe loader there takes no classes of omegaconf.
            state["cfg"] = OmegaConf.to_container(state["cfg"])
        return state

    def copied(source, target, overwrite=False):
        copy(source, f"{target}.tmp", overwrite=True)
        os.replace(f"{target}.tmp", target)
        return True

    checkpoint_utils.load_checkpoint, checkpoint_utils.load_checkpoint_to_cpu = existing, checked
    torch.serialization.add_safe_globals([_TensorPlaceholder])  # stands for the tensors in what the trainer sends
    files.copy = staticmethod(copied)
