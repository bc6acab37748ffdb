"""Outputs that would cost another file: refused before any work, in one sentence, and every file is as it was."""

import shutil
from pathlib import Path

import pytest

from support.small_world import TYPED, assert_refused, changed, ended


@pytest.fixture
def here(world, tmp_path, monkeypatch):
    """A copy of the small world as the working directory."""
    monkeypatch.chdir(shutil.copytree(world, tmp_path / "here"))


NOT_EARLIER = "is not an earlier output of this command: choose another path, or delete it"
READ = "is read by this command: choose another output path"
CASES = [
    *(("evaluate", f"new.json -> {name}", NOT_EARLIER) for name in ("data/meta.json", "data/id/train.txt", "train.tsv", "plm/plm.json", "plm/model.pt")),
    ("evaluate", "new.json -> checkpoint.pt", READ),
    ("evaluate", "new.json -> ./data/../checkpoint.pt", READ),
    ("evaluate", "new.json -> link.pt", READ),
    ("predict", "new.tsv -> checkpoint.pt", READ),
    ("predict", "new.tsv -> link.pt", READ),
    *(("predict", f"new.tsv -> {name}", NOT_EARLIER) for name in ("train.tsv", "words.fr.txt", "data/label/dict.txt", "plm/dict.txt", "results.json")),
    *(("show_candidates", f"--html {name}", NOT_EARLIER) for name in ("plm/plm.json", "plm/tokenizer.json", "data/meta.json", "results.json", "text.txt")),
    ("report", "--out new -> --out data", "data is a directory that preprocess/binarize.py wrote"),
    ("report", "--out new -> --out plm", "plm is a directory that preprocess/import_plm.py wrote"),
    ("average", "new.pt -> second.pt", NOT_EARLIER),
    ("average", "new.pt -> results.json", "results.json is not a checkpoint"),
    ("import_plm", "hf new -> plm plm", "use it as it is"),
    ("export_hf", "new -> exported", "exported/checkpoint.pt, which is read by this command"),
    ("export_hf", "new -> plm", "holds no salt_fairseq.json"),
    ("binarize", "plm new -> plm again --replace", "again holds again/mine.tsv, which is read by this command: choose another output path"),
]


@pytest.mark.parametrize("command, change, said", CASES, ids=[f"{command} {change}" for command, change, _ in CASES])
def test_refused(command, change, said, here):
    Path("link.pt").symlink_to("checkpoint.pt")
    words = changed(command, change)
    if command == "export_hf" and "exported" in change:
        ended("export_hf", "checkpoint.pt exported")
        Path("checkpoint.pt").rename("exported/checkpoint.pt")
        words = words.replace("checkpoint.pt", "exported/checkpoint.pt")
    if command == "binarize":
        shutil.copytree("data", "again")
        shutil.copy("train.tsv", "again/mine.tsv")
        words = words.replace("train=train.tsv", "train=again/mine.tsv")
    assert_refused(command, words, said)


@pytest.mark.parametrize(
    "command, words, out",
    [
        ("evaluate", TYPED["evaluate"], "new.json"),
        ("predict", TYPED["predict"], "new.tsv"),
        ("show_candidates", TYPED["show_candidates"] + " --html new.html", "new.html"),
    ],
)
def test_an_earlier_output_is_replaced(command, words, out, here):
    """So is an empty file; the next run's output is the same."""
    Path(out).touch()
    written = set()
    for _ in range(2):
        code, lines = ended(command, words)
        assert code == 0 and all(line.startswith("warning: checkpoint.pt: never learned") for line in lines)
        written.add(Path(out).read_bytes())
    assert len(written) == 1 and b"" not in written
