"""What a stage of an experiment depends on, recorded beside what the stage makes, and compared when it is asked for again.

The record of ``results/xnli/data`` is ``results/xnli/data.fingerprint``, a JSON object: settings by name, and for an input the
SHA-256 of its content.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import read_json, sha256, write_json

Settings = dict[str, Any]


@dataclass
class Stage:
    """A part of an experiment in the directory ``out``.

    ``settings`` include those of the stages that it builds on, so that what follows a stage differs where that differs.
    ``products`` are globs in ``out`` of all that it writes, unfinished work included.
    """

    out: Path
    name: str
    settings: Settings
    products: list[str]

    @property
    def path(self) -> Path:
        return self.out / f"{self.name}.fingerprint"

    def recorded(self) -> Settings | None:
        """The settings with which the stage was begun, None if it was not."""
        return recorded_settings(self.path)

    def made(self) -> list[Path]:
        return [path for pattern in self.products for path in sorted(self.out.glob(pattern))]

    def claim(self, force: bool, alone: bool) -> None:
        """Record the settings, or raise where they differ from those recorded.

        ``force`` deletes what was made with others. ``alone``: nobody else is at work in ``out``, so that a record without
        any product is of no use.
        """
        before, made = self.recorded(), self.made()
        if before is None and made and not force:
            raise InputError(
                f"{made[0]} exists, but {self.path}, which would say with which settings it was made, does not: choose "
                "another --out, or make it and all that depends on it anew with --force"
            )
        changes = differences(before, self.settings) if before is not None else []
        if changes and not force and (made or not alone):
            raise InputError(
                f"{self.out / self.name} was begun with other settings, which {self.path} records: {', '.join(changes)}; go on "
                "with those, choose another --out, or make it and all that depends on it anew with --force"
            )
        if changes or before is None:
            for path in made:
                _delete(path)
        kept = {name: (before or {}).get(name, value) if _is_missing(value) else value for name, value in self.settings.items()}
        if before != kept:
            self.out.mkdir(parents=True, exist_ok=True)
            write_json(self.path, kept)


def recorded_settings(path: Path) -> Settings | None:
    """The settings in a fingerprint file, None if there is no such file."""
    if not path.exists():
        return None
    settings = read_json(path, "the recipe, after deleting it")
    if not isinstance(settings, dict):
        raise InputError(f"{path} holds no settings: delete it, and run the recipe with --force")
    return settings


def differences(before: Settings, now: Settings) -> list[str]:
    """Each difference in words: ``--updates 100 (now 200)``."""
    changes = []
    for name in [*now, *(name for name in before if name not in now)]:
        old, new = before.get(name), now.get(name)
        if not _equal(old, new):
            if _shown(old) == _shown(new):
                changes.append(f"{name} {_shown(old)} (its content has changed)")
            else:
                changes.append(f"{name} {_shown(old)} (now {_shown(new)})")
    return changes


def content(path: str | Path, before: Any = None) -> Settings:
    """Identity of a file, or of all files of a directory: path, SHA-256, and the sizes and dates, hashed, with which this
    was computed. With ``before``, an earlier identity, nothing is read again whose size and date are as they were."""
    root = Path(path)
    files = sorted(file for file in root.rglob("*") if file.is_file()) if root.is_dir() else [root]
    if not root.exists():
        return {"path": str(path), "sha256": None}
    states = [(str(file.relative_to(root)), (state := file.stat()).st_size, state.st_mtime_ns) for file in files]
    dates = _hash([os.path.realpath(root), *states])
    if isinstance(before, dict) and before.get("sizes and dates") == dates:
        digest = before["sha256"]
    elif root.is_dir():
        digest = _hash([(name, sha256(file)) for (name, *_), file in zip(states, files)])
    else:
        digest = sha256(root)
    return {"path": str(path), "sha256": digest, "sizes and dates": dates}


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _equal(old: Any, new: Any) -> bool:
    if not _is_content(old):
        return old == new
    if _is_content(new) and not _is_missing(new):
        return old["sha256"] == new["sha256"]
    return old["path"] == (new["path"] if _is_content(new) else new)  # which is no longer there, and no longer needed


def _shown(value: Any) -> str:
    if _is_content(value):
        return value["path"]
    return "none" if value in (None, "") else str(value)


def _is_missing(value: Any) -> bool:
    return _is_content(value) and value["sha256"] is None


def _is_content(value: Any) -> bool:
    return isinstance(value, dict) and {"path", "sha256"} <= value.keys()


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
