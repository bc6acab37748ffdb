"""Configurations as Hydra composes them: 1.0, which fairseq 0.12.2 needs, and later releases."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig

try:
    from hydra import compose, initialize_config_dir
except ImportError:  # Hydra 1.0
    from hydra.experimental import compose, initialize_config_dir


def composed(directory: Path, name: str, overrides: list[str], **options: Any) -> DictConfig:
    """The configuration ``directory/name.yaml`` with overrides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the compatibility with Hydra 1.1 that fairseq asks for
        with initialize_config_dir(str(directory.absolute())):
            return compose(name, overrides, **options)


def composed_freely(directory: Path, name: str, overrides: list[Override]) -> DictConfig:
    """The same with overrides that may add keys: which keys fairseq has is not known here."""
    texts = [override.input_line for override in overrides]
    if not hasattr(OverrideType, "FORCE_ADD"):  # Hydra 1.0, which has no ++
        return composed(directory, name, texts, strict=False)
    changes = (override.type == OverrideType.CHANGE for override in overrides)
    return composed(directory, name, [f"++{text}" if change else text for text, change in zip(texts, changes)])
