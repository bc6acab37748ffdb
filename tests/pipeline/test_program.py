"""The program salt: help, unknown commands, and completion as a shell asks for it."""

import subprocess
import sys

import pytest

from salt_fairseq import __main__ as salt
from salt_fairseq.cli.commands import COMMANDS
from support.running import ROOT


def said(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["salt", *words])
    try:
        salt.main()
        code = 0
    except SystemExit as error:
        code = error.code
    return code, capsys.readouterr()


@pytest.fixture(autouse=True)
def hook(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # which the program replaces


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_lists_every_command_with_a_line(monkeypatch, capsys, words):
    code, printed = said(monkeypatch, capsys, *words)
    listed = [line.split()[0] for line in printed.out.splitlines() if line.startswith("  ")]
    assert code == 0 and listed == list(COMMANDS)
    assert {"import", "binarize", "distill", "lookup", "train-head", "evaluate", "report", "predict", "export", "show", "inspect"} < set(listed)
    assert all(len(line) <= 100 for line in printed.out.splitlines())


@pytest.mark.parametrize("command", ["train", "binarize", "report"])
def test_help_of_a_command_names_it(monkeypatch, capsys, command):
    code, printed = said(monkeypatch, capsys, command, "--help")
    assert code == 0 and printed.out.startswith(f"usage: salt {command} [-h]")
    assert sys.argv == ["salt", command, "--help"]  # as before


def test_unknown_command(monkeypatch, capsys):
    code, printed = said(monkeypatch, capsys, "distil")
    assert code == 2 and printed.err.splitlines()[-1] == "salt: error: there is no command 'distil': did you mean distill?"


def test_modules_of_all_commands_exist():
    for command in COMMANDS.values():
        path = ROOT / command.module.replace(".", "/")
        assert path.with_suffix(".py").is_file(), command


def test_help_loads_neither_torch_nor_omegaconf():
    code = "import sys, salt_fairseq.__main__ as m; sys.argv = ['salt']; m.main(); print({'torch', 'omegaconf', 'fairseq'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "set()", done.stderr


@pytest.mark.parametrize("line, answers", [("salt di", ["distill "]), ("salt train --learn", ["--learning-rate "])])
def test_completion(tmp_path, line, answers):
    pytest.importorskip("argcomplete", reason="completion needs pip install -e '.[completion]'")
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_STDOUT_FILENAME": str(tmp_path / "out")}
    code = "import salt_fairseq.__main__ as m; m.main()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=asked, capture_output=True, timeout=60)
    assert (tmp_path / "out").read_text().split("\013") == answers
