"""A file that ``fairseq-train`` saved, read and checked before anything is built from it.

fairseq builds whatever task, model and criterion a checkpoint names, and some of its models run text from the checkpoint's
configuration as code. OmegaConf resolves interpolations (``${oc.env:HOME}``) whenever a value is used. Neither is a question
of unpickling, so that ``weights_only`` does not help.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import torch

from salt_fairseq.errors import InputError
from salt_fairseq.storage.archives import check_archive, check_tensors

TOKEN_LABELLING = "salt_token_labelling"
NAMES = {"model": ("salt_encoder",), "task": ("salt_sentence_pair", TOKEN_LABELLING), "criterion": ("salt_classification",)}
OPTIONS = {"task": "--task", "model": "--arch", "criterion": "--criterion"}
TYPES = {  # of what is used after training
    "task.data": str,
    "task.augment": str,
    "task.thresholds": str,
    "task.max_length": int,
    "model.plm": str,
    "model.plm_description": str,
    "common.seed": int,
}


def read_checkpoint_file(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint: ``cfg``, ``model``, ``optimizer_history`` and so on, tensors mapped from the file.

    Only tensors and plain values are read: code pickled into the file never runs. Raises :class:`InputError` where the file
    is missing, damaged or unsafe, was not written by a training of this project, or holds values that no training writes.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a directory: name a checkpoint in it, e.g. {path / 'checkpoint_best.pt'}")
    if not path.is_file():
        raise InputError(f"{path} does not exist: name a checkpoint that fairseq-train wrote")
    check_archive(path)
    try:
        # Mapped, tensors are read when they are used; torch maps no file whose name is not UTF-8.
        is_mapped = str(path).encode("utf-8", "replace").decode() == str(path)
        saved = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError:
        raise InputError(
            f"{path} holds more than tensors and plain values: it is not loaded, since that could run code from it"
        ) from None
    except Exception as error:  # damaged files raise many kinds
        reason = f"{type(error).__name__} {error}".splitlines()[0].strip()
        raise InputError(f"{path} cannot be read ({reason}): copy or train it again") from None
    check_tensors(path, saved)
    if not isinstance(saved, dict) or not {"cfg", "model", "optimizer_history"} <= saved.keys():
        raise InputError(f"{path} is not a fine-tuned checkpoint: name a file that fairseq-train wrote")
    check_names(saved["cfg"], path)
    odd = _odd_setting(saved["cfg"]) or _odd_state(saved)
    if odd:
        raise InputError(f"{path} is not a checkpoint of this project's fairseq-train ({odd}): name another one")
    return saved


def check_names(cfg: Any, path: str | Path) -> None:
    """Raise unless a configuration, as plain dicts, names this project's task, model and criterion."""
    for group, names in NAMES.items():
        values = cfg.get(group) if isinstance(cfg, dict) else None
        present = values.get("_name") if isinstance(values, dict) else None
        if present not in names:
            if not isinstance(present, str):
                raise InputError(f"{path} is not a checkpoint of this project's fairseq-train (it names no {group})")
            shown = present if present.isidentifier() else repr(present)
            needed = f"{OPTIONS[group]} {' or '.join(names)}"
            raise InputError(f"{path} holds the {group} {shown:.60}: a checkpoint trained with {needed} is needed")


def _odd_setting(cfg: dict[str, Any]) -> str | None:
    """What is wrong with a configuration. fairseq saves it with all interpolations resolved, so that none is left."""
    seen: set[int] = set()
    rest: list[tuple[str, Any]] = [("cfg", cfg)]
    while rest:
        name, value = rest.pop()
        if isinstance(value, (dict, list, tuple)):
            if id(value) in seen:
                continue
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            rest += [(f"{name}.{key}"[:100], item) for key, item in items]
            if isinstance(value, dict):
                rest += [(name, key) for key in value]
        elif isinstance(value, str):
            if "${" in value:
                return f"{name!r} holds an interpolation, ${{...}}, which is not resolved"
        elif value is not None and (not isinstance(value, (bool, int, float)) or math.isnan(value)):
            return f"{name!r} is neither text nor a number"
    for name, kind in TYPES.items():
        group, key = name.split(".")
        if not isinstance(cfg.get(group), dict) or type(cfg[group].get(key)) is not kind:
            return f"{name} is no {kind.__name__}"
    return None if cfg["task"]["max_length"] > 0 else "task.max_length is not positive"


def _odd_state(saved: dict[str, Any]) -> str | None:
    """What is wrong with the state that a checkpoint holds besides its configuration and weights."""
    history, task, extra = saved["optimizer_history"], saved.get("task_state") or {}, saved.get("extra_state") or {}
    if saved.get("args") is not None:
        return "it holds args"
    last = history[-1] if isinstance(history, list) and history else None
    if not isinstance(last, dict) or not _is_count(last.get("num_updates")):
        return "optimizer_history does not say how many updates were taken"
    if not isinstance(saved["model"], dict) or not all(isinstance(name, str) for name in saved["model"]):
        return "model does not hold weights by name"
    labels = task.get("labels") if isinstance(task, dict) else None
    if task and not (
        isinstance(labels, list)
        and all(isinstance(label, str) for label in labels)
        and len(set(labels)) == len(labels)
        and isinstance(task.get("pairs"), bool)
        and isinstance(task.get("source_language"), str)
    ):
        return "task_state does not hold labels, pairs and source_language"
    place = extra.get("train_iterator", {"epoch": 1}) if isinstance(extra, dict) else None
    if not isinstance(place, dict) or not (_is_count(place.get("epoch")) and _is_count(place.get("iterations_in_epoch", 0))):
        return "extra_state does not say where in the data training was"
    return None


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62
