"""From the settings that a user gives to everything that a run will do; nothing is written but the PLM's cache."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from salt_fairseq.errors import InputError
from salt_fairseq.pipeline import estimate, plm_cache
from salt_fairseq.pipeline.defaults import Size, defaults
from salt_fairseq.pipeline.inputs import TextInput, examine, percent_of, reading_of
from salt_fairseq.pipeline.plm_cache import XLMR_BASE, Shape
from salt_fairseq.pipeline.settings import FIELDS, Settings, fits, option
from salt_fairseq.pipeline.systems import System
from salt_fairseq.storage.files import sha256

LEXICONS = {"muse": "dictionary", "synonyms": "synonyms"}  # a system's lexicon, and the setting that it is made from
THRESHOLDS = "source=25%,50%"  # of the source language's synonyms, of others; precise for every PLM (docs/guide.md)


@dataclass
class Plan:
    settings: Settings  # complete
    reasons: dict[str, str]  # of those that were chosen here
    system: System
    augment: list[str]  # languages to distill into
    train: TextInput  # before anything is held out
    valid: TextInput | None
    tests: dict[str, TextInput]  # by language
    checksums: dict[str, str]  # hex SHA-256 of each file that is read, and the directory of the PLM, by setting
    plm_dir: Path | None  # None before a download
    shape: Shape
    is_shape_known: bool

    @property
    def transfers(self) -> bool:
        """Whether there are test data of another language, so that there is something to report."""
        return bool(set(self.tests) - {self.settings.source_language})

    @property
    def tests_on_valid(self) -> bool:
        """Whether the source language has no test data of its own, and is tested on valid beside the others."""
        return self.transfers and self.settings.source_language not in self.tests

    @property
    def held_out(self) -> int:
        """About how many training examples are held out for validation."""
        settings = self.settings
        return 0 if self.valid else round(self.train.examples * percent_of(settings.hold_out, self.train.examples) / 100)

    @property
    def seconds(self) -> float:
        return estimate.seconds(self._work(), self.shape, self.settings.device or "cpu", self.settings.precision or "fp32")

    @property
    def bytes(self) -> int:
        is_imported = self.plm_dir is not None and (self.plm_dir / "plm.json").is_file()
        return estimate.disk(self._work(), self.shape, bool(self.settings.freeze_embeddings), is_imported)

    def _work(self) -> estimate.Work:
        settings, validation = self.settings, self.valid.examples if self.valid else self.held_out
        updates = settings.updates or 0
        return estimate.Work(
            tokens=estimate.tokens_of(self.train.characters, settings.max_length),
            train=self.train.examples - self.held_out,
            evaluated=validation + sum(test.examples for test in self.tests.values()),
            read=updates * (settings.batch_size or 0),
            validated=(1 + updates // (settings.validation_interval or 1)) * validation,
            languages=len(self.augment),
            seeds=settings.seeds,
        )


def make_plan(given: dict[str, Any], download: bool = True) -> Plan:
    """Raises :class:`InputError` for whatever can be known to be wrong before any work begins. Without ``download``, a hub
    name whose PLM was not imported before is taken for a PLM of XLM-R base's shape."""
    settings = _checked(given)
    system = System.read(settings.system)
    augment = system.augment(settings.source_language, settings.targets or [])
    if system.needs_targets and not settings.targets:
        raise InputError(
            f"--targets is missing, and {settings.system} needs the languages to transfer to: name them, as in --targets "
            f"fr,es,de (salt inspect shows which suit a PLM), or take --system vanilla"
        )
    needed = LEXICONS.get(system.lexicon)
    if needed and not getattr(settings, needed):
        raise InputError(f"--system {settings.system} takes substitutes from files: name them with {option(needed)}")
    reading = reading_of(settings)
    train = examine(settings.train, settings.source_language, reading)
    valid = examine(settings.valid, settings.source_language, reading) if settings.valid else None
    tests = {language: examine(path, language, reading) for language, path in (settings.test or {}).items()}
    plm_dir = plm_cache.plm_directory(settings.model, download)
    shape = plm_cache.shape_of(settings.model, plm_dir)
    plan = Plan(settings, {}, system, augment, train, valid, tests, {}, plm_dir, shape or XLMR_BASE, shape is not None)
    plan.checksums = _checksums(plan)
    _complete(plan)
    return plan


