"""A directory in which every command works, made in seconds, and commands that are run in it to fail.

It holds ``plm``, ``train.tsv``, ``test.fr.tsv``, ``words.fr.txt``, ``en-fr.txt``, ``text.txt``, ``data`` (with candidates in
fr and a lexicon), ``checkpoint.pt``, ``second.pt`` (the same but for a bias) and ``results.json``.
"""

import contextlib
import hashlib
import io
import re
import shlex
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from fairseq_cli import train, validate

import salt_fairseq
from preprocess import (
    binarize,
    distill,
    export_hf,
    import_plm,
    inspect_languages,
    look_up,
    show_candidates,
    substitution_precision,
    target_vocabulary,
    train_lm_head,
)
from salt_fairseq import average, evaluate, predict
from salt_fairseq.cli.command import print_sentence
from salt_fairseq.report import __main__ as report
from support.in_process import call
from support.running import ROOT
from support.tiny_plm import tiny_plm
from support.training import training

ROWS = [("the big house sleeps .", "the cat ."), ("the cat sleeps", "the house , the cat"), ("big cat", "house"), ("a house .", "the 3")]
FILES = {
    "train.tsv": "id\tsentence1\tsentence2\tlabel\n" + "".join(f"{i}\t{a}\t{b}\t{'yes' if i % 2 else 'no'}\n" for i, (a, b) in enumerate(ROWS * 3)),
    "test.fr.tsv": "id\tsentence1\tsentence2\tlabel\n" + "".join(f"{i}\tla maison\tle chat {b}\t{'yes' if i % 2 else 'no'}\n" for i, (_, b) in enumerate(ROWS)),
    "words.fr.txt": "la\nle\nmaison\nchat\ngrande\npeniche\n",
    "en-fr.txt": "house maison\ncat chat\nbig grande\n",
    "text.txt": "the big house sleeps .\nthe cat\n" * 15,
}
USER_DIR = Path(salt_fairseq.__file__).parent
FAIRSEQ_TRAIN = ["--cpu", "--disable-validation", "--num-workers", 0]
COMMANDS = {
    "fairseq-train": train.cli_main,
    "fairseq-validate": validate.cli_main,
    **{
        module.__name__.removesuffix(".__main__").split(".")[-1]: module.main
        for module in (
            import_plm,
            binarize,
            target_vocabulary,
            distill,
            show_candidates,
            look_up,
            train_lm_head,
            substitution_precision,
            inspect_languages,
            export_hf,
            average,
            evaluate,
            report,
            predict,
        )
    },
}
# The same as words for a process of its own.
SCRIPTS = {
    command: ["python", "-m", f"salt_fairseq.{command}"]
    if command in ("average", "evaluate", "report", "predict")
    else ["python", f"{ROOT}/preprocess/{command}.py"]
    for command in COMMANDS
} | {command: [command] for command in ("fairseq-train", "fairseq-validate", "fairseq-hydra-train")}
# What a user types to run each command as it should be; a case changes words of it.
TYPED = {
    "import_plm": "hf new",
    "binarize": "plm new --subset train=train.tsv test.fr=test.fr.tsv",
    "target_vocabulary": "plm fr --word-list fr=words.fr.txt",
    "distill": "plm data --languages fr --keep-shared-words --word-list fr=words.fr.txt",
    "show_candidates": "plm data --languages fr --thresholds 50%",
    "look_up": "plm data --name again --dictionary fr=en-fr.txt",
    "train_lm_head": "plm new --text text.txt --steps 2 --unmasked itself",
    "substitution_precision": "plm data --dictionary fr=en-fr.txt",
    "inspect_languages": "plm --languages fr --keep-shared-words --word-list fr=words.fr.txt --data data --device cpu",
    "export_hf": "checkpoint.pt new",
    "average": "checkpoint.pt second.pt --out new.pt",
    "evaluate": "data --path checkpoint.pt --out new.json",
    "report": "a=results.json --out new",
    "predict": "checkpoint.pt --out new.tsv",
    "fairseq-train": shlex.join(map(str, training("data", "plm", "new", *FAIRSEQ_TRAIN, updates=2))).replace(" salt_fairseq ", f" {USER_DIR} "),
    "fairseq-validate": f"data --user-dir {USER_DIR} --task salt_sentence_pair --path checkpoint.pt --valid-subset test.en "
    "--batch-size 4 --cpu --num-workers 0",
}
PROGRESS = re.compile(r".*(\d+%\||\[\d\d:\d\d)")


def build(directory):
    """Make the directory."""
    directory.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        for name, text in FILES.items():
            Path(name).write_text(text, encoding="utf-8")
        tiny_plm(Path("plm"))
        call(binarize, "plm", "data", "--subset", "train=train.tsv", "valid=train.tsv", "test.en=train.tsv", "test.fr=test.fr.tsv")
        call(distill, *shlex.split(TYPED["distill"]))
        call(look_up, "plm", "data", "--dictionary", "fr=en-fr.txt")
        with mock.patch.object(sys, "argv", ["fairseq-train", *shlex.split(TYPED["fairseq-train"])]):
            train.cli_main()
        Path("new/checkpoint_last.pt").rename("checkpoint.pt")
        Path("new").rmdir()
        second = torch.load("checkpoint.pt", weights_only=True)
        second["model"]["classifier.bias"] += 1
        torch.save(second, "second.pt")
        call(evaluate, *shlex.split(TYPED["evaluate"].replace("new.json", "results.json")))


def listing(directory="."):
    """Every file below a directory to the hash of its content."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(directory).rglob("*") if path.is_file()}


def ended(command, words, stdin=b"the house\tthe cat\n"):
    """Run a command in this process as Python runs it in one of its own: ``(exit code, lines on stderr)``, progress bars
    left out. ``words`` is one string, as typed."""
    stderr, stdout, code = io.StringIO(), io.TextIOWrapper(io.BytesIO()), 0
    with (
        contextlib.redirect_stderr(stderr),
        contextlib.redirect_stdout(stdout),
        mock.patch.object(sys, "argv", [command, *shlex.split(words)]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
    ):
        try:
            COMMANDS[command]()
        except SystemExit as error:
            code = error.code
        except BaseException as error:
            print_sentence(type(error), error, error.__traceback__)
            code = 1
    return code, [line for line in stderr.getvalue().splitlines() if line.strip() and not PROGRESS.match(line)]


def changed(command, *changes):
    """The words of a command with some of them replaced, ``"old -> new"``, or added, ``"--more"``."""
    words = TYPED[command]
    for change in changes:
        old, arrow, new = change.partition(" -> ")
        assert not arrow or old in words, f"{old} is none of the words {words}"
        words = words.replace(old, new, 1) if arrow else f"{words} {change}"
    return words


def assert_refused(command, words, said, stdin=b"the house\tthe cat\n"):
    """The command, run in the working directory, ends with exit code 1 and one sentence that contains the strings ``said``,
    and every file is as it was."""
    before = listing()
    code, lines = ended(command, words, stdin)
    lines = [line for line in lines if not line.startswith("warning: ")]  # of the small world's few words and updates
    assert code == 1 and len(lines) == 1, (code, lines)
    assert lines[0].startswith("error: ") and len(lines[0]) < 700, lines
    for part in said if isinstance(said, (list, tuple)) else [said]:
        assert part in lines[0], lines[0]
    after = listing()
    assert after == before, sorted(set(after.items()) ^ set(before.items()))
