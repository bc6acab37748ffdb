"""Faults of fairseq 0.12.3, most of them in reading and writing checkpoints, each patched by one function.

Importing ``salt_fairseq.tasks`` applies them. A checkpoint that cannot be read or written is named by an
:class:`InputError`.
"""

import contextlib
import fcntl
import functools
import logging
import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from fairseq import checkpoint_utils, utils
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from salt_fairseq.checkpoint_file import check_names, read_checkpoint_file
from salt_fairseq.errors import InputError, out_of_memory
from salt_fairseq.resumed_settings import check_settings
from salt_fairseq.storage.files import replacing

EARLY_STOPPING = "early_stopping"  # in the state that checkpoints hold
LAST = "checkpoint_last.pt"  # fairseq's default of --restore-file, which may be absent
NO_EPOCH = -1  # as --max-epoch; 0 is no limit

logger = logging.getLogger(__name__)


def apply() -> None:
    """Apply all patches to this process. Each is applied once, however often this is called."""
    verify_checkpoints()
    name_unfit_checkpoints()
    keep_half_precision_on_gpus()
    clip_gradients_where_they_are()
    resume_training()
    remember_early_stopping()
    restore_task_state()
    save_once()
    copy_atomically()
    broadcast_plain_values()


@functools.cache
def verify_checkpoints() -> None:
    """``checkpoint_utils.load_checkpoint_to_cpu`` loads a file whatever its checksums say, and whatever model it names, which
    fairseq would build: see :mod:`salt_fairseq.checkpoint_file`. ``--model-overrides`` may not change that either.

    The state of the task is added to ``extra_state``, which is all that a trainer hands on: see :func:`restore_task_state`.
    """
    original = checkpoint_utils.load_checkpoint_to_cpu

    @functools.wraps(original)
    def load_checkpoint_to_cpu(path, *args, **kwargs):
        with _reading(path):
            read_checkpoint_file(path)
            state = original(path, *args, **kwargs)
            check_names(OmegaConf.to_container(state["cfg"]), path)
            state["extra_state"]["task_state"] = state.get("task_state")
        return state

    checkpoint_utils.load_checkpoint_to_cpu = load_checkpoint_to_cpu


@functools.cache
def name_unfit_checkpoints() -> None:
    """``checkpoint_utils.load_model_ensemble_and_task`` does not say which of the files does not fit its own model."""
    original = checkpoint_utils.load_model_ensemble_and_task

    @functools.wraps(original)
    def load_model_ensemble_and_task(filenames, *args, **kwargs):
        with _reading(*filenames):
            return original(filenames, *args, **kwargs)

    checkpoint_utils.load_model_ensemble_and_task = load_model_ensemble_and_task


@functools.cache
def keep_half_precision_on_gpus() -> None:
    """``Trainer`` fails without CUDA at ``--fp16`` and ``--bf16``. The command line takes ``--bf16`` for a TPU's, whatever
    there is; a GPU computes in it, too."""
    original = Trainer.__init__

    @functools.wraps(original)
    def __init__(self, cfg, *args, **kwargs):
        for option in ("fp16", "bf16"):
            if cfg.common[option] and (cfg.common.cpu or not torch.cuda.is_available()):
                raise InputError(f"--{option} needs a GPU: use --autocast-bf16, which computes in bfloat16 on a CPU, too")
        if cfg.common.bf16:
            for group in (cfg.common, cfg.optimizer):
                if "tpu" in group:
                    group.tpu = False
        original(self, cfg, *args, **kwargs)

    Trainer.__init__ = __init__


@functools.cache
def clip_gradients_where_they_are() -> None:
    """``utils.clip_grad_norm_`` takes the gradients' norm to the GPU, if there is one, and then cannot multiply the gradients
    of ``--cpu`` with it."""
    original = utils.clip_grad_norm_

    @functools.wraps(original)
    def clip_grad_norm_(params, max_norm, aggregate_norm_fn=None):
        params = [params] if isinstance(params, torch.Tensor) else list(params)

        def aggregated(norm):
            norm = norm if aggregate_norm_fn is None else aggregate_norm_fn(norm)
            return norm.to(params[0].device)

        return original(params, max_norm, aggregated)

    utils.clip_grad_norm_ = clip_grad_norm_


@functools.cache
def resume_training() -> None:
    """``checkpoint_utils.load_checkpoint`` begins a new training where ``--restore-file`` names no file, and fairseq looks
    at ``--max-update``, ``--stop-time-hours`` and ``--patience`` after an update only: a training that has ended, started
    again, takes another one. Nor does it notice other settings, see :mod:`salt_fairseq.resumed_settings`, or another
    training into the same directory."""
    original = checkpoint_utils.load_checkpoint

    @functools.wraps(original)
    def load_checkpoint(cfg, trainer, *args, **kwargs):
        if cfg.restore_file != LAST and not PathManager.exists(cfg.restore_file):
            raise InputError(
                f"--restore-file {cfg.restore_file} does not exist: name a checkpoint with its directory, or omit the "
                f"option to resume from {os.path.join(cfg.save_dir, LAST)} if there is one"
            )
        last = os.path.join(cfg.save_dir, LAST)
        if distributed_utils.is_master(trainer.cfg.distributed_training):
            keep_apart(cfg.save_dir)
            if cfg.restore_file == LAST and os.path.isfile(last):
                check_settings(last, trainer)
        extra_state, epoch_itr = original(cfg, trainer, *args, **kwargs)
        limits = trainer.cfg.optimization
        hours = limits.stop_time_hours if limits.stop_time_hours > 0 else math.inf
        ends = {
            f"--max-update {limits.max_update}": trainer.get_num_updates() >= (limits.max_update or math.inf),
            f"--stop-time-hours {hours:g}": trainer.cumulative_training_time() > 3600 * hours,
            f"--patience {cfg.patience}": 0 < cfg.patience <= (extra_state or {}).get(EARLY_STOPPING, {}).get("num_runs", 0),
        }
        if extra_state is not None and any(ends.values()):
            logger.info(f"this training has ended before ({', '.join(end for end in ends if ends[end])}): no update is taken")
            limits.max_epoch = NO_EPOCH
        return extra_state, epoch_itr

    checkpoint_utils.load_checkpoint = load_checkpoint


