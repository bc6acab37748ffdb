"""The program ``salt``, also started as ``python -m salt_fairseq``: every command of this project under one name."""

import argparse
import difflib
import os
import sys

import salt_fairseq
from salt_fairseq.cli.command import start_command
from salt_fairseq.cli.commands import COMMANDS, call

USAGE = "usage: salt COMMAND [options]"


def overview() -> str:
    """What ``salt --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([USAGE, "", salt_fairseq.__doc__ or "", "", *lines, "", "salt COMMAND --help explains a command."])


def complete() -> None:
    """Answer a shell that asks for completions (``eval "$(register-python-argcomplete salt)"``), and end."""
    try:
        import argcomplete
    except ImportError:
        sys.exit(1)

    def answer(parser: argparse.ArgumentParser, *unused: object) -> None:
        argcomplete.autocomplete(parser)

    words = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])].split(" ")
    if len(words) > 2 and words[1] in COMMANDS:
        os.environ["_ARGCOMPLETE"] = "2"  # words that are the program's name
        setattr(argparse.ArgumentParser, "parse_args", answer)  # which the command's main is about to call
        call(words[1])
    parser = argparse.ArgumentParser("salt")
    parser.add_argument("command", choices=COMMANDS)
    answer(parser)


def main() -> None:
    start_command()
    if "_ARGCOMPLETE" in os.environ:
        complete()
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
    elif name == "--version":
        print(f"salt_fairseq {salt_fairseq.__version__}")
    elif name in COMMANDS:
        call(name, *words)
    else:
        similar = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {similar[0]}?" if similar else "salt --help lists the commands"
        print(f"{USAGE}\nsalt: error: there is no command {name!r}: {hint}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
