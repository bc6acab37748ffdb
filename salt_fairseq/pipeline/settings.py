"""Everything that a classifier of ``salt train`` depends on: one dataclass for the command line, ``run.yaml`` and Python."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

import salt_fairseq
from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import replacing

RUN_FILE = "run.yaml"


def _setting(default: Any, description: str, metavar: str | None = None, **more: Any) -> Any:
    return field(default=default, metadata={"help": description, "metavar": metavar, **more})


@dataclass
class Settings:
    """None stands for what is chosen from the size of the data, or from the machine."""

    model: str = _setting(
        None, "Hugging Face hub name or directory, directory of fairseq's xlmr.*, PLM directory, or 'embedded'", "MODEL"
    )
    train: str = _setting(None, "labelled examples in the source language, in any format of salt binarize", "FILE")
    valid: str | None = _setting(None, "likewise, to choose the best checkpoint (default: a part of --train)", "FILE")
    test: dict[str, str] | None = _setting(None, "labelled examples to evaluate on", "LANG=FILE")
    targets: list[str] | None = _setting(None, "languages to transfer to; salt inspect shows which suit", "LANG,...")
    out: str = _setting(None, "directory of the classifier", "DIR")
    source_language: str = _setting("en", "language of --train and --valid", "LANG")
    system: str = _setting("SALT", "a file of recipes/config/system", "NAME")
    seeds: int = _setting(1, "trainings; the best on --valid becomes the classifier", "N")
    hold_out: str = _setting("10%", "without --valid: the part of --train that is held out for it", "PERCENT")
    columns: str | None = _setting(None, "as in salt binarize", "ROLE=COLUMN,...")
    labels: str | None = _setting(None, "as in salt binarize", "A,B,...")
    missing_label: list[str] | None = _setting(None, "as in salt binarize; may be given several times", "NAME", append=True)
    label_names: str | None = _setting(None, "as in salt binarize", "A,B,...")
    delimiter: str | None = _setting(None, "as in salt binarize", "NAME")
    quoting: str | None = _setting(None, "as in salt binarize", choices=("csv", "none"))
    word_list: dict[str, str] | None = _setting(None, "as in salt distill", "LANG=FILE")
    dictionary: dict[str, str] | None = _setting(None, "as in salt lookup, for CoSDA-ML and SCOPA", "LANG=FILE")
    synonyms: str | None = _setting(None, "as in salt lookup, for RS-DA", "FILE")
    thresholds: str | None = _setting(
        None, "as in fairseq-train (default: the more probable half of the candidates, of synonyms a quarter)", "LIST"
    )
    max_length: int = _setting(128, "tokens of an example; the longest sentence is cut first", "N")
    batch_size: int | None = _setting(None, "examples of an update", "N")
    epochs: int | None = _setting(None, "passes over the training data", "N")
    updates: int | None = _setting(None, "steps of training, instead of epochs", "N")
    learning_rate: float | None = _setting(None, "highest learning rate, which falls to 0 linearly", "X")
    warmup_updates: int | None = _setting(None, "updates in which the learning rate rises", "N")
    validation_interval: int | None = _setting(None, "updates between two validations, each with a checkpoint", "N")
    one_stream: bool | None = _setting(None, "draw one variant of an example in each epoch, instead of reading all")
    freeze_embeddings: bool | None = _setting(None, "do not train the token embeddings")
    precision: str | None = _setting(
        None, "of matrix products (default: bf16 where the hardware has it)", choices=("fp32", "bf16")
    )
    device: str | None = _setting(None, "cuda or cpu (default: cuda where there is one)", "DEVICE")
    override: list[str] | None = _setting(None, "other keys of fairseq-hydra-train, as in model.dropout=0.2", "KEY=VALUE")


FIELDS = {entry.name: entry for entry in dataclasses.fields(Settings)}
FREE = {"out", "device"}  # decide nothing, and may change when a run goes on


def option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def shown(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def declared_type(name: str) -> str:
    """``"int"`` for a setting that is an int, or an int or None, and so on."""
    return str(FIELDS[name].type).removesuffix(" | None")


def fits(name: str, value: Any) -> bool:
    """Whether a value from a file is of the setting's type."""
    declared = declared_type(name)
    if value is None:
        return True
    if declared.startswith("dict"):
        return isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
    if declared.startswith("list"):
        return isinstance(value, list) and all(isinstance(text, str) for text in value)
    if declared == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if declared == "bool":
        return isinstance(value, bool)
    if declared == "int":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, str)


def read_run_file(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings and the checksums in a ``run.yaml``."""
    try:
        values = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: name a {RUN_FILE} that salt train wrote") from None
    except Exception as error:  # YAML's errors are of many kinds
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is no YAML of settings ({reason}): correct it, or name another {RUN_FILE}") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no settings: name a {RUN_FILE} that salt train wrote")
    values.pop("salt_fairseq", None)
    checksums: Any = values.pop("sha256", None) or {}
    for name, value in values.items():
        if name not in FIELDS:
            raise InputError(f"{path} has the setting {name!r}, which there is not: correct or remove it")
        if not fits(name, value):
            raise InputError(f"{path}: {name} is {json.dumps(value)}, and should be as salt train writes it: correct it")
    return {str(name): value for name, value in values.items() if value is not None}, checksums


def write_run_file(path: Path, settings: Settings, reasons: Mapping[str, str], checksums: Mapping[str, str]) -> None:
    """Write ``run.yaml``: every setting, JSON values being YAML, with the reason for those that were chosen."""
    lines = [f"# Repeat this run with: salt train --config {RUN_FILE} --out DIR", f'salt_fairseq: "{salt_fairseq.__version__}"']
    for name, value in dataclasses.asdict(settings).items():
        if value is not None:
            reason = f"  # {reasons[name]}" if name in reasons else ""
            lines.append(f"{name}: {json.dumps(value, ensure_ascii=False)}{reason}")
    lines.append(f"sha256: {json.dumps(dict(checksums), ensure_ascii=False)}  # of what was read")
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def check_same(out: Path, before: tuple[Mapping[str, Any], Mapping[str, str]], now: tuple[Settings, Mapping[str, str]]) -> None:
    """Raise unless the settings and checksums with which a run began are those of ``now``."""
    (values, checksums), (settings, new_checksums) = before, now
    changes = [
        f"{option(name)} {_typed(values.get(name))} (now {_typed(getattr(settings, name))})"
        for name in FIELDS
        if name not in FREE and values.get(name) != getattr(settings, name)
    ]
    changes += [f"the content of {name}" for name in new_checksums if checksums.get(name) not in (None, new_checksums[name])]
    if changes:
        raise InputError(
            f"{out} was begun with other settings: {', '.join(changes)}; name another --out, delete this one to begin anew, or "
            f"go on with salt train --config {out / RUN_FILE}"
        )


def _typed(value: Any) -> str:
    return "not given" if value is None else shown(value)
