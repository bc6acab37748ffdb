"""What the command lines of all commands share."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable

from salt_fairseq.cli.sentences import DEBUG
from salt_fairseq.errors import InputError


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action):
        """With the default, if there is one."""
        return action.help if action.default in (None, False, "") or action.default == [] else super()._get_help_string(action)


class _Debug(argparse.Action):
    def __call__(self, *unused):
        os.environ[DEBUG] = "1"  # so that processes that this one starts know it, too


def command_parser(documentation: str | None) -> argparse.ArgumentParser:
    """A parser with ``--debug``, described by the first line of a module's documentation."""
    parser = argparse.ArgumentParser(
        description=(documentation or "").split("\n")[0], formatter_class=_Help, allow_abbrev=False
    )
    parser.add_argument(
        "--debug",
        action=_Debug,
        nargs=0,
        dest=argparse.SUPPRESS,
        default=argparse.SUPPRESS,
        help="show where in the code an error was found",
    )
    return parser


def positive(text: str) -> int:
    """Type of an option that is a whole number of at least 1."""
    if not (text.isdecimal() and 0 < int(text) < 1 << 63):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def name_value_pairs(option: str, texts: Iterable[str], form: str = "LANG=FILE", names: str = r"[\w-]+") -> dict[str, str]:
    """The values of an option that takes ``NAME=VALUE`` several times, by name, in order.

    ``names`` is a regular expression that a whole name matches, ``form`` tells the user what is needed. Raises for anything
    else, and for a name that is given twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not re.fullmatch(names, name):
            raise InputError(f"{option} {text}: {form} is needed")
        if name in values:
            raise InputError(f"{option} {text}: {name} is given twice, also as {values[name]}; leave one of them out")
        values[name] = value
    return values
