"""Every command that a document shows is parsed by its command; those of the README run, one after another."""

import os
import runpy
import shlex
import subprocess
import sys

import pytest
from fairseq import options
from fairseq.logging import metrics

from salt_fairseq.cli.commands import COMMANDS as SALT
from support.documents import DOCUMENTS, commands
from support.running import QUICKSTART, ROOT
from support.small_world import COMMANDS
from support.training import composed

pytestmark = pytest.mark.slow

PARSER = runpy.run_path(str(ROOT / "docs" / "options_page.py"))["parser"]
SHOWN = [command for document in DOCUMENTS for command in commands(document)]
OURS = ("python", "torchrun", "fairseq-train", "fairseq-validate", "fairseq-hydra-train", "bash", "salt")
OTHERS = ("pip install", "mkdocs build", ". .venv/bin/activate", "ruff ", "mypy")
# What makes a command of the README small enough for a test.
IN_SMALL = {
    "fairseq-train": ["--cpu", "--max-update", "3", "--total-num-update", "30"],
    "fairseq-hydra-train": ["common.cpu=true", "optimization.max_update=3", "checkpoint.save_dir=checkpoints/hydra"],
}


def parse(command):
    """Have the command's own parser read the words; it exits where it cannot."""
    program, *words = command.words
    if program == "torchrun":
        assert words[0] == "--nproc-per-node"
        program, words = "python", words[2:]
    if program == "python" and words[0] == "docs/options_page.py":
        assert words[1:] == []
    elif program == "python":
        name = words[1].removeprefix("salt_fairseq.") if words[0] == "-m" else words[0].removeprefix("preprocess/").removesuffix(".py")
        PARSER(name).parse_args(words[2:] if words[0] == "-m" else words[1:])
    elif program == "salt":
        PARSER(SALT[words[0]].module.removesuffix(".__main__").rpartition(".")[2]).parse_args(words[1:])
    elif program == "fairseq-hydra-train":
        values = dict(zip(words[::2], words[1::2]))
        composed(values["--config-name"], *words[4:])
    elif program in ("fairseq-train", "fairseq-validate"):
        get = options.get_training_parser if program == "fairseq-train" else options.get_validation_parser
        options.parse_args_and_arch(get(), input_args=words)
    else:
        script = ROOT / words[0]
        sources = (*sorted((ROOT / "recipes").glob("*.sh")), *sorted((ROOT / "tests" / "benchmarks").glob("*.py")))
        text = "".join(path.read_text(encoding="utf-8") for path in sources)
        assert script.is_file() and all(word in text for word in words[1:] if word.startswith("--")), command


@pytest.mark.parametrize("command", SHOWN, ids=str)
def test_parses(command, monkeypatch):
    monkeypatch.chdir(ROOT)
    if command.line.startswith(OTHERS):
        return
    assert command.line.startswith(OURS), command
    parse(command)


@pytest.mark.slow
def test_commands_of_the_readme_run(xlmr_dir, tmp_path, monkeypatch, capsys):
    """As typed, in the order in which they stand, on a tiny PLM and the first rows of the quickstart's texts."""
    for name in ("salt_fairseq", "preprocess", "recipes"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name, subset, rows in (("train.tsv", "train.en", 64), ("dev.tsv", "valid.en", 16), ("test-en.tsv", "test.en", 16), ("test-fr.tsv", "test.fr", 16)):
        lines = (QUICKSTART / f"{subset}.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / name).write_text("".join(lines[: rows + 1]), encoding="utf-8")
    (tmp_path / "pairs.tsv").write_text("A house.\tA home.\n", encoding="utf-8")
    (tmp_path / "en-fr.txt").write_text("house maison\nwater eau\n", encoding="utf-8")
    (tmp_path / "en-de.txt").write_text("house Haus\nwater Wasser\n", encoding="utf-8")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
    monkeypatch.chdir(tmp_path)

    def run(line):
        """In this process if the command is one of those that can be called, since starting takes longer than the rest."""
        typed, _, stdin = line.partition(" < ")
        words = shlex.split(typed)
        if words[0] == "python":
            words = words[2:] if words[1] == "-m" else words[1:]
        name = words[0].removeprefix("salt_fairseq.").removeprefix("preprocess/").removesuffix(".py")
        if name not in COMMANDS:
            done = subprocess.run(["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, f"{line}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
            return
        metrics.reset()
        with open(stdin or os.devnull, encoding="utf-8") as file:
            monkeypatch.setattr(sys, "stdin", file)
            monkeypatch.setattr(sys, "argv", words)
            COMMANDS[name]()

    for command in commands(ROOT / "README.md"):
        program = command.words[0]
        if program in ("bash", ".") or command.words[:2] == ["salt", "train"]:  # which tests/pipeline runs
            continue
        line = command.line.replace("xlm-roberta-base", str(xlmr_dir)) + "".join(f" {word}" for word in IN_SMALL.get(program, []))
        if program == "fairseq-train":  # vanilla, as the README says it
            line = line.replace("--user-dir salt_fairseq", f"--user-dir {ROOT / 'salt_fairseq'}")  # the package that this process has
            vanilla = line.replace(" --augment en,fr,es,de --thresholds source=1e-3,1e-7", "").replace("checkpoints/salt", "checkpoints/vanilla")
            assert vanilla.count("--augment") == 0
            run(vanilla)
        run(line)
    for path in ("sentences.html", "results/mine/significance.md", "results/mine/generalized.md", "exported/model.safetensors"):
        assert (tmp_path / path).is_file(), path
    assert "avg. without en" in capsys.readouterr().out


def _comparable(value):
    return str(value).replace(" ", "")


def test_the_stable_preset_is_the_command_of_the_guide(monkeypatch):
    """Both train alike, but that the preset also says how SALT draws streams and substitutes."""
    monkeypatch.chdir(ROOT)
    (words,) = (command.words for command in SHOWN if command.words[0] == "fairseq-train" and "checkpoints/stable" in command.words)
    typed = vars(options.parse_args_and_arch(options.get_training_parser(), input_args=words[1:]))
    preset = composed("xnli", "+preset=stable", "+system=vanilla", "task.data=data/mine", "model.plm=plm/embedded", "model.autocast_bf16=true")
    others = {"_name", "thresholds", "one_stream", "variants", "log_format", "log_interval", "num_workers", "seed", "max_epoch"}
    values = {key: value for group in preset.values() for key, value in group.items() if key in typed.keys() - others}
    assert {key: _comparable(typed[key]) for key in values} == {key: _comparable(value) for key, value in values.items()}
    assert {"lr", "warmup_updates", "freeze_embeddings", "autocast_bf16"} <= values.keys()
