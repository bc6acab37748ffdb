"""The experiment recipes as typed, on a few sentences with a PLM that has random weights."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time

import pytest
import torch

from salt_fairseq.storage.files import sha256
from support.running import QUICKSTART, ROOT
from support.training import assert_equal_parameters

needs_environment = pytest.mark.skipif(
    not (ROOT / ".venv" / "bin" / "fairseq-hydra-train").exists(), reason="recipes run in .venv, which recipes/setup.sh makes"
)


def recipe(name, *words, cwd=ROOT):
    return subprocess.run(["bash", ROOT / "recipes" / f"{name}.sh", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
@needs_environment
def test_finished_runs_are_kept_and_a_failed_one_does_not_stop_the_others(xlmr_plm, tmp_path):
    """Two seeds of RS-RP, vanilla and SALT; RS-DA fails without its lexicon; the ablation then trains what is new only."""
    (tmp_path / "neighbours.json").write_text(json.dumps({"house": ["home"]}))
    out, texts = tmp_path / "out", {name: QUICKSTART / f"{name}.tsv" for name in ("train.en", "valid.en", "test.en", "test.fr")}
    common = [
        "pawsx",
        "--subset",
        f"train={texts['train.en']}",
        f"valid={texts['valid.en']}",
        f"test.en={texts['test.en']}",
        f"test.fr={texts['test.fr']}",
        "--plm",
        xlmr_plm,
        "--augment",
        "en,fr",
        "--seeds",
        "1",
        "--updates",
        "3",
        "--out",
        out,
        "--device",
        "cpu",
    ]
    tiny = ["--", "common.cpu=true", "dataset.batch_size=8"]
    done = recipe("experiment", *common, "--systems", "vanilla RS-DA SALT", *tiny)
    assert done.returncode == 1 and done.stderr.strip().endswith("error: failed: RS-DA, seed 1"), done.stderr[-2000:]
    assert "has no lexicon 'synonyms'" in done.stderr
    first = {system: (out / f"{system}.1.json").read_bytes() for system in ("vanilla", "SALT")}
    results = json.loads(first["SALT"])
    assert results["checkpoints"][0]["updates"] == 3 and results["checkpoints"][0]["task"]["augment"] == "en,fr"
    assert set(results["checkpoints"][0]["accuracy"]) == {"test.en", "test.fr"}
    assert (out / "report" / "table.md").exists()
    shutil.rmtree(out / "SALT.1")  # were it trained or evaluated again, that would show
    done = recipe("generalized", *common, "--systems", "vanilla SALT-en-only", "--synonyms", tmp_path / "neighbours.json", *tiny)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {system: (out / f"{system}.1.json").read_bytes() for system in first} == first and not (out / "SALT.1").exists()
    assert "vanilla, seed 1: 3 updates" in done.stdout and "train_inner" not in (done.stdout + done.stderr).split("SALT-en-only")[0]
    matrix = json.loads((out / "SALT-en-only.1.generalized.json").read_text())["checkpoints"][0]["accuracy"]
    assert set(matrix) == {"test.en", "test.fr", "test.en-fr", "test.fr-en"}


@pytest.mark.slow
@needs_environment
def test_killed_at_every_stage_and_repeated(xlmr_plm, tmp_path):
    """The recipe and all that it started get SIGKILL while distilling, training and evaluating; the same command then ends with
    the parameters, results and tables of a run that nothing stopped."""
    out, subset = (
        tmp_path / "out",
        [f"{name}={QUICKSTART / file}.tsv" for name, file in (("train", "train.en"), ("valid", "valid.en"), ("test.en", "test.en"), ("test.fr", "test.fr"))],
    )
    words = [
        "bash",
        "recipes/experiment.sh",
        "pawsx",
        "--subset",
        *subset,
        "--plm",
        xlmr_plm,
        "--augment",
        "en,fr",
        "--seeds",
        "1",
        "--systems",
        "SALT",
        "--updates",
        "12",
        "--out",
        out,
        "--device",
        "cpu",
        "--",
        "common.cpu=true",
        "dataset.batch_size=8",
        "checkpoint.save_interval_updates=2",
        "dataset.validate_interval_updates=4",
    ]

    def begin():
        with open(tmp_path / "output", "w") as output:
            return subprocess.Popen([*map(str, words)], cwd=ROOT, stdout=output, stderr=output, start_new_session=True)

    def finished(process):
        output = tmp_path / "output"
        assert process.wait(300) == 0, output.read_text()[-2000:]
        report = {path.name: path.read_bytes() for path in sorted((out / "report").iterdir())}
        results, path = (out / "SALT.1.json").read_text(), out / "SALT.1" / "checkpoint_best.pt"
        assert sha256(path) in results  # the one difference: fairseq writes into a checkpoint how long it has trained
        return results.replace(sha256(path), ""), report, torch.load(path, weights_only=True)["model"]

    results, report, parameters = finished(begin())
    shutil.rmtree(out)
    for unfinished, product in (
        ("data/.candidates.distillation", "data/candidates/fr"),
        ("SALT.1/checkpoint_last.pt", "SALT.1/trained"),
        (".SALT.1.json.evaluation", "SALT.1.json"),
    ):
        process = begin()
        while not (out / unfinished).exists():
            assert process.poll() is None, (tmp_path / "output").read_text()[-2000:]
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / product).exists(), "the kill came after what it was to interrupt"
    found = finished(begin())
    assert found[:2] == (results, report)
    assert_equal_parameters(found[2], parameters)
    assert "train_inner" not in (tmp_path / "output").read_text(), "what was trained before the last kill is not trained again"


@pytest.mark.slow
@needs_environment
def test_runs_side_by_side_from_another_folder(xlmr_plm, tmp_path):
    """Two runs of an epoch by two jobs, one of them held by another process at first; then the same command by itself."""
    texts = [f"{name}={QUICKSTART / file}.tsv" for name, file in (("train", "valid.en"), ("valid", "valid.en"), ("test.en", "test.en"), ("test.fr", "test.fr"))]
    words = ["--subset", *texts, "--plm", xlmr_plm, "--augment", "en,fr", "--seeds", "1", "--out", "out", "--device", "cpu", "--jobs", "2"]
    tiny = ["--", "common.cpu=true", "dataset.batch_size=8", "optimization.max_epoch=1"]
    (tmp_path / "out" / "SALT.1").mkdir(parents=True)
    with open(tmp_path / "out" / "SALT.1" / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = recipe("pawsx", *words, *tiny, cwd=tmp_path)
    assert done.returncode == 0 and "1 runs are going on in another recipe, which will make the report: SALT, seed 1" in done.stdout, done.stderr[-2000:]
    assert not (tmp_path / "out" / "report").exists() and not (tmp_path / "out" / "SALT.1.json").exists()
    first = (tmp_path / "out" / "vanilla.1.json").read_bytes()
    done = recipe("pawsx", *words, *tiny, cwd=tmp_path)
    assert done.returncode == 0 and "SALT, seed 1" in done.stdout and "vanilla, seed 1" not in done.stdout, done.stderr[-2000:]
    assert (tmp_path / "out" / "vanilla.1.json").read_bytes() == first and (tmp_path / "out" / "report" / "table.md").exists()
    pairs = len((QUICKSTART / "valid.en.tsv").read_text(encoding="utf-8").splitlines()) - 1
    for system, streams in (("vanilla", 1), ("SALT", 3)):  # an epoch over all streams
        updates = json.loads((tmp_path / "out" / f"{system}.1.json").read_text())["checkpoints"][0]["updates"]
        assert updates == -(-pairs * streams // 8)


@pytest.mark.parametrize("name", ["xnli", "experiment", "quickstart", "setup", "test", "benchmark"])
def test_help_is_the_comment_at_the_head(name, tmp_path):
    done = recipe(name, "--help", cwd=tmp_path)
    comment = (ROOT / "recipes" / f"{name}.sh").read_text(encoding="utf-8").split("\n")[1]
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith(comment.removeprefix("# ")) and list(tmp_path.iterdir()) == []
    assert ("--jobs N" in done.stdout) == (name == "experiment") and "set -euo" not in done.stdout


@needs_environment
def test_second_recipe_of_one_directory_stops(tmp_path):
    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = recipe("xnli", "--out", tmp_path)
    assert done.returncode == 1 and done.stderr == (
        f"error: {tmp_path} is being written by another recipe: wait until it has finished, or choose another output directory\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    "words, expected", [(["--systems", "vanilla SALTY"], "error: unknown system SALTY"), (["--colour", "blue"], "error: unknown option --colour")]
)
@needs_environment
def test_usage_errors(words, expected):
    done = recipe("xnli", *words)
    assert done.returncode == 2 and expected in done.stderr
