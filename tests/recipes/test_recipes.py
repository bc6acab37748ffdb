"""An experiment as typed, on a few sentences with a PLM that has random weights, in a folder with an awkward name."""

import os
import shutil
import signal
import subprocess
import time

import pytest
import torch

from salt_fairseq.storage.files import sha256
from salt_fairseq.updates import composed, updates
from support.running import QUICKSTART, ROOT
from support.training import assert_equal_parameters

OUT = 'r\'és, é=(1) "2"'
needs_environment = pytest.mark.skipif(
    not (ROOT / ".venv" / "bin" / "fairseq-hydra-train").exists(), reason="recipes run in .venv, which recipes/setup.sh makes"
)


@pytest.mark.slow
@needs_environment
def test_killed_and_repeated(xlmr_plm, tmp_path):
    """The recipe and all that it started get SIGKILL while training and evaluating; the same command, at once, then ends with
    the parameters, results and tables of a run that nothing stopped."""
    names = {"train": "valid.en", "valid": "valid.en", "test.en": "test.en", "test.fr": "test.fr"}
    out, output = tmp_path / OUT, tmp_path / "output"
    words = ["bash", ROOT / "recipes" / "generalized.sh", "pawsx", "--subset", *(f"{name}={QUICKSTART / file}.tsv" for name, file in names.items())]
    words += ["--plm", xlmr_plm, "--augment", "en,fr", "--seeds", "1", "--systems", "SALT", "--updates", "8", "--out", OUT, "--device", "cpu"]
    words += ["--", "common.cpu=true", "dataset.batch_size=8", "checkpoint.save_interval_updates=2", "dataset.validate_interval_updates=4"]

    def begin():
        with open(output, "w") as file:
            return subprocess.Popen([*map(str, words)], cwd=tmp_path, stdout=file, stderr=file, start_new_session=True)

    def finished(process):
        assert process.wait(900) == 0, output.read_text()[-2000:]
        report = {path.name: path.read_bytes() for path in sorted((out / "generalized").iterdir())}
        results, path = (out / "SALT.1.generalized.json").read_text(), out / "SALT.1" / "checkpoint_best.pt"
        assert sha256(path) in results  # the one difference: fairseq writes into a checkpoint how long it has trained
        return results.replace(sha256(path), ""), report, torch.load(path, weights_only=True)["model"]

    results, report, parameters = finished(begin())
    said = output.read_text()
    assert '"test.en-fr":' in results and '"updates":8' in results
    assert f"== SALT, seed 1: 8 updates, output in {OUT}/SALT.1/log\n== SALT, seed 1: test avg. without en " in said
    assert "train_inner" not in said and "Warning" not in said and "train_inner" in (out / "SALT.1" / "log").read_text()
    for path in out.glob("SALT.1*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for unfinished, product in (("SALT.1/checkpoint_last.pt", "SALT.1/trained"), (".SALT.1.generalized.json.evaluation", "SALT.1.generalized.json")):
        process = begin()
        while not (out / unfinished).exists():
            assert process.poll() is None, output.read_text()[-2000:]
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / product).exists(), "the kill came after what it was to interrupt"
    trained = (out / "SALT.1" / "log").read_text().count("train_inner")
    found = finished(begin())
    assert found[:2] == (results, report)
    assert_equal_parameters(found[2], parameters)
    assert (out / "SALT.1" / "log").read_text().count("train_inner") == trained, "what was trained before the last kill is not trained again"


@pytest.mark.parametrize(
    "overrides, expected",
    [
        ([], 2 * 300),  # 480 pairs in 5 streams, 8 a step, 2 epochs
        (["+system=vanilla"], 2 * 60),
        (["distributed_training.distributed_world_size=2"], 2 * 150),
        (["distributed_training.distributed_world_size=2", "optimization.update_freq=[4]"], 2 * 38),
        (["optimization.update_freq=[1,7]"], 300 + 43),
        (["optimization.update_freq=[7]", "optimization.skip_remainder_batch=true"], 2 * 42),
        (["optimization.max_epoch=3", "task.one_stream=true"], 3 * 60),
    ],
)
def test_updates_of_the_epochs(xlmr_data, xlmr_plm, overrides, expected):
    given = [f"task.data={xlmr_data}", f"model.plm={xlmr_plm}", "dataset.batch_size=8", "optimization.max_epoch=2", *overrides]
    assert updates(composed(ROOT / "recipes" / "config", "xnli", given)) == expected


def test_updates_under_torchrun(xlmr_data, xlmr_plm, monkeypatch):
    """Processes that the environment names, on a machine with several GPUs."""
    for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500", "WORLD_SIZE": "6", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    given = [f"task.data={xlmr_data}", f"model.plm={xlmr_plm}", "dataset.batch_size=8", "distributed_training.distributed_world_size=2"]
    assert updates(composed(ROOT / "recipes" / "config", "xnli", given)) == 50
