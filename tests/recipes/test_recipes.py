"""An experiment as typed, on a few sentences with a PLM that has random weights, in a folder with an awkward name."""

import os
import shutil
import signal
import subprocess
import time

import pytest
import torch
from fairseq.dataclass.initialize import hydra_init

from salt_fairseq.experiments.composition import composed
from salt_fairseq.experiments.updates import updates
from salt_fairseq.storage.files import sha256
from support.running import QUICKSTART, ROOT
from support.training import assert_equal_parameters, without_fairseqs_store

OUT = 'r\'és, é=(1) "2"'
PROCESSES = "distributed_training.distributed_world_size=2 distributed_training.distributed_init_method='tcp://127.0.0.1:1'"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".venv" / "bin" / "fairseq-hydra-train").exists(), reason="recipes run in .venv, which recipes/setup.sh makes"),
]


class Experiment:
    """One run of SALT in the generalized setting, 8 updates of 8 pairs."""

    def __init__(self, folder, plm):
        names = {"train": "valid.en", "valid": "valid.en", "test.en": "test.en", "test.fr": "test.fr"}
        words = ["bash", ROOT / "recipes" / "generalized.sh", "pawsx", "--subset", *(f"{name}={QUICKSTART / file}.tsv" for name, file in names.items())]
        words += ["--plm", plm, "--augment", "en,fr", "--seeds", "1", "--systems", "SALT", "--updates", "8", "--out", OUT, "--device", "cpu"]
        words += ["--", "common.cpu=true", "common.log_interval=1", "dataset.batch_size=8"]
        words += ["checkpoint.save_interval_updates=2", "dataset.validate_interval_updates=4"]
        self.folder, self.words, self.out, self.output = folder, [*map(str, words)], folder / OUT, folder / "output"

    def begin(self):
        with open(self.output, "w") as file:
            return subprocess.Popen(self.words, cwd=self.folder, stdout=file, stderr=file, start_new_session=True)

    def finish(self, process):
        """What it printed, the results, the files of the report, and the parameters."""
        assert process.wait(900) == 0, self.output.read_text()[-2000:]
        report = {path.name: path.read_bytes() for path in sorted((self.out / "generalized").iterdir())}
        results, path = (self.out / "SALT.1.generalized.json").read_text(), self.out / "SALT.1" / "checkpoint_best.pt"
        assert sha256(path) in results  # the one difference: fairseq writes into a checkpoint how long it has trained
        results = results.replace(sha256(path), "")
        return self.output.read_text(), results, report, torch.load(path, weights_only=True)["model"]

    def updates_logged(self):
        return (self.out / "SALT.1" / "log").read_text().count(" num_updates ")


@pytest.fixture(scope="module")
def experiment(xlmr_plm, tmp_path_factory):
    return Experiment(tmp_path_factory.mktemp("experiment"), xlmr_plm)


@pytest.fixture(scope="module")
def undisturbed(experiment):
    return experiment.finish(experiment.begin())


def test_from_data_to_report(experiment, undisturbed):
    said, results, report, _ = undisturbed
    assert '"test.en-fr":' in results and '"updates":8' in results and "table.md" in report
    assert f"== SALT, seed 1: 8 updates, output in {OUT}/SALT.1/log\n== SALT, seed 1: test avg. without en " in said
    assert "num_updates" not in said and "Warning" not in said and experiment.updates_logged() > 0


@pytest.mark.parametrize(
    "overrides, expected",
    [
        ([], 2 * 23),  # 60 pairs in 3 streams, 8 a step, 2 epochs
        (["+system=vanilla"], 2 * 8),
        ([PROCESSES], 2 * 12),
        ([PROCESSES, "optimization.update_freq=[4]"], 2 * 3),
        (["optimization.update_freq=[1,7]"], 23 + 4),
        (["optimization.update_freq=[7]", "optimization.skip_remainder_batch=true"], 2 * 3),
        (["optimization.max_epoch=3", "task.one_stream=true"], 3 * 8),
        (["torchrun"], 2 * 4),
    ],
)
def test_updates_of_the_epochs(experiment, undisturbed, overrides, expected, monkeypatch):
    data, plm = str(experiment.out / "data").replace("'", "\\'"), experiment.words[experiment.words.index("--plm") + 1]
    given = [f"task.data='{data}'", f"model.plm={plm}", "+system=SALT", "task.augment='en,fr'", "dataset.batch_size=8", "optimization.max_epoch=2"]
    if overrides == ["torchrun"]:  # 6 processes on machines with 2 GPUs each
        overrides = ["distributed_training.distributed_world_size=2"]
        for name, value in {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500", "WORLD_SIZE": "6", "RANK": "0"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    if "+system=vanilla" in overrides:
        given = given[:2] + given[4:]
    for override in overrides:
        given += override.split()
    with without_fairseqs_store():
        hydra_init("xnli")
        assert updates(composed(ROOT / "recipes" / "config", "xnli", given)) == expected


@pytest.mark.long
def test_killed_and_repeated(experiment, undisturbed):
    """The recipe and all that it started get SIGKILL while training and evaluating; the same command, at once, then ends with
    the parameters, results and tables of a run that nothing stopped."""
    out = experiment.out
    for path in out.glob("SALT.1*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for unfinished, product in (("SALT.1/checkpoint_last.pt", "SALT.1/trained"), (".SALT.1.generalized.json.evaluation", "SALT.1.generalized.json")):
        process = experiment.begin()
        while not (out / unfinished).exists():
            assert process.poll() is None, experiment.output.read_text()[-2000:]
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / product).exists(), "the kill came after what it was to interrupt"
    trained = experiment.updates_logged()
    _, *found, parameters = experiment.finish(experiment.begin())
    assert found == [*undisturbed[1:3]]
    assert_equal_parameters(parameters, undisturbed[3])
    assert experiment.updates_logged() == trained, "what was trained before the last kill is not trained again"
