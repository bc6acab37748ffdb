"""A training that was killed in the middle of an epoch ends with the parameters of one that was not, bit for bit."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fairseq_cli import train

from preprocess import look_up
from salt_fairseq.errors import InputError
from support.edited import edited
from support.in_process import call
from support.running import ROOT
from support.training import assert_equal_parameters, checkpoint, trained, training, watched_rank

pytestmark = pytest.mark.slow

SAVED, UPDATES = 17, 19  # 480 pairs, 32 a step: update 17 is the second of the second epoch
OFTEN = ["--disable-validation", "--save-interval-updates", SAVED, "--max-epoch", 2]
SYSTEMS = {
    "mixup": ["--augment", "en,fr,es,de"],
    "mixup-token": ["--augment", "en,fr", "--mixup", "token"],
    "mixup-scalar": ["--augment", "en,fr", "--mixup", "scalar", "--update-freq", 2, "--batch-size", 16],
    "without-mixup": ["--augment", "fr,de", "--mixup", "none"],
    "random": ["--perturbation", "random"],
    "fused-adam": ["--augment", "en,fr", "--optimizer", "fused_adam"],
    "adversarial": ["--perturbation", "adversarial", "--ascent-steps", 2],
    "redrawn-words": ["--lexicon", "muse", "--variants", 2, "--redraw", "--mixup", "none", "--no-original"],
    "fixed": ["--lexicon", "muse", "--mixup", "fixed"],
}


@pytest.fixture(scope="module")
def data(bert_data, bert_plm, tmp_path_factory):
    """The quickstart's data with candidates, and a lexicon of a few words."""
    directory = shutil.copytree(bert_data, tmp_path_factory.mktemp("resumed") / "data")
    (directory.parent / "fr.txt").write_text("the le\nis est\na un\na une\nin dans\nof de\n")
    call(look_up, bert_plm, directory, "--name", "muse", "--dictionary", f"fr={directory.parent / 'fr.txt'}")
    return directory


def assert_equal_states(a, b):
    """Parameters, Adam's moments, and where in the data they are."""
    assert_equal_parameters(a["model"], b["model"])
    assert a["extra_state"]["train_iterator"] == b["extra_state"]["train_iterator"]
    for i, moments in a["last_optimizer_state"]["state"].items():
        assert all(torch.equal(moments[name], b["last_optimizer_state"]["state"][i][name]) for name in ("exp_avg", "exp_avg_sq"))


@pytest.mark.parametrize("system", SYSTEMS)
def test_continued(data, bert_plm, tmp_path, system):
    """From the checkpoint in the middle of the second epoch, as checkpoint_last.pt is found after a kill."""
    words = [*OFTEN, "--one-stream", *SYSTEMS[system]]
    trained(training(data, bert_plm, tmp_path / "whole", *words, updates=UPDATES))
    whole = checkpoint(tmp_path / "whole")
    assert whole["optimizer_history"][-1]["num_updates"] == UPDATES
    (tmp_path / "killed").mkdir()
    middle = shutil.copy(tmp_path / "whole" / f"checkpoint_2_{SAVED}.pt", tmp_path / "killed" / "checkpoint_last.pt")
    with pytest.raises(AssertionError):
        assert_equal_parameters(torch.load(middle, weights_only=True)["model"], whole["model"])
    trained(training(data, bert_plm, tmp_path / "killed", *words, updates=UPDATES))
    assert_equal_states(checkpoint(tmp_path / "killed"), whole)


ENDED = {  # more words, --max-update of the first and of the second command, updates taken
    "updates": ([], 3, 3, 3),
    "fewer updates": ([], 3, 2, 3),
    "epochs": (["--max-epoch", 1, "--one-stream", "--update-freq", 8], 0, 0, 2),
    "hours": (["--stop-time-hours", 1e-9], 0, 0, 1),
    "patience": (["--patience", 2, "--validate-interval-updates", 1, "--lr", 1e-9], 20, 20, 3),
}


@pytest.mark.parametrize("limit", ENDED)
def test_ended(data, bert_plm, tmp_path, limit):
    """The same command again takes no update, and leaves every file as it is."""
    more, *updates, taken = ENDED[limit]
    files = []
    for limit_of_updates in updates:
        vars(train.should_stop_early).clear()  # as in a process of its own
        trained(
            training(data, bert_plm, tmp_path, *SYSTEMS["mixup"], *([] if limit == "patience" else ["--disable-validation"]), *more, updates=limit_of_updates)
        )
        files.append({path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()})
    assert checkpoint(tmp_path)["optimizer_history"][-1]["num_updates"] == taken
    assert files[0] == files[1]


@pytest.mark.long
def test_killed(data, bert_plm, tmp_path):
    """SIGKILL as soon as there are checkpoints, and the same command again."""
    words = [*SYSTEMS["mixup"], "--disable-validation", "--save-interval-updates", 2]
    trained(training(data, bert_plm, tmp_path / "whole", *words, updates=40))
    command = [Path(sys.executable).parent / "fairseq-train", *training(data, bert_plm, tmp_path / "killed", *words, updates=40)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([*map(str, command)], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while len(list((tmp_path / "killed").glob("*.pt"))) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = int(max((tmp_path / "killed").glob("checkpoint_1_*.pt"), key=lambda p: int(p.stem.split("_")[-1])).stem.split("_")[-1])
    assert 4 <= done < 40
    trained(command[1:])
    assert_equal_states(checkpoint(tmp_path / "killed"), checkpoint(tmp_path / "whole"))


@pytest.mark.long
def test_two_processes(data, bert_plm, tmp_path):
    """Equal parameters in both, other examples and other mixup draws in each; the saved model is theirs; and the same from a
    checkpoint on."""

    def run(save_dir):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = training(data, bert_plm, save_dir, *SYSTEMS["mixup"], "--disable-validation", "--save-interval-updates", 3, updates=4)
        torch.multiprocessing.spawn(watched_rank, (words, port, tmp_path), nprocs=2)
        return [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]

    first, second = run(tmp_path / "whole")
    whole = checkpoint(tmp_path / "whole")
    assert_equal_parameters(first["state"], second["state"])
    assert_equal_parameters(first["state"], whole["model"])
    start = torch.load(bert_plm / "model.pt", weights_only=True)["model"]
    assert not torch.equal(first["state"]["pooler.weight"], start["pooler.weight"])
    draws = torch.cat([first["draws"], second["draws"]])
    assert draws.shape == (8, 4) and len(draws.unique()) == 32
    assert len(set(first["ids"] + second["ids"])) == len(first["ids"] + second["ids"]) == 8 * 32
    (tmp_path / "killed").mkdir()
    shutil.copy(tmp_path / "whole" / "checkpoint_1_3.pt", tmp_path / "killed" / "checkpoint_last.pt")
    run(tmp_path / "killed")
    assert_equal_states(checkpoint(tmp_path / "killed"), whole)


def test_labels_of_another_order(data, bert_plm, tmp_path):
    """Going on with data whose labels are numbered otherwise would train the wrong way round."""
    trained(training(data, bert_plm, tmp_path / "ckpt", "--disable-validation", updates=1))
    other = shutil.copytree(data, tmp_path / "other")
    with edited(other / "meta.json") as meta:
        meta["labels"] = meta["labels"][::-1]
    with pytest.raises(InputError) as error:
        trained(training(other, bert_plm, tmp_path / "ckpt", "--disable-validation", updates=2))
    assert str(error.value) == f"the checkpoint tells 0, 1 apart, but {other} has 1, 0: go on with the data that it was trained on"
