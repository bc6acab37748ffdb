"""The data directory that subsets are added to, or replaced in."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from salt_fairseq.data.directory import SHAPE, TOKENS
from salt_fairseq.data.subset import source_languages
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description
from salt_fairseq.storage.files import locked
from salt_fairseq.storage.manifest import MANIFEST, Manifest, read_verified

MADE_BY = "preprocess/binarize.py"
LOCK = re.compile(r"\.(.+)\.lock")


@dataclass(frozen=True)
class ExistingData:
    """A data directory: its ``meta.json``, and the names of its subsets that are kept."""

    path: Path
    meta: dict[str, Any]
    kept: list[str]

    def check(self, description: Description, source_language: str, labels: list[str] | None, is_tagged: bool) -> None:
        """Raise unless subsets with these properties (labels: None if they are not given) can stand beside those kept."""
        if not self.kept:
            return
        plm, has = self.meta["plm"], f"{self.path} has {', '.join(self.kept)}"
        if is_tagged != (self.meta.get("labelled") == TOKENS):
            raise InputError(
                f"{has}, with a label for each {'sentence or pair' if is_tagged else 'token'}: add subsets of that kind, "
                f"{'without' if is_tagged else 'with'} --tags, or write to another directory"
            )
        if (
            plm["vocabulary_sha256"] != description.vocabulary_sha256
            or plm.get("tokenizer_sha256", description.sha256["tokenizer.json"]) != description.sha256["tokenizer.json"]
        ):
            raise InputError(
                f"{has}, tokenized by {plm['name']}, another PLM than {description.name}: add subsets with that PLM"
            )
        if self.meta["source_language"] != source_language:
            language = self.meta["source_language"]
            raise InputError(f"{has} with source language {language}: add subsets with --source-language {language}")
        if labels is not None and labels != self.meta["labels"]:
            known = ",".join(self.meta["labels"])
            raise InputError(f"{has} with the labels {known}: add subsets with the same, in this order, --labels={known}")

    @property
    def is_pairs(self) -> bool:
        return (self.path / "input1").is_dir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep away all commands that write into the directory; raises if one is at work there, or was since it was read."""
        lexicons = self.path / "lexicons"
        names = os.listdir(lexicons) if lexicons.is_dir() else []
        names = sorted({LOCK.sub(r"\1", name) for name in names if not name.endswith(".tmp")})
        with contextlib.ExitStack() as held:
            for path in (self.path, self.path / "candidates", *(lexicons / name for name in names)):
                held.enter_context(locked(path))
            if read_verified(self.path / MANIFEST, MADE_BY) != self.meta:
                raise InputError(f"{self.path} was changed by another command meanwhile: start again")
            yield

    def checksums(self, directory: Path) -> dict[str, str]:
        """Those of the files of the kept subsets, which ``directory`` does not have of its own."""
        files = self.meta["files"].items() if self.kept else ()
        return {name: checksum for name, checksum in files if not (directory / name).exists()}

    def link_into(self, directory: Path, meta: dict[str, Any]) -> None:
        """Give ``directory``, with the new ``meta.json``, the files that are kept: those of the kept subsets, and unless the
        training sentences have changed, candidates and lexicons. They are linked, not copied, and the old ones then removed."""

        def training(values):
            names = "train", *(f"train.{language}" for language in source_languages(values["source_language"]))
            sentences = [values["subsets"].get(name, {}).get("sha256") for name in names]
            return values["plm"]["vocabulary_sha256"], values["source_language"], sentences

        made_from_it = training(self.meta) == training(meta)
        for path in self.path.rglob("*"):
            name, target = path.relative_to(self.path).as_posix(), directory / path.relative_to(self.path)
            is_kept = name in meta["files"] if name in self.meta["files"] else made_from_it and not LOCK.fullmatch(path.name)
            if path.is_file() and is_kept and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, target)
                except OSError:  # a file system without links
                    shutil.copy2(path, target)


def existing_data(data: Path, names: Iterable[str], replace: bool) -> ExistingData | None:
    """What there is already at ``data``, where subsets of these names are to be written; None if it is nothing.

    Raises for subsets that exist, unless they may be ``replace``-d, and for directories that are no data directories.
    """
    for parent in data.resolve().parents:
        if (parent / MANIFEST).is_file() and (parent / "input0").is_dir():
            raise InputError(f"{data} lies in the data directory {parent}: choose another output directory")
    if not (data / MANIFEST).is_file():
        return None
    try:
        meta = Manifest(data, MADE_BY, SHAPE).values
    except InputError:
        raise InputError(
            f"{data / MANIFEST} is not that of a data directory of this version: choose another output directory, or delete "
            "this one"
        ) from None
    if not replace and (present := [name for name in names if name in meta["subsets"]]):
        also = ""
        if any(name.startswith("train") for name in present) and (
            (data / "candidates").is_dir() or (data / "lexicons").is_dir()
        ):
            also = " (other training sentences delete the candidates and lexicons)"
        raise InputError(f"{data} has {', '.join(present)} already: name other subsets, or replace them with --replace{also}")
    return ExistingData(data.resolve(), meta, [name for name in meta["subsets"] if name not in set(names)])
