"""Record what the stages of an experiment depend on, or say which setting differs from those of an earlier command.

recipes/experiment.sh calls it before it starts anything: results made with other settings are never taken for these.
"""

from __future__ import annotations

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import argparse
from collections.abc import Iterable
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import OmegaConf

from preprocess.text.official_layouts import LAYOUTS
from salt_fairseq.cli.arguments import command_parser, name_value_pairs
from salt_fairseq.data.subset import source_languages
from salt_fairseq.errors import InputError
from salt_fairseq.experiments.composition import composed_freely
from salt_fairseq.experiments.fingerprint import Settings, Stage, content, recorded_settings

READING = ("--source-language", "--languages")  # of the layouts and subsets
# What changes neither the parameters nor which of them are evaluated; groups, and keys of groups. PLM and data are compared
# by their content.
WITHOUT_EFFECT = {
    "common": {"user_dir", "cpu", "no_progress_bar", "log_format", "log_interval", "log_file"},
    "dataset": {"num_workers", "num_workers_valid"},
    "checkpoint": {
        "save_dir",
        "no_epoch_checkpoints",
        "no_last_checkpoints",
        "no_save_optimizer_state",
        "keep_interval_updates",
    },
    "task": {"data"},
    "model": {"plm"},
}

COMPLETE = ("task", "model", "criterion", "optimizer", "lr_scheduler")  # groups to whose keys in the YAML fairseq adds none


def arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("out", metavar="OUT", type=Path, help="the experiment's directory")
    add("--config-dir", metavar="DIR", type=Path, required=True, help="folder of the configurations")
    add("--config-name", metavar="NAME", required=True, help="the configuration, without .yaml")
    add("--plm", metavar="SOURCE", required=True, help="what import_plm.py imports, or a PLM directory")
    for layout in LAYOUTS:
        add(f"--{layout}", metavar="DIR", help="as binarize.py takes it")
    add("--subset", metavar="NAME=FILE", nargs="+", action="extend", default=[], help="as binarize.py takes it")
    for name in READING:
        add(name, metavar="LANG,...", help="as binarize.py takes it")
    add("--augment", metavar="LANGS", help="languages to distill candidates for")
    add("--dictionary", metavar="LANG=FILE", nargs="+", action="extend", default=[], help="as look_up.py takes it")
    add("--synonyms", metavar="FILE", help="synonyms in the source language")
    add("--generalized", metavar="SPLIT", help="evaluate all pairs of languages of this split, too")
    add("--average", metavar="N", help="evaluate the average of the last N checkpoints of a run")
    add("--seeds", metavar="N", nargs="+", default=[], help="one run of each system with each")
    system_help = "a system, and the overrides with which it is trained"
    add("--system", metavar="NAME", nargs="+", action="append", default=[], help=system_help)
    add("--alone", action="store_true", help="no other recipe is at work in OUT")
    add("--force", action="store_true", help="delete what was made with other settings")
    return parser.parse_args()


def stages(args: argparse.Namespace) -> Iterable[Stage]:
    """The stages that an experiment has, each after those that it builds on."""
    out = args.out
    plm, imported = plm_identity(args.plm, out)
    if imported:
        yield Stage(out, "plm", plm, ["plm"])
    sources = data_sources(args)
    yield Stage(out, "data", plm | sources, ["data", ".data.binarization"])
    # Of the subsets, training reads train and valid; those of the official layouts come with one folder.
    trained_on = plm | {
        name: source for name, source in sources.items() if not _is_for_tests(name, sources.get("--source-language"))
    }
    if args.augment:
        products = ["data/candidates", "data/.candidates.distillation"]
        yield Stage(out, "candidates", trained_on | {"--augment": args.augment}, products)
    lexicons = {
        "muse": {f"--dictionary {name}": path for name, path in name_value_pairs("--dictionary", args.dictionary).items()},
        "synonyms": {"--synonyms": args.synonyms} if args.synonyms else {},
    }
    for name, files in lexicons.items():
        lexicon = given_or_recorded(out / f"{name}.fingerprint", files, ("--dictionary", "--synonyms"))
        lexicons[name] = lexicon
        if files:
            yield Stage(out, name, trained_on | lexicon, [f"data/lexicons/{name}"])
    ending = "generalized.json" if args.generalized else "json"
    for system, *overrides in args.system:
        config = training_settings(args.config_dir, args.config_name, overrides)
        for seed in args.seeds:
            run, settings = f"{system}.{seed}", trained_on | lexicons.get(config.get("task.lexicon", ""), {}) | config
            settings |= {"--average": args.average} if args.average else {}
            products = [
                f"{run}/checkpoint*.pt",
                f"{run}/average.pt",
                f"{run}/trained",
                f"{run}.json",
                f"{run}.generalized.json",
            ]
            yield Stage(out, run, settings, products)
            evaluated_on = sources | ({"--generalized": args.generalized} if args.generalized else {})
            yield Stage(out, f"{run}.{ending}", settings | evaluated_on, [f"{run}.{ending}"])


