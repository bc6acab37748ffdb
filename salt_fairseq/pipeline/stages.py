"""The commands of a run in order, as a user could type them, and by which file each is known to be done."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from salt_fairseq.pipeline.plan import LEXICONS, Plan
from salt_fairseq.pipeline.settings import Settings, option
from salt_fairseq.pipeline.systems import CONFIG, PACKAGE

LINES = 200  # of a training's log that tell its progress, at most
WORK = "work"  # in the directory of the classifier: everything that is made on the way
PLAIN = re.compile(r"[a-z/][\w.-]*/[\w/.-]*")  # paths that Hydra takes without quotes; null and true are none
SEED_STEP = 1_000_003  # fairseq adds the step to the seed, so neighbouring seeds would share their steps' draws


@dataclass(frozen=True)
class Stage:
    name: str  # a sub-command of salt, or "fine-tune"
    words: tuple[str, ...]  # after the sub-command, or after fairseq-hydra-train
    made: Path  # exists when the stage is done
    seed: int = 0  # of "fine-tune"

    @property
    def is_done(self) -> bool:
        return self.made.exists()


def stages_of(plan: Plan, plm_dir: Path) -> list[Stage]:
    """Every stage, done or not."""
    settings = plan.settings
    out, data = Path(settings.out), data_directory(settings)
    stages = []
    if plm_dir != Path(settings.model):
        stages.append(_stage("import", settings.model, plm_dir, made=plm_dir / "plm.json"))
    stages.append(_binarize(plan, plm_dir, data))
    if plan.augment:
        words = [plm_dir, data, "--languages", ",".join(plan.augment), *_on_device(plan)]
        words += _pairs("--word-list", settings.word_list)
        stages.append(_stage("distill", *words, made=data / "candidates" / plan.augment[-1] / "meta.json"))
    lexicon = plan.system.lexicon
    if lexicon:
        synonyms = {settings.source_language: settings.synonyms or ""}
        dictionaries = settings.dictionary if LEXICONS[lexicon] == "dictionary" else synonyms
        words = [plm_dir, data, "--name", lexicon, *_pairs("--dictionary", dictionaries)]
        words += ["--include-word"] if lexicon == "synonyms" else []
        stages.append(_stage("lookup", *words, made=data / "lexicons" / lexicon / "meta.json"))
    seeds = range(1, settings.seeds + 1)
    stages += [Stage("fine-tune", fairseq_words(plan, plm_dir, seed), out / WORK / f"seed-{seed}.pt", seed) for seed in seeds]
    results = out / WORK / "results.json"
    checkpoints = [stage.made for stage in stages if stage.name == "fine-tune"]
    subsets = "valid,test.*" if plan.tests else "valid"
    words = [data, "--path", *checkpoints, "--subsets", subsets, "--out", results, *_on_device(plan)]
    stages.append(_stage("evaluate", *words, made=results))
    if plan.transfers:
        report = out / "report"
        stages.append(_stage("report", f"{settings.system}={results}", "--out", report, made=report / "table.md"))
    export = [checkpoints[0], out / WORK / "export", "--plm", plm_dir, "--results", results]
    stages.append(_stage("export", *export, made=out / "salt_fairseq.json"))
    return stages


def data_directory(settings: Settings) -> Path:
    """Its name, that of the training file, is what the model card calls the data."""
    return Path(settings.out) / WORK / "data" / re.sub(r"[^\w-]+", "-", Path(settings.train).stem)


def _stage(name: str, *words: object, made: Path) -> Stage:
    return Stage(name, tuple(map(str, words)), made)


def _pairs(option: str, values: dict[str, str] | None) -> list[str]:
    return [option, *(f"{name}={value}" for name, value in values.items())] if values else []


def _on_device(plan: Plan) -> list[str]:
    return ["--device", plan.settings.device or "cpu", "--dtype", plan.settings.precision or "fp32"]


def _binarize(plan: Plan, plm_dir: Path, data: Path) -> Stage:
    settings = plan.settings
    reading: tuple[str, ...] = ()
    if settings.valid:
        files = {"train": settings.train, "valid": settings.valid}
        files |= {f"test.{language}": path for language, path in (settings.test or {}).items()}
        reading = ("columns", "label_names", "delimiter", "quoting")
    else:
        files = rewritten_files(settings)
    if plan.tests_on_valid:
        files[f"test.{settings.source_language}"] = files["valid"]
    words: list[object] = [plm_dir, data, "--subset", *(f"{name}={path}" for name, path in files.items())]
    # One process: those forked from a process whose torch has started threads, as this one's has, may never return.
    words += ["--source-language", settings.source_language, "--workers", 1]
    words += [f"{option(name)}={getattr(settings, name)}" for name in reading if getattr(settings, name) is not None]
    if settings.valid:
        words += [f"--missing-label={label}" for label in settings.missing_label or []]
    labels = settings.labels or ",".join(() if settings.valid else plan.train.label_names)
    words += [f"--labels={labels}"] if labels else []
    return _stage("binarize", *words, made=data / "meta.json")


def rewritten_files(settings: Settings) -> dict[str, str]:
    """Subset to the file that its examples are written to when a part of --train is held out. All of them are, so that
    the options that say how to read the given ones do not have to fit both."""
    names = ["train", "valid", *(f"test.{language}" for language in settings.test or {})]
    return {name: str(Path(settings.out) / WORK / f"{name}.jsonl") for name in names}


def fairseq_words(plan: Plan, plm_dir: Path, seed: int) -> tuple[str, ...]:
    """The words after ``fairseq-hydra-train``."""
    settings = plan.settings
    values = {
        "common.user_dir": PACKAGE,
        "common.seed": seed * SEED_STEP,
        "common.cpu": settings.device == "cpu",
        "common.log_format": "json",
        "common.log_interval": max(1, (settings.updates or 1) // LINES),
        "task.data": data_directory(settings),
        "task.max_length": settings.max_length,
        "task.one_stream": settings.one_stream,
        "model.plm": plm_dir,
        "model.freeze_embeddings": settings.freeze_embeddings,
        "model.autocast_bf16": settings.precision == "bf16",
        "dataset.batch_size": settings.batch_size,
        "dataset.validate_interval_updates": settings.validation_interval,
        "optimizer._name": "fused_adam",
        "lr_scheduler.warmup_updates": settings.warmup_updates,
        "optimization.lr": [settings.learning_rate],
        "optimization.max_update": settings.updates,
        "checkpoint.save_interval_updates": settings.validation_interval,
        "checkpoint.save_dir": Path(settings.out) / WORK / f"seed-{seed}",
    }
    if plan.augment:
        values |= {"task.augment": ",".join(plan.augment), "task.thresholds": settings.thresholds}
    words = [f"{key}={hydra_value(value)}" for key, value in values.items()]
    system = f"+system={settings.system}"
    return ("--config-dir", str(CONFIG), "--config-name", "classifier", system, *words, *(settings.override or ()))


def hydra_value(value: object) -> str:
    """A value in Hydra's grammar of overrides, in which text may need quotes."""
    if isinstance(value, (str, Path)):
        # Within quotes, a backslash is one, unless a quote follows: so does the closing one.
        escaped = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), str(value))
        return str(value) if PLAIN.fullmatch(str(value)) else f"'{escaped}'"
    return str(value).lower() if isinstance(value, bool) else str(value)