@functools.cache
def remember_early_stopping() -> None:
    """``fairseq_cli.train.should_stop_early`` counts validations without improvement, for ``--patience``, in attributes of its
    own, which no checkpoint holds: a training that is resumed would begin to count anew."""
    save, load = Trainer.save_checkpoint, Trainer.load_checkpoint

    @functools.wraps(save)
    def save_checkpoint(self, filename, extra_state):
        counts = _early_stopping()
        if self.cfg.checkpoint.patience > 0 and "num_runs" in counts:
            counts = {"best": float(counts["best"]), "num_runs": counts["num_runs"]}
            extra_state = {**extra_state, EARLY_STOPPING: counts}
        return save(self, filename, extra_state)

    @functools.wraps(load)
    def load_checkpoint(self, filename, *args, **kwargs):
        extra_state = load(self, filename, *args, **kwargs)
        if extra_state is not None:
            _early_stopping().update(extra_state.get(EARLY_STOPPING, {}))
        return extra_state

    Trainer.save_checkpoint, Trainer.load_checkpoint = save_checkpoint, load_checkpoint


def _early_stopping() -> dict[str, Any]:
    """The attributes of that function, in the program that runs, if this is a training."""
    modules = (sys.modules.get(name) for name in ("__main__", "fairseq_cli.train"))
    functions = [vars(module)["should_stop_early"] for module in modules if module and "should_stop_early" in vars(module)]
    return vars(functions[0]) if functions else {}


@functools.cache
def restore_task_state() -> None:
    """``Trainer.load_checkpoint`` saves the state of the task but never restores it, as validation does."""
    original = Trainer.load_checkpoint

    @functools.wraps(original)
    def load_checkpoint(self, filename, *args, **kwargs):
        with _reading(filename):
            extra_state = original(self, filename, *args, **kwargs)
        if extra_state is not None and (task_state := extra_state.pop("task_state", None)):
            self.task.load_state_dict(task_state)
        return extra_state

    Trainer.load_checkpoint = load_checkpoint


@functools.cache
def save_once() -> None:
    """``checkpoint_utils.torch_persistent_save`` tries up to three times to write to the same open file: what a failed attempt
    left stays in front of the next one, which counts as saved and cannot be read."""
    original = checkpoint_utils.torch_persistent_save

    @functools.wraps(original)
    def torch_persistent_save(obj, filename, async_write=False):
        if async_write or not PathManager.supports_rename(filename):
            return original(obj, filename, async_write)
        with replacing(filename) as temporary, open(temporary, "wb") as file:
            torch.save(obj, file)

    checkpoint_utils.torch_persistent_save = torch_persistent_save


@functools.cache
def copy_atomically() -> None:
    """``PathManager.copy`` writes onto ``checkpoint_last.pt``, half of which is left if the process is killed meanwhile."""
    original = PathManager.copy

    @functools.wraps(original)
    def copy(src_path, dst_path, overwrite=False):
        with replacing(dst_path) as temporary:
            return original(src_path, str(temporary), overwrite=True)

    PathManager.copy = staticmethod(copy)


@functools.cache
def broadcast_plain_values() -> None:
    """``distributed.utils.broadcast_object`` sends a checkpoint's configuration and fairseq's own placeholders for tensors to
    the other processes, whose ``torch.load`` refuses both since torch 2.6."""
    original = distributed_utils.broadcast_object
    torch.serialization.add_safe_globals([distributed_utils._TensorPlaceholder])

    @functools.wraps(original)
    def broadcast_object(obj, *args, **kwargs):
        if isinstance(obj, dict) and OmegaConf.is_config(obj.get("cfg")):
            obj = {**obj, "cfg": OmegaConf.to_container(obj["cfg"])}
        return original(obj, *args, **kwargs)

    distributed_utils.broadcast_object = broadcast_object


@functools.cache
def keep_apart(save_dir: str) -> None:
    """Let no other process train into this directory while this one lives. The directory itself is locked, so that no lock
    file is left when the process is killed; file systems that lock no directories (NFS) are not guarded."""
    descriptor = os.open(save_dir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(
            f"another process is training into {save_dir}: wait until it has finished, or name another --save-dir"
        ) from None
    except OSError:
        os.close(descriptor)


@contextlib.contextmanager
def _reading(*paths: str) -> Iterator[None]:
    """Name the checkpoints in whatever is raised while they are read."""
    try:
        yield
    except Exception as error:  # damaged and unfit files raise many kinds
        if isinstance(error, InputError) or out_of_memory(error) or not all(paths):
            raise
        for path in paths:
            if not os.path.exists(path):
                raise InputError(f"{path} does not exist: name a checkpoint that fairseq-train wrote") from error
        lines = str(error).strip().splitlines() or [""]
        reason = lines[-1].strip() if lines[0].endswith(":") else lines[0]  # "Error(s) in loading state_dict for SaltEncoder:"
        raise InputError(
            f"{', '.join(paths)} cannot be read as a checkpoint ({type(error).__name__}: {reason[:200]}): it is damaged, of "
            "another model, or holds more than tensors and plain values, which is not run; name another one"
        ) from error
