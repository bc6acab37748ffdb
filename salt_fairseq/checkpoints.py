"""A fine-tuned checkpoint, read without fairseq's task, data directory or PLM directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from salt_fairseq.checkpoint_file import TOKEN_LABELLING, read_checkpoint_file
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.models.salt_encoder import SaltEncoder, SaltEncoderConfig
from salt_fairseq.models.salt_tagger import SaltTagger
from salt_fairseq.modules.encoder import without_weights
from salt_fairseq.plm import Description
from salt_fairseq.storage.files import sha256
from salt_fairseq.tokenizer import Tokenizer


@dataclass(frozen=True)
class Checkpoint:
    """What a classifier in use needs of a file that ``fairseq-train`` saved."""

    path: Path
    model: SaltEncoder  # on the CPU, fp32, in evaluation mode; ``model.description`` describes its PLM
    cfg: DictConfig  # all of fairseq's configuration, by group (``cfg.task.max_length``)
    task: dict[str, Any]  # what it was trained on: "labels", "pairs", "source_language"; empty in older checkpoints
    updates: int  # training steps
    sha256: str  # of the file
    is_average: bool = False  # of several checkpoints

    @property
    def has_token_labels(self) -> bool:
        """Whether it labels each token, or each example."""
        return isinstance(self.model, SaltTagger)

    @property
    def classes(self) -> int:
        return self.model.classifier.out_features


def load_checkpoint(path: str | Path) -> Checkpoint:
    """The :class:`Checkpoint` in a file. Only tensors and plain values are read: code pickled into the file never runs.

    Raises :class:`InputError` where the file is missing, damaged or unsafe, or holds another model.
    """
    saved = read_checkpoint_file(path)
    try:
        cfg = OmegaConf.create(saved["cfg"])
        model_cfg = OmegaConf.merge(OmegaConf.structured(SaltEncoderConfig), cfg.model)
    except (RecursionError, TypeError, ValueError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} is not a checkpoint of this project's fairseq-train ({type(error).__name__}: {reason})"
        ) from None
    task, updates = saved.get("task_state") or {}, saved["optimizer_history"][-1]["num_updates"]
    model = _model(model_cfg, saved["model"], path, cfg.task._name == TOKEN_LABELLING)
    return Checkpoint(Path(path), model, cfg, task, updates, sha256(path), "averaged" in saved)


def _model(cfg: DictConfig, state: dict[str, torch.Tensor], path: str | Path, has_token_labels: bool) -> SaltEncoder:
    classifier = state.get("classifier.weight")
    if not all(map(torch.is_tensor, state.values())) or classifier is None or classifier.dim() != 2:
        raise InputError(f"{path} lacks classifier.weight, or its weights are no tensors: train again")
    with without_weights():
        model = (SaltTagger if has_token_labels else SaltEncoder)(cfg, len(classifier))
    try:
        nn.Module.load_state_dict(model, state, assign=True)  # fairseq's own method knows no assign
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: the weights do not fit the model that its configuration describes ({reason})") from None
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: the weights {name} are not finite: training diverged, use another checkpoint")
    return model.float().eval()


def load_labels(checkpoint: Checkpoint, data: str | Path | None = None) -> tuple[list[str], int]:
    """``(names of the classes, sentences of an example: 1 or 2)``: the checkpoint's own.

    Older checkpoints do not name them: theirs are the labels of the directory ``data``, or of the one they were trained on.
    Raises for a directory ``data`` with other labels, or with the same in another order, which would exchange answers.
    """
    own = checkpoint.task.get("labels", ())
    is_named = len(own) == checkpoint.classes
    if data is None and is_named:
        return list(own), 2 if checkpoint.task["pairs"] else 1
    directory = Path(data or checkpoint.cfg.task.data)
    if not (directory / "meta.json").is_file():
        reason = "" if is_named else f", and {checkpoint.path} does not name its labels"
        raise InputError(
            f"{directory} is no data directory{reason}: name the data directory that it was trained on with --data"
        )
    opened = DataDirectory(directory)
    if opened.labels != list(own) if is_named else len(opened.labels) != checkpoint.classes:
        raise InputError(
            f"{checkpoint.path} tells {', '.join(own) if is_named else f'{checkpoint.classes} classes'} apart, but {directory} "
            f"has the labels {', '.join(opened.labels)}: name the data directory that it was trained on with --data"
        )
    if is_named and checkpoint.task["pairs"] != opened.is_pairs:
        raise InputError(f"one of {checkpoint.path} and {directory} is for sentence pairs and the other for single sentences")
    return opened.labels, len(opened.sides)


def plm_directory(checkpoint: Checkpoint, plm_dir: str | Path | None = None) -> Path:
    """The PLM directory that the checkpoint was trained from, or ``plm_dir``; raises unless it has the same vocabulary."""
    directory = Path(plm_dir or checkpoint.cfg.model.plm)
    if not (directory / "plm.json").is_file():
        raise InputError(
            f"{directory} is no PLM directory, and the tokenizer of {checkpoint.path} is needed: name the PLM "
            "directory that it was trained from with --plm"
        )
    description, expected = Description.load(directory), checkpoint.model.description
    description.verify(directory, ("dict.txt", "tokenizer.json"))
    if description.vocabulary_sha256 != expected.vocabulary_sha256:
        raise InputError(
            f"{directory} has the vocabulary of {description.name}, but {checkpoint.path} was trained with that "
            f"of {expected.name}: name its PLM directory with --plm"
        )
    return directory


def load_tokenizer(checkpoint: Checkpoint, plm_dir: str | Path | None = None) -> Tokenizer:
    """The :class:`Tokenizer` of :func:`plm_directory`."""
    return Tokenizer.load(plm_directory(checkpoint, plm_dir), checkpoint.model.description.tokenizer)
