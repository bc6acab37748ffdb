"""The systems of the paper's tables, each a YAML file of ``recipes/config/system``, which alone says what a system is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import salt_fairseq
from salt_fairseq.errors import InputError

PACKAGE = Path(salt_fairseq.__file__).parent
# In a checkout the recipes are beside the package, in an installed wheel inside it.
CONFIG = next(path for path in (PACKAGE / "recipes" / "config", PACKAGE.parent / "recipes" / "config") if path.is_dir())


def names() -> list[str]:
    return sorted(path.stem for path in (CONFIG / "system").glob("*.yaml"))


@dataclass(frozen=True)
class System:
    name: str
    languages: tuple[str, ...]  # the streams of candidates that the YAML asks for, the source language first
    lexicon: str  # the lexicon that it asks for, or ""
    variants: int  # streams from the lexicon
    has_original: bool  # whether the unchanged instances are a stream, too
    one_stream: bool  # whether it draws one stream for each instance in each epoch

    @classmethod
    def read(cls, name: str) -> "System":
        """The system ``name``; what its own file does not say is as ``salt train`` begins with it."""
        path = CONFIG / "system" / f"{name}.yaml"
        if name not in names():
            raise InputError(f"--system {name} is none of {', '.join(names())}")
        files = (CONFIG / "classifier.yaml", CONFIG / "base.yaml", path)  # each wins over those before, as in training
        task: dict[str, Any] = {}
        for file in files:
            task = {**task, **(OmegaConf.to_container(OmegaConf.load(file)).get("task") or {})}
        languages = tuple(filter(None, task["augment"].split(",")))
        return cls(name, languages, task["lexicon"], task["variants"], not task["no_original"], task["one_stream"])

    def augment(self, source_language: str, targets: list[str]) -> list[str]:
        """The languages to distill into: the source language, for synonyms, and ``targets`` if the system has other
        languages, too."""
        if not self.languages:
            return []
        return list(dict.fromkeys([source_language, *(targets if len(self.languages) > 1 else [])]))

    def streams(self, augment: list[str]) -> int:
        """How often an epoch reads each instance, unless one stream is drawn."""
        return int(self.has_original) + (self.variants if self.lexicon else len(augment))

    @property
    def needs_targets(self) -> bool:
        return len(self.languages) > 1
