"""A training goes on from ``checkpoint_last.pt`` only with the settings with which it began.

fairseq goes on from whatever is in ``--save-dir``, and the new checkpoints name the new settings alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairseq.trainer import Trainer
from omegaconf import OmegaConf

from salt_fairseq.checkpoint_file import read_checkpoint_file
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError

# What decides the parameters, and which of them are kept as the best. Limits of the training, validation, logging, saving,
# the device, and how a batch is divided into processes and micro-batches may change.
COMPARED = {
    "task": None,  # all settings
    "model": None,
    "criterion": None,
    "optimizer": None,
    "lr_scheduler": None,
    "ema": None,
    "common": ("seed", "fp16", "bf16", "amp"),
    "optimization": ("lr", "clip_norm", "sentence_avg"),
    "dataset": ("train_subset", "curriculum"),
    "checkpoint": ("best_checkpoint_metric", "maximize_best_checkpoint_metric"),
}
RESET = {"lr_scheduler": None, "optimization": ("lr",)}  # what --reset-lr-scheduler begins anew
COPIES = {("optimizer", "lr"), ("lr_scheduler", "lr"), ("task", "seed"), ("optimizer", "tpu")}  # of settings of other groups
PATHS = {("task", "data"), ("model", "plm"), ("model", "plm_description")}  # may be moved: their content is compared


def check_settings(path: str | Path, trainer: Trainer) -> None:
    """Raise if the checkpoint was trained with other settings than ``trainer`` has; ``--reset-optimizer`` allows all."""
    cfg = OmegaConf.to_container(trainer.cfg, resolve=True, enum_to_str=True)
    if cfg["checkpoint"]["reset_optimizer"]:
        return
    checkpoint = read_checkpoint_file(path)
    saved, trained_on = checkpoint["cfg"], (checkpoint.get("task_state") or {}).get("training_data")
    changes = [*_changes(saved, cfg), *_changed_sources(saved, cfg, trainer.task, trained_on)]
    if changes:
        raise InputError(
            f"{path} was trained with other settings: {', '.join(changes)}; name another --save-dir, delete this one to train "
            "anew, or go on with the same settings"
        )


def _changes(saved: dict[str, Any], cfg: dict[str, Any]) -> list[str]:
    changes = []
    for group, keys in COMPARED.items():
        before, now = saved.get(group) or {}, cfg.get(group) or {}
        for key in sorted(before.keys() & now.keys() if keys is None else keys):
            is_reset = cfg["checkpoint"]["reset_lr_scheduler"] and group in RESET and key in (RESET[group] or (key,))
            if (group, key) not in COPIES | PATHS and not is_reset and before.get(key) != now.get(key):
                option = key if key != "_name" else "arch" if group == "model" else group
                changes.append(f"--{option.replace('_', '-')} {before.get(key)} (now {now.get(key)})")
    for key in ("batch_size", "max_tokens"):
        before, now = _per_update(saved, key), _per_update(cfg, key)
        if before != now:
            changes.append(f"--{key.replace('_', '-')} x --update-freq x processes {before} (now {now})")
    return changes


def _per_update(cfg: dict[str, Any], key: str) -> list[int] | None:
    """Examples or tokens of an update, by epoch."""
    size, processes = cfg["dataset"][key], cfg["distributed_training"]["distributed_world_size"]
    return None if size is None else [size * processes * batches for batches in cfg["optimization"]["update_freq"]]


def _changed_sources(saved: dict[str, Any], cfg: dict[str, Any], task: Any, trained_on: dict[str, str] | None) -> list[str]:
    """``trained_on``: the checksums of what it was trained on, of which checkpoints of older versions name a part or none."""
    changes = []
    if saved["model"]["plm_description"] != cfg["model"]["plm_description"]:
        changes.append(f"--plm {saved['model']['plm']} (now {cfg['model']['plm']}, another PLM)")
    before, subset = Path(saved["task"]["data"]), cfg["dataset"]["train_subset"]
    if trained_on is None and (before / "meta.json").is_file():
        trained_on = DataDirectory(before).checksums(subset)
    if trained_on is not None:
        now = task.checksums(subset)
        changed = {name for name in now.keys() | trained_on.keys() if now.get(name) != trained_on.get(name)}
        made = {Path(*Path(name).parts[:2]) for name in changed & trained_on.keys() if len(Path(name).parts) > 2}
        if any(len(Path(name).parts) == 2 for name in changed):
            changes.append(f"data {before} (now {task.data.path}, with other sentences or labels)")
        changes += [f"{task.data.path / directory} (made anew since, with other substitutes)" for directory in sorted(made)]
    return changes
