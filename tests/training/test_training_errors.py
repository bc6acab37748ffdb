"""Mistakes in training and validation end with one sentence that names the culprit, and with exit code 1."""

import re
import shutil
import sys
from unittest import mock

import pytest
import torch
from fairseq_cli import train, validate

from salt_fairseq.errors import InputError
from support.edited import edited
from support.running import run
from support.training import USER_DIR, training

pytestmark = pytest.mark.slow


def error_of(main, *words):
    """The InputError of a fairseq command called in this process; the command line prints it after ``error: ``."""
    with mock.patch.object(sys, "argv", [main.__module__, *map(str, words)]), pytest.raises(InputError) as error:
        main()
    assert "\n" not in str(error.value)
    return str(error.value)


def sentence_of(command, *words):
    """The last line of stderr of a command that fails, checked for its form."""
    done = run(command, *words, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and done.stderr.count("error: ") == 1
    return last


def validation(data, path, subset="test.en"):
    return [data, "--user-dir", USER_DIR, "--task", "salt_sentence_pair", "--path", path, "--batch-size", 7, "--valid-subset", subset]


@pytest.fixture(scope="module")
def bert_checkpoint(bert_data, bert_plm, tmp_path_factory):
    directory = tmp_path_factory.mktemp("ckpt")
    words = [str(w) for w in training(bert_data, bert_plm, directory, "--disable-validation", updates=1)]
    with mock.patch.object(sys, "argv", ["fairseq-train", *words]):
        train.cli_main()
    return directory / "checkpoint_last.pt"


# facebookresearch/fairseq#4469: data with another dictionary is a size mismatch of the embeddings
def test_command_lines(bert_data, xlmr_plm, bert_dir, xlmr_data, bert_checkpoint, tmp_path):
    """The form: exit code 1, no traceback, the sentence last."""
    words = training(bert_data, xlmr_plm, tmp_path / "ckpt")
    assert re.fullmatch(
        f"error: {bert_data} was binarized with the vocabulary of bert.*, but {xlmr_plm} has that of xlmr.*: binarize the data with that PLM",
        sentence_of("fairseq-train", *words),
    )
    assert error_of(train.cli_main, *training(bert_data, bert_dir, tmp_path / "ckpt")) == (
        f"{bert_dir}/plm.json does not exist: make it with preprocess/import_plm.py"
    )
    sentence = error_of(validate.cli_main, *validation(xlmr_data, bert_checkpoint))
    assert re.fullmatch(
        f"{xlmr_data} was binarized with the vocabulary of xlmr.*, but the checkpoint has that of bert.*: binarize the data with that PLM", sentence
    )
    assert not (tmp_path / "ckpt" / "checkpoint_last.pt").exists()


def test_plm_missing(bert_data, tmp_path):
    words = training(bert_data, tmp_path / "plm", tmp_path / "ckpt")
    assert "plm.json does not exist: make it with preprocess/import_plm.py" in error_of(train.cli_main, *words)
    words[words.index("--plm") : words.index("--plm") + 2] = []
    assert error_of(train.cli_main, *words).startswith("--plm is missing: name the PLM directory")


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--augment", "en,sw"], "has no candidates in language 'sw' (it has: de, en, es, fr): run preprocess/distill.py"),
        (["--augment", "en", "--thresholds", "2"], "threshold '2': give a probability in [0, 1] or a fraction from 0% to 100%"),
        # facebookresearch/fairseq#2063: an assertion amid training, since one example is longer than --max-tokens
        (["--max-tokens", "100"], "--max-tokens 100 is less than --max-length 128"),
        (["--max-length", "161"], "--max-length 161 is more than the PLM's 160 positions"),
        (["--mixup-ratio", "1.5"], "--mixup-ratio 1.5 is outside [0, 1]"),
        (["--no-original"], "--no-original without --augment or --lexicon leaves nothing to train on"),
        (["--augment", "en", "--lexicon", "muse"], "--lexicon and --augment: substitutes come from a lexicon or from the PLM"),
        (["--lexicon", "muse"], "has no lexicon 'muse' (it has: none): run preprocess/look_up.py"),
        (["--perturbation", "random", "--radius", "-1"], "--radius -1.0 is outside [0, 1000]"),
        # facebookresearch/fairseq#999: looked for below --save-dir, not found, and training began at random weights
        (["--restore-file", "checkpoint_best.pt"], "--restore-file checkpoint_best.pt does not exist: name a checkpoint with its directory"),
        (["--valid-subset", "valid,valid.xx"], "has no subset 'valid.xx'; it has train, valid, test.en"),
    ],
)
def test_options(bert_data, bert_plm, tmp_path, options, sentence):
    words = training(bert_data, bert_plm, tmp_path / "ckpt", *options)
    assert sentence in error_of(train.cli_main, *words)


