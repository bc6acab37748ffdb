"""How fairseq's own commands read and write checkpoints, with three faults mended.

They load a checkpoint whatever its checksums say; they copy onto ``checkpoint_last.pt``, so that a process killed meanwhile
leaves half of it; and training goes on in one process only, since what the trainer sends to the others is not what torch's
safe loader takes.
"""

import functools
import os

import torch
from fairseq import checkpoint_utils
from fairseq.distributed.utils import _TensorPlaceholder
from omegaconf import OmegaConf

from salt_fairseq.archives import check_archive

restored = {}  # the task's state in the checkpoint that a training goes on from, which its trainer does not look at


def mend():
    """Mend them in this process."""
    load, files = checkpoint_utils.load_checkpoint_to_cpu, checkpoint_utils.PathManager
    copy = files.copy

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

    checkpoint_utils.load_checkpoint_to_cpu = checked
    torch.serialization.add_safe_globals([_TensorPlaceholder])  # stands for the tensors in what the trainer sends
    files.copy = staticmethod(copied)
