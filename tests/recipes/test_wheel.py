"""The wheel, outside the checkout: every command starts, and what it reads besides the code is in it."""

import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from support.running import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A virtual environment with the wheel, and with this one's packages except the checkout, to which a .pth file points."""
    folder = tmp_path_factory.mktemp("wheel")
    python = folder / "env" / "bin" / "python"
    venv.create(folder / "env", with_pip=False)
    (wheel_site,) = (folder / "env" / "lib").glob("python*/site-packages")
    (wheel_site / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")  # whose own .pth files are not read
    source = shutil.copytree(ROOT, folder / "source", ignore=shutil.ignore_patterns(".*", "build", "dist", "results", "tests"))
    build = ["build", "--wheel", "--no-isolation", "--skip-dependency-check", "--outdir", folder, source]
    subprocess.run([sys.executable, "-m", *map(str, build)], check=True, capture_output=True, timeout=300)
    install = ["pip", "--python", python, "install", "--no-deps", "--no-index", "--ignore-installed", *folder.glob("*.whl")]
    subprocess.run([sys.executable, "-m", *map(str, install)], check=True, capture_output=True, timeout=300)
    return Installed(python, wheel_site, *folder.glob("*.whl"))


@dataclass
class Installed:
    python: Path
    site: Path
    wheel: Path

    def run(self, cwd, *words):
        return self.program("python", cwd, "-m", *words)

    def program(self, name, cwd, *words):
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run([self.python.parent / name, *map(str, words)], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_content(installed):
    names = zipfile.ZipFile(installed.wheel).namelist()
    for file in ("config/base.yaml", "config/xnli.yaml", "config/system/SALT.yaml", "quickstart/train.en.tsv"):
        assert f"salt_fairseq/recipes/{file}" in names
    for file in ("preprocess/importers/lm_head.safetensors", "salt_fairseq/py.typed", "salt_fairseq/pages/candidates.js", "salt_fairseq/pages/style.css"):
        assert file in names
    assert not [name for name in names if name.startswith(("tests/", "recipes/"))]


def test_help(installed, tmp_path):
    done = installed.run(tmp_path, "preprocess.distill", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage:"), done.stderr


def test_console_script(installed, tmp_path):
    done = installed.program("salt", tmp_path, "export", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: salt export"), done.stderr
    assert installed.program("salt", tmp_path, "--version").stdout == f"salt_fairseq {metadata.version('salt_fairseq')}\n"


@pytest.mark.long
def test_embedded_default_and_configuration(installed, tmp_path):
    """The PLM of the quickstart, its data, and the number of updates that xnli.yaml makes of them: 480 pairs in 1 stream, 32 a step."""
    folder = installed.site / "salt_fairseq" / "recipes"
    train = [f"--subset=train={folder / 'quickstart' / 'train.en.tsv'}"]
    config = ["--config-dir", folder / "config", "--config-name", "xnli", "+system=vanilla", "task.data=data", "model.plm=plm"]
    for words in (["preprocess.import_plm", "embedded", "plm"], ["preprocess.binarize", "plm", "data", *train], ["salt_fairseq.experiments.updates", *config]):
        done = installed.run(tmp_path, *words)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "15\n"
    hydra = [*config, f"common.user_dir={installed.site}/salt_fairseq", "common.cpu=true", "optimization.max_update=1", "checkpoint.no_save=true"]
    done = installed.run(tmp_path, "fairseq_cli.hydra_train", *hydra, "dataset.disable_validation=true")
    assert done.returncode == 0 and "done training" in done.stdout + done.stderr, done.stderr[-3000:]