def plm_identity(source: str, out: Path) -> tuple[Settings, bool]:
    """The PLM as a setting, and whether it is imported into ``out``."""
    earlier = recorded_settings(out / "plm.fingerprint") or {}
    description = Path(source) / "plm.json"
    if not description.exists():
        before = earlier.get("--plm")
        return {"--plm": content(source, before) if Path(source).exists() else source}, True
    if Path(source).resolve() == (out / "plm").resolve() and earlier:
        return earlier, False
    return {"--plm": content(description) | {"path": source}}, False


def data_sources(args: argparse.Namespace) -> Settings:
    """What is binarized, by the option that names it; without such options, what was binarized."""
    files = {f"--{layout}": getattr(args, layout) for layout in LAYOUTS if getattr(args, layout)}
    files |= {f"--subset {name}": path for name, path in name_value_pairs("--subset", args.subset, "NAME=FILE", ".+").items()}
    made = args.out / "data" / "meta.json"
    options = ("--subset", *(f"--{layout}" for layout in LAYOUTS), *READING)
    sources = given_or_recorded(args.out / "data.fingerprint", files, options)
    given = {"--source-language": args.source_language, "--languages": args.languages}
    sources |= {name: value for name, value in given.items() if value}
    if args.subset and not any(f"--{layout}" in sources for layout in LAYOUTS):
        _check_tests(sources)
    return sources if sources or not made.exists() else {"data": content(made)}


def _check_tests(sources: Settings) -> None:
    """Refuse subsets without those that the report needs, before anything is trained."""
    for language in source_languages(sources.get("--source-language", "en")):
        if f"--subset test.{language}" not in sources:
            raise InputError(
                f"--subset names no test.{language}, and the report shows the source language beside the others: add it"
            )


def _is_for_tests(source: str, source_language: str | None) -> bool:
    """Whether nothing that training reads comes from this source of data."""
    validated_on = [f"--subset valid.{language}" for language in source_languages(source_language or "")]
    return source == "--languages" or (source.startswith(("--subset test", "--subset valid.")) and source not in validated_on)


def given_or_recorded(path: Path, files: dict[str, str], options: tuple[str, ...]) -> Settings:
    """Identities of the files, by the option that names each. Without any, the recorded ones: a stage that is finished does
    not need its options again."""
    recorded = {name: value for name, value in (recorded_settings(path) or {}).items() if name.startswith(options)}
    return {name: content(file, recorded.get(name)) for name, file in files.items()} or recorded


def training_settings(directory: Path, name: str, overrides: list[str]) -> Settings:
    """The values of a configuration that decide what is trained, by ``group.key``.

    The configuration is composed without fairseq, which takes seconds to import, so without fairseq's defaults.
    """
    read = parsed(overrides)
    _check_keys(directory, name, read)
    config = composed_freely(directory, name, read)
    settings: Settings = {}
    for group, values in OmegaConf.to_container(config, enum_to_str=True).items():
        for key, value in values.items() if isinstance(values, dict) else [("_name", values)]:
            if key not in WITHOUT_EFFECT.get(group, ()):
                settings[f"{group}.{key}"] = value
    return settings


def _check_keys(directory: Path, name: str, overrides: list[Override]) -> None:
    """Refuse a key that Hydra would refuse in every run."""
    changes = [override for override in overrides if override.type == OverrideType.CHANGE]
    others = [override for override in overrides if override not in changes]
    known = OmegaConf.to_container(composed_freely(directory, name, others))
    for override in changes:
        group, _, key = override.key_or_group.partition(".")
        keys = known.get(group, {})
        if key and group in COMPLETE and key not in keys:
            text = override.input_line
            raise InputError(
                f"{text}: the configuration has no such key, {group} has {', '.join(sorted(keys)) or 'none'}; a key that "
                f"fairseq knows beside these is added by +{text}"
            )


def parsed(overrides: Iterable[str]) -> list[Override]:
    """The overrides as Hydra reads them, those of Hydra's own settings left out."""
    parser, results = OverridesParser.create(), []
    for text in overrides:
        key, _, value = text.partition("=")
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            raise _unfit(text, str(error).splitlines()[0], key, value) from None
        if override.is_sweep_override():
            raise _unfit(text, "several values", key, value)
        if not override.key_or_group.startswith("hydra"):
            results.append(override)
    return results


def _unfit(text: str, reason: str, key: str, value: str) -> InputError:
    return InputError(
        f"{text} is no override of one value ({reason}): write KEY=VALUE, with a value that holds commas, '=', blanks or "
        f"brackets in quotes of its own, as in \"{key}='{value or 'VALUE'}'\""
    )


def main() -> None:
    args = arguments()
    for stage in list(stages(args)):  # a bad override is found before anything is deleted
        stage.claim(args.force, args.alone)


if __name__ == "__main__":
    main()