def _checked(given: dict[str, Any]) -> Settings:
    """The settings that are given, paths made absolute."""
    for name, value in given.items():
        if name not in FIELDS or not fits(name, value):
            raise InputError(f"{name}={value!r}: no such setting, or no such value; salt train --help lists them")
    missing = [option(name) for name in ("model", "train", "out") if not given.get(name)]
    if missing:
        raise InputError(f"{missing[0]} is missing: salt train --model MODEL --train FILE --targets LANG,... --out DIR")
    settings = Settings(**given)
    if "-" in (settings.train, settings.valid, *(settings.test or {}).values()):
        raise InputError(
            "standard input cannot be read again when the run goes on or is repeated: save it to a file, and name that (salt "
            "binarize reads -)"
        )
    if "," in settings.source_language:
        raise InputError(
            f"--source-language {settings.source_language}: salt train takes one file in one language; several are trained on "
            "step by step, with preprocess/binarize.py, or with recipes/experiment.sh"
        )
    for name in ("train", "valid", "out", "synonyms"):
        if getattr(settings, name):
            setattr(settings, name, os.path.abspath(getattr(settings, name)))
    for name in ("test", "word_list", "dictionary"):
        if getattr(settings, name):
            setattr(settings, name, {key: os.path.abspath(path) for key, path in getattr(settings, name).items()})
    if Path(settings.model).is_dir():
        settings.model = os.path.abspath(settings.model)
    for name in ("seeds", "batch_size", "updates", "epochs", "max_length"):
        if getattr(settings, name) == 0:
            raise InputError(f"{option(name)} 0: a whole number of at least 1 is needed")
    return settings


def _checksums(plan: Plan) -> dict[str, str]:
    settings = plan.settings
    read = {option("train"): plan.train.sha256}
    if plan.valid:
        read[option("valid")] = plan.valid.sha256
    read |= {f"--test {language}": test.sha256 for language, test in plan.tests.items()}
    for name in ("word_list", "dictionary"):
        read |= {f"{option(name)} {language}": sha256(path) for language, path in (getattr(settings, name) or {}).items()}
    if settings.synonyms:
        read[option("synonyms")] = sha256(settings.synonyms)
    if plan.plm_dir is not None:
        described = plan.plm_dir / "plm.json"
        is_given = plan.plm_dir == Path(settings.model)
        read[option("model")] = sha256(described) if is_given else plan.plm_dir.name.rpartition("-")[2]
    return read


def _complete(plan: Plan) -> None:
    """Choose every setting that is not given."""
    settings, system = plan.settings, plan.system
    if settings.device is None:
        settings.device = "cuda" if torch.cuda.is_available() else "cpu"
        plan.reasons["device"] = "the fastest here"
    if settings.precision is None:
        settings.precision, plan.reasons["precision"] = _precision(settings.device)
    if plan.augment and settings.thresholds is None:
        settings.thresholds = THRESHOLDS
        plan.reasons["thresholds"] = "of candidates to substitute: synonyms, words of other languages"
    if system.one_stream and settings.one_stream is None:
        settings.one_stream, plan.reasons["one_stream"] = True, f"{system.name} has it so"
    held_out = plan.held_out
    size = Size(
        examples=plan.train.examples - held_out,
        validation=plan.valid.examples if plan.valid else held_out,
        streams=system.streams(plan.augment),
        dim=plan.shape.dim,
    )
    for name, chosen in defaults(size, asdict(settings)).items():
        setattr(settings, name, chosen.value)
        plan.reasons[name] = chosen.reason


def _precision(device: str) -> tuple[str, str]:
    if device.startswith("cuda"):
        is_supported = torch.cuda.is_bf16_supported()
        return ("bf16" if is_supported else "fp32"), f"this GPU {'computes' if is_supported else 'does not compute'} in bf16"
    is_supported = torch.cpu._is_avx512_bf16_supported()
    return ("bf16" if is_supported else "fp32"), f"this CPU {'computes' if is_supported else 'does not compute'} in bf16"