@pytest.mark.parametrize(
    "subset, sentence",
    [
        # facebookresearch/fairseq#3487: Dataset not found, without the names of those that there are
        ("test.xx", "has no subset 'test.xx'; it has train, valid, test.en, test.fr, test.de, test.ru"),
        ("test.en,test.en-xx", "has no subset 'test.xx'"),
        ("test.en-fr-de", "'test.en-fr-de': the generalized setting takes two languages"),
    ],
)
def test_unknown_subset(bert_data, bert_checkpoint, subset, sentence):
    assert sentence in error_of(validate.cli_main, *validation(bert_data, bert_checkpoint, subset))


def test_no_data_directory(bert_plm, bert_checkpoint, tmp_path):
    sentence = "meta.json does not exist: make it with preprocess/binarize.py"
    assert sentence in error_of(train.cli_main, *training(tmp_path, bert_plm, tmp_path / "ckpt"))
    assert sentence in error_of(validate.cli_main, *validation(tmp_path, bert_checkpoint))


@pytest.mark.parametrize(
    "name",
    [
        "input0/train.bin",
        "input1/train.idx",
        "label/train.bin",
        "candidates/fr/input1/train.bin",
        "candidates/fr/input0/train.log_probs.npy",
        "input1/valid.bin",
        "id/valid.txt",
    ],
)
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_data(bert_data, bert_plm, tmp_path, name, damage):
    """A file of the data directory that ends early, or is not there, is named."""
    data = shutil.copytree(bert_data, tmp_path / "data")
    whole = (data / name).read_bytes()
    (data / name).unlink()
    if damage == "cut":
        (data / name).write_bytes(whole[: len(whole) // 2])
    sentence = error_of(train.cli_main, *training(data, bert_plm, tmp_path / "ckpt", "--augment", "fr"))
    assert str(data) in sentence and name.split("/")[-1].split(".")[0] in sentence
    assert "binarize" in sentence or "distill" in sentence


def test_damaged_metadata(bert_data, bert_plm, tmp_path):
    data = shutil.copytree(bert_data, tmp_path / "data")
    text = (data / "meta.json").read_text()
    (data / "meta.json").write_text(text[:-20])
    sentence = error_of(train.cli_main, *training(data, bert_plm, tmp_path / "ckpt"))
    assert "meta.json cannot be read" in sentence and sentence.endswith("make it again with preprocess/binarize.py")


def test_altered_plm(bert_data, bert_plm, tmp_path):
    """One changed weight, a missing file, and a description without its sizes."""
    plm = shutil.copytree(bert_plm, tmp_path / "plm")
    words = training(bert_data, plm, tmp_path / "ckpt")
    saved = torch.load(plm / "model.pt", weights_only=True)
    saved["model"]["encoder.embed_tokens.weight"][7, 0] += 1
    torch.save(saved, plm / "model.pt")
    assert error_of(train.cli_main, *words).startswith(f"{plm}/model.pt is not the file plm.json describes: import")
    (plm / "model.pt").unlink()
    assert f"{plm}/model.pt does not exist" in error_of(train.cli_main, *words)
    with edited(plm / "plm.json") as description:
        del description["architecture"]["layers"]
    assert f"{plm}/plm.json does not describe a PLM" in error_of(train.cli_main, *words)
