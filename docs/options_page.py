"""Write docs/options.md from the dataclasses and argument parsers that define the options: python docs/options_page.py"""

import argparse
import dataclasses
import importlib
from pathlib import Path
from unittest import mock

from salt_fairseq.models.salt_encoder import SaltEncoderConfig
from salt_fairseq.optim.fused_adam import FusedAdamConfig
from salt_fairseq.tasks.salt_config import SaltConfig

PAGE = Path(__file__).with_name("options.md")
INTRODUCTION = """# All options

`python docs/options_page.py` writes this page from the code, and a test compares the two. Every command also explains
itself with `--help`. `--debug` shows the traceback of an error; `SALT_DEBUG=1` does so in fairseq's commands and the recipes.
"""
GROUPS = {
    "Tasks `salt_sentence_pair` and `salt_token_labelling`": ("task", SaltConfig),
    "Model `salt_encoder`": ("model", SaltEncoderConfig),
    "Optimizer `fused_adam`": ("optimizer", FusedAdamConfig),
}
SCRIPTS = (
    "import_plm binarize target_vocabulary inspect_languages distill show_candidates look_up train_lm_head "
    "substitution_precision export_hf"
).split()
MODULES = ["evaluate", "average", "report", "predict"]
DEPENDS = {"--device": "`cuda` where there is one, else `cpu`", "--workers": "one for each usable core"}  # on the machine


class _Captured(Exception):
    """Carries the parser of a command whose ``main`` was about to parse its command line."""


def parser(command):
    """The ``ArgumentParser`` of ``train`` or of a command of ``SCRIPTS`` or ``MODULES``."""

    def capture(self, *unused):
        raise _Captured(self)

    name = f"preprocess.{command}" if command in SCRIPTS else f"salt_fairseq.{command}"
    name = {"report": "salt_fairseq.report.__main__", "train": "salt_fairseq.pipeline.train"}.get(command, name)
    module = importlib.import_module(name)
    with mock.patch.object(argparse.ArgumentParser, "parse_args", capture):
        try:
            module.main()
        except _Captured as captured:
            return captured.args[0]
    raise RuntimeError(f"{name}.main() does not parse a command line")


def _row(*cells):
    return "| " + " | ".join(" ".join(str(cell).split()).replace("|", "\\|") for cell in cells) + " |"


def _default(value):
    if isinstance(value, bool) or value in (None, "", [], (), dataclasses.MISSING):
        return ""
    return "" if str(value) == "???" else f"`{getattr(value, 'value', value)}`"


def group(name, config):
    """Table of the fields of one of fairseq's configuration groups."""
    yield from ("", "| option | YAML key | default | meaning |", "|---|---|---|---|")
    for field in dataclasses.fields(config):
        meaning = field.metadata.get("help")
        if not meaning:  # a value that fairseq's other groups hand down, such as the seed
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        option = field.name if (name, field.name) == ("task", "data") else f"--{field.name.replace('_', '-')}"
        if choices := getattr(field.type, "__members__", None):
            option += " {" + ",".join(str(getattr(choice, "value", choice)) for choice in choices.values()) + "}"
        yield _row(f"`{option}`", f"`{name}.{field.name}`", _default(default), meaning.replace("%%", "%"))


def command(name):
    """Table of the arguments of one command."""
    made = parser(name)
    yield from ("", made.description or "", "", "| argument | default | meaning |", "|---|---|---|")
    for action in made._actions:
        if {"--help", "--debug"} & set(action.option_strings):
            continue
        option = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        value = "" if not action.option_strings or action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
        if action.choices:
            value = " {" + ",".join(map(str, action.choices)) + "}"
        default = DEPENDS.get(option) or _default(action.default)
        meaning = (action.help or "").replace("%%", "%")
        yield _row(f"`{option}{value}`", "required" if action.option_strings and action.required else default, meaning)


def page():
    """The text of docs/options.md."""
    lines = [INTRODUCTION, "## fairseq-train, fairseq-validate and fairseq-hydra-train"]
    for title, (name, config) in GROUPS.items():
        lines += ["", f"### {title}", *group(name, config)]
    lines += ["", "### Criterion `salt_classification`", "", "It has no options of its own."]
    lines += ["", "## salt train", *command("train")]
    for name in SCRIPTS:
        lines += ["", f"## preprocess/{name}.py", *command(name)]
    for name in MODULES:
        lines += ["", f"## python -m salt_fairseq.{name}", *command(name)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
