"""The experiment recipes as typed, on a few sentences with a PLM that has random weights."""

import fcntl
import json
import shutil
import subprocess

import pytest
from conftest import QUICKSTART, ROOT

needs_environment = pytest.mark.skipif(
    not (ROOT / ".venv" / "bin" / "fairseq-hydra-train").exists(), reason="recipes run in .venv, which recipes/setup.sh makes"
)


def recipe(name, *words):
    return subprocess.run(["bash", f"recipes/{name}.sh", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=600)


@needs_environment
def test_finished_runs_are_kept_and_a_failed_one_does_not_stop_the_others(xlmr_plm, tmp_path):
    """Two seeds of RS-RP, vanilla and SALT; RS-DA fails without its lexicon; the ablation then trains what is new only."""
    (tmp_path / "neighbours.json").write_text(json.dumps({"house": ["home"]}))
    out, texts = tmp_path / "out", {name: QUICKSTART / f"{name}.tsv" for name in ("train.en", "valid.en", "test.en", "test.fr")}
    common = ["pawsx", "--subset", f"train={texts['train.en']}", f"valid={texts['valid.en']}", f"test.en={texts['test.en']}",
              f"test.fr={texts['test.fr']}", "--plm", xlmr_plm, "--augment", "en,fr", "--seeds", "1", "--updates", "3", "--out", out, "--device", "cpu"]
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


@needs_environment
def test_second_recipe_of_one_directory_stops(tmp_path):
    with open(tmp_path / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = recipe("xnli", "--out", tmp_path)
    assert done.returncode == 1 and done.stderr == (f"error: {tmp_path} is being written by another recipe: wait until it has "
                                                    "finished, or choose another output directory\n")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("words, expected", [
    (["--systems", "vanilla SALTY"], "error: unknown system SALTY"),
    (["--colour", "blue"], "error: unknown option --colour"),
])
@needs_environment
def test_usage_errors(words, expected):
    done = recipe("xnli", *words)
    assert done.returncode == 2 and expected in done.stderr
