"""A second training into a directory goes on with the same settings only, and not while another one is at work."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from preprocess import binarize
from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import sha256
from salt_fairseq.storage.manifest import read_verified, write_with_checksum
from support.in_process import call
from support.running import QUICKSTART
from support.training import checkpoint, trained, training

pytestmark = pytest.mark.slow

FIRST = ["--disable-validation", "--augment", "fr", "--thresholds", "50%"]
CHANGED = [  # more words, what the sentence names
    (["--augment", "fr,de"], "--augment fr (now fr,de)"),
    (["--thresholds", "40%"], "--thresholds 50% (now 40%)"),
    (["--mixup", "none"], "--mixup instance (now none)"),
    (["--perturbation", "random"], "--perturbation none (now random)"),
    (["--one-stream"], "--one-stream False (now True)"),
    (["--max-length", 64], "--max-length 128 (now 64)"),
    (["--dropout", 0.2], "--dropout 0.1 (now 0.2)"),
    (["--seed", 7], "--seed 100003 (now 7)"),
    # pytorch/examples#816: the checkpoint's learning rate overrode that of the command line
    (["--lr", 0.5], "--lr [0.001] (now [0.5])"),
    # facebookresearch/fairseq#1908: with fp16, another optimizer passed fairseq's check
    (["--optimizer", "fused_adam"], "--optimizer adam (now fused_adam)"),
    (["--weight-decay", 0.1], "--weight-decay 0.0 (now 0.1)"),
    (["--warmup-updates", 3], "--warmup-updates 0 (now 3)"),
    (["--total-num-update", 40], "--total-num-update 30.0 (now 40.0)"),
    (["--clip-norm", 0], "--clip-norm 1.0 (now 0.0)"),
    # mlfoundations/open_lm#67: whether the batch size changed should be checked when training resumes
    (["--batch-size", 16], "--batch-size x --update-freq x processes [32] (now [16])"),
    # facebookresearch/fairseq#781: with another --max-tokens, the epoch began anew and had another length
    (["--max-tokens", 4096], "--max-tokens x --update-freq x processes None (now [4096])"),
    (["--update-freq", 2], "--batch-size x --update-freq x processes [32] (now [64])"),
    (["--best-checkpoint-metric", "accuracy"], "--best-checkpoint-metric loss (now accuracy)"),
]
ALLOWED = [
    ["--batch-size", 8, "--update-freq", 4],
    ["--save-interval-updates", 1],
    ["--log-interval", 1],
    ["--num-workers", 0],
    ["--max-epoch", 1],
    ["--lr", 0.5, "--reset-lr-scheduler"],
    ["--seed", 7, "--reset-optimizer"],
]


@pytest.fixture(scope="module")
def begun(bert_data, bert_plm, tmp_path_factory):
    directory = tmp_path_factory.mktemp("begun") / "ckpt"
    trained(training(bert_data, bert_plm, directory, *FIRST, updates=1))
    return directory


@pytest.mark.parametrize("words, said", CHANGED, ids=lambda value: str(value[0]) if isinstance(value, list) else "")
def test_other_settings(bert_data, bert_plm, begun, words, said):
    before = (begun / "checkpoint_last.pt").read_bytes()
    with pytest.raises(InputError, match=f"^{begun}/checkpoint_last.pt was trained with other settings: ") as error:
        trained(training(bert_data, bert_plm, begun, *FIRST, *words, updates=2))
    assert re.search(re.escape(said) + "[,;] ", str(error.value))
    assert str(error.value).endswith("; name another --save-dir, delete this one to train anew, or go on with the same settings")
    assert (begun / "checkpoint_last.pt").read_bytes() == before


@pytest.mark.parametrize("words", ALLOWED, ids=str)
def test_settings_that_may_change(bert_data, bert_plm, begun, tmp_path, words):
    shutil.copytree(begun, tmp_path / "ckpt")
    trained(training(bert_data, bert_plm, tmp_path / "ckpt", *FIRST, *words, updates=2))
    assert checkpoint(tmp_path / "ckpt")["optimizer_history"][-1]["num_updates"] == 2


# deepinv/deepinv#525: two trainings in one directory overwrote each other's files
def test_another_process(bert_data, bert_plm, begun, tmp_path):
    """The second one is refused as long as the first lives, which leaves no lock file."""
    held = shutil.copytree(begun, tmp_path / "ckpt")
    code = f"import fcntl, os; fcntl.flock(os.open({str(held)!r}, os.O_RDONLY), fcntl.LOCK_EX); print('locked', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match=f"^another process is training into {held}: wait until it has finished, or name"):
            trained(training(bert_data, bert_plm, held, *FIRST, updates=2))
        other.communicate(b"\n")
    trained(training(bert_data, bert_plm, held, *FIRST, updates=2))
    assert [path.name for path in held.iterdir()] == ["checkpoint_last.pt"]


def test_data_binarized_anew(bert_data, bert_plm, begun, tmp_path):
    """Data may be moved and added to, but the sentences and labels that are trained on stay the same."""
    data, held = shutil.copytree(bert_data, tmp_path / "data"), shutil.copytree(begun, tmp_path / "ckpt")
    call(binarize, bert_plm, data, "--subset", f"test.es={QUICKSTART / 'test.es.tsv'}")
    trained(training(data, bert_plm, held, *FIRST, updates=2))
    lines = (QUICKSTART / "train.en.tsv").read_text(encoding="utf-8").splitlines()
    lines[5] = lines[5][:-1] + str(1 - int(lines[5][-1]))  # one label
    (tmp_path / "train.tsv").write_text("\n".join(lines), encoding="utf-8")
    call(binarize, bert_plm, data, "--replace", "--subset", f"train={tmp_path / 'train.tsv'}")
    with pytest.raises(InputError, match=rf"settings: data {data} \(now {data}, with other sentences or labels\); name another --save-dir"):
        trained(training(data, bert_plm, held, *FIRST, updates=3))


def test_candidates_distilled_anew(bert_data, bert_plm, begun, tmp_path):
    """In the same place, from the same sentences: the substitutes are others."""
    data, held = shutil.copytree(bert_data, tmp_path / "data"), shutil.copytree(begun, tmp_path / "ckpt")
    french = data / "candidates" / "fr"
    values = read_verified(french / "meta.json", "")
    file = french / "input0" / "train.log_probs.npy"
    np.save(file, np.load(file) - 1)
    write_with_checksum(french / "meta.json", values | {"files": values["files"] | {"input0/train.log_probs.npy": sha256(file)}})
    with pytest.raises(InputError, match=rf"settings: {french} \(made anew since, with other substitutes\); name another --save-dir"):
        trained(training(data, bert_plm, held, *FIRST, updates=2))
