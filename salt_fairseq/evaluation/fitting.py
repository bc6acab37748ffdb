"""Checkpoints that fit the data on which they are scored, and how each was chosen among those of its run."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import torch

from salt_fairseq.average import average
from salt_fairseq.checkpoints import Checkpoint, load_checkpoint
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.subset import Subset
from salt_fairseq.errors import InputError


def load_fitting(path: Path, data: DataDirectory, max_tokens: int) -> Checkpoint:
    """The :class:`Checkpoint` of a file, after checking that it was trained for such data."""
    checkpoint = load_checkpoint(path)
    data.check_vocabulary(checkpoint.model.description, path)
    if checkpoint.has_token_labels != data.has_token_labels:
        raise InputError(f"one of {path} and {data.path} is for labels of tokens and the other for those of sentences or pairs")
    labels = checkpoint.task.get("labels")
    if checkpoint.classes != len(data.labels) or labels not in (None, data.labels):
        raise InputError(
            f"{path} tells {', '.join(labels) if labels else f'{checkpoint.classes} labels'} apart, but "
            f"{data.path} has {', '.join(data.labels)}: binarize its data with the labels of the training data, "
            "in their order"
        )
    if checkpoint.task.get("pairs", data.is_pairs) != data.is_pairs:
        raise InputError(f"one of {path} and {data.path} is for sentence pairs and the other for single sentences")
    if max_tokens < checkpoint.cfg.task.max_length:
        raise InputError(f"--max-tokens {max_tokens} is less than the --max-length {checkpoint.cfg.task.max_length} of {path}")
    return checkpoint


def load_all_fitting(paths: list[Path], data: DataDirectory, max_tokens: int) -> list[Checkpoint]:
    """All checkpoints, before any of them is used; their files are mapped, so they take no memory yet."""
    resolved = [path.resolve() for path in paths]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise InputError(f"--path names {path} twice")
    return [load_fitting(path, data, max_tokens) for path in paths]


def load_average(paths: list[Path], data: DataDirectory, max_tokens: int) -> Checkpoint:
    """The average of checkpoints, each of which fits, as a checkpoint of no file."""
    load_all_fitting(paths, data, max_tokens)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "average.pt"
        torch.save(average(paths), file)
        return dataclasses.replace(load_fitting(file, data, max_tokens), path=Path(f"average of {', '.join(map(str, paths))}"))


def selection(checkpoint: Checkpoint) -> str | None:
    """How the checkpoint was chosen among those of its run: ``average``, ``last``, ``best`` (on the source language's dev
    set), ``oracle`` (on another language's), or None for one saved in between."""
    if checkpoint.is_average:
        return "average"
    if checkpoint.path.stem == "checkpoint_best":
        # fairseq keeps the best on the first subset that it validates on.
        languages = Subset.parse(checkpoint.cfg.dataset.valid_subset.split(",")[0]).languages
        return "best" if set(languages) <= {checkpoint.task.get("source_language", "en")} else "oracle"
    return "last" if checkpoint.path.stem == "checkpoint_last" else None
