"""Train a multilingual classifier from a labelled file: import, binarize, distill, fine-tune, evaluate, report and export.

salt train --model xlm-roberta-base --train train.csv --targets fr,es,de --test fr=test-fr.csv --out my-classifier
"""

import argparse
from pathlib import Path
from typing import Any

from salt_fairseq.cli.arguments import command_parser, name_value_pairs, positive
from salt_fairseq.errors import InputError
from salt_fairseq.pipeline.settings import FIELDS, declared_type, option, read_run_file
from salt_fairseq.pipeline.systems import names

CONFIG = "config"


def parser() -> argparse.ArgumentParser:
    made = command_parser(__doc__)
    made.add_argument("--config", metavar="FILE.yaml", help="take the settings of an earlier run; options given beside it win")
    made.add_argument("--dry-run", action="store_true", help="say what would run, how long and with how much disk, and end")
    for name, entry in FIELDS.items():
        declared, metadata = declared_type(name), entry.metadata
        words: dict[str, Any] = {"help": metadata["help"], "default": None, "metavar": metadata["metavar"]}
        if entry.default is not None:
            words["help"] += f" (default: {entry.default})".replace("%", "%%")
        if declared == "bool":
            del words["metavar"]
            words["action"] = argparse.BooleanOptionalAction
        elif declared.startswith("dict") or name == "override":
            words |= {"nargs": "+", "action": "extend"}
        elif metadata.get("append"):
            words["action"] = "append"
        elif declared == "int":
            words["type"] = positive if name != "warmup_updates" else int
        elif declared == "float":
            words["type"] = float
        if choices := metadata.get("choices"):
            words["choices"] = choices
        if name == "system":
            words["choices"], words["metavar"] = names(), None
        made.add_argument(option(name), **words)
    return made


def given_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the command line and, where it says nothing, of ``--config``."""
    values = {name: getattr(args, name) for name in FIELDS if getattr(args, name) is not None}
    if "targets" in values:
        values["targets"] = [language.strip() for language in values["targets"].split(",") if language.strip()]
    for name in ("test", "word_list", "dictionary"):
        if name in values:
            values[name] = name_value_pairs(option(name), values[name])
    if args.config is None:
        return values
    stored, _ = read_run_file(args.config)
    stored.pop("device", None)  # of another machine, maybe
    if "epochs" in values and "updates" not in values:
        stored.pop("updates", None)  # which was computed from other epochs
    return {**stored, **values}


def main() -> None:
    made = parser()
    args = made.parse_args()
    given = given_settings(args)
    if not given:
        raise InputError("nothing to train on: salt train --model MODEL --train FILE --targets LANG,... --out DIR")
    from salt_fairseq.pipeline.plan import make_plan  # these load torch, and --help answers at once
    from salt_fairseq.pipeline.run import check_out, dry_run, run

    if given.get("out"):
        check_out(Path(given["out"]))
    plan = make_plan(given, download=not args.dry_run)
    if args.dry_run:
        dry_run(plan)
    else:
        run(plan, set(given))


if __name__ == "__main__":
    main()
