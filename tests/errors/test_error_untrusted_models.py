"""Models of strangers: neither what a pickle nor what a checkpoint's configuration would run is run."""

import json
import pickle
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils

from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description
from salt_fairseq.storage.files import sha256
from support.edited import edit_checkpoint, setting
from support.small_world import COMMANDS, assert_refused, changed, ended

pytestmark = pytest.mark.slow

# facebookresearch/fairseq#4869: fairseq evaluates lines of a file as Python, too
CODE = "__import__('pathlib').Path('ran').touch() or [(4, 10, 5)]"  # wav2vec2 evaluates this setting
EVIL = {"_name": "wav2vec2", "conv_feature_layers": CODE}
BUILT = {  # command, changes of its words, the file; fairseq would build the model of each
    "validate": ("fairseq-validate", [], "checkpoint.pt"),
    "restore": ("fairseq-train", ["--restore-file checkpoint.pt"], "checkpoint.pt"),
    "continue": ("fairseq-train", ["--save-dir new -> --save-dir old"], "old/checkpoint_last.pt"),
    "fine-tune": ("fairseq-train", ["--finetune-from-model checkpoint.pt"], "checkpoint.pt"),
    "evaluate": ("evaluate", [], "checkpoint.pt"),
    "predict": ("predict", [], "checkpoint.pt"),
    "export": ("export_hf", [], "checkpoint.pt"),
}


@pytest.mark.parametrize("case", BUILT)
@pytest.mark.parametrize(
    "change, said",
    [
        (setting(model=EVIL), "holds the model wav2vec2: a checkpoint trained with --arch salt_encoder is needed"),
        (
            setting(task___name="translation"),
            "holds the task translation: a checkpoint trained with --task salt_sentence_pair or salt_token_labelling is needed",
        ),
        (setting(criterion___name="a\nb"), "holds the criterion 'a\\nb': a checkpoint trained with --criterion salt_classification is needed"),
    ],
    ids=["model", "task", "criterion"],
)
def test_another_project_is_not_built(case, change, said, here):
    command, changes, path = BUILT[case]
    Path(path).parent.mkdir(exist_ok=True)
    if path != "checkpoint.pt":
        shutil.copy("checkpoint.pt", path)
    edit_checkpoint(change, path)()
    assert_refused(command, changed(command, *changes), f"{path} {said}")
    assert not Path("ran").exists()


def test_overrides_do_not_name_another_model(here):
    assert_refused("fairseq-validate", changed("fairseq-validate", f"--model-overrides {shlex.quote(repr({'model': EVIL}))}"), "holds the model wav2vec2")
    assert not Path("ran").exists()


def test_a_second_model_of_an_ensemble_is_not_built(here):
    shutil.copy("checkpoint.pt", "evil.pt")
    edit_checkpoint(setting(model=EVIL), "evil.pt")()
    with pytest.raises(InputError, match="^evil.pt holds the model wav2vec2"):
        checkpoint_utils.load_model_ensemble_and_task(["checkpoint.pt", "evil.pt"])
    assert not Path("ran").exists()


def test_fairseq_would_run_it(here, monkeypatch):
    """The patch may go once this fails."""
    edit_checkpoint(setting(model=EVIL))()
    monkeypatch.setattr(checkpoint_utils, "load_checkpoint_to_cpu", checkpoint_utils.load_checkpoint_to_cpu.__wrapped__)
    with pytest.raises(Exception):
        checkpoint_utils.load_model_ensemble_and_task.__wrapped__(["checkpoint.pt"])
    assert Path("ran").exists()


class Payload:
    """Pickled code: whoever unpickles it makes a file."""

    def __reduce__(self):
        return Path.touch, (Path("ran"),)


# command, changes of its words, the file with the payload
OPENED = {
    # pytorch/pytorch#31875, vllm-project/vllm#12366: weights that run code when they are loaded
    "Hugging Face weights": ("import_plm", [], "hf/pytorch_model.bin"),
    "fairseq release": ("import_plm", ["hf -> xlmr"], "xlmr/model.pt"),
    "PLM to distill": ("distill", [], "plm/model.pt"),
    "PLM to train a head": ("train_lm_head", [], "plm/model.pt"),
    "PLM to measure": ("substitution_precision", ["--neighbours"], "plm/model.pt"),
    "PLM to inspect": ("inspect_languages", [], "plm/model.pt"),
    "PLM to export": ("export_hf", ["checkpoint.pt -> plm"], "plm/model.pt"),
    "PLM to fine-tune": ("fairseq-train", [], "plm/model.pt"),
    "checkpoint to average": ("average", [], "checkpoint.pt"),
    "checkpoint to evaluate": ("evaluate", [], "checkpoint.pt"),
    "checkpoint to predict": ("predict", [], "checkpoint.pt"),
    "checkpoint to export": ("export_hf", [], "checkpoint.pt"),
    "checkpoint to validate": ("fairseq-validate", [], "checkpoint.pt"),
    "checkpoint to restore": ("fairseq-train", ["--restore-file checkpoint.pt"], "checkpoint.pt"),
    "checkpoint to continue": ("fairseq-train", ["--save-dir new -> --save-dir old"], "old/checkpoint_last.pt"),
    "checkpoint to fine-tune": ("fairseq-train", ["--finetune-from-model checkpoint.pt"], "checkpoint.pt"),
    "candidates": ("show_candidates", [], "data/candidates/fr/input0/train.log_probs.npy"),
    "unfinished training": ("train_lm_head", [], ".new.training/checkpoint.pt"),
}


def prepare(path):
    """What stands around the file with the payload in a real case."""
    if path.startswith("hf"):
        Path("hf").mkdir()
        Path("hf/config.json").write_text(
            json.dumps({"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12})
        )
    for name in ("dict.txt", "sentencepiece.bpe.model") if path.startswith("xlmr") else ():
        Path("xlmr").mkdir(exist_ok=True)
        Path("xlmr", name).write_bytes(b"")
    if path.startswith(".new"):  # as after a kill
        from preprocess import train_lm_head

        def killed(training, text, args, resumable):
            resumable.save("checkpoint.pt", {"steps": 1, **training.state()})
            raise RuntimeError

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(train_lm_head, "train", killed)
            ended("train_lm_head", changed("train_lm_head"))
    Path(path).parent.mkdir(parents=True, exist_ok=True)


@pytest.mark.parametrize("container", ["zip", "of old versions"])
@pytest.mark.parametrize("case", OPENED)
def test_payload_does_not_run(case, container, here):
    command, changes, path = OPENED[case]
    prepare(path)
    # All else that the file should hold, too, where it is there.
    content = torch.load(path, weights_only=True) if path.endswith(".pt") and Path(path).is_file() else {}
    torch.save({**content, "payload": Payload()}, path, _use_new_zipfile_serialization=container == "zip")
    if path.startswith("plm/"):  # whoever gives the file away gives a description that fits
        description = Description.load("plm")
        description.sha256["model.pt"] = sha256(path)
        description.save("plm")
    assert_refused(command, changed(command, *changes), path.split("/")[-1])
    assert not Path("ran").exists()
    torch.load(path, weights_only=False)  # the payload is a real one
    assert Path("ran").exists()


def test_every_command_that_opens_a_model_is_tested():
    no_model = {"binarize", "target_vocabulary", "look_up", "report"}
    assert {command for command, _, _ in OPENED.values()} == set(COMMANDS) - no_model


# facebookresearch/fairseq#5603, #5610: since torch 2.6, fairseq cannot load checkpoints that hold other Python objects
def test_fairseqs_default_is_the_safe_one(here):
    """fairseq's own calls of torch.load say nothing; since torch 2.6 that means tensors and plain values alone."""
    original = checkpoint_utils.load_checkpoint_to_cpu.__wrapped__  # without this project's check
    torch.save({"cfg": None, "args": None, "model": {}, "payload": Payload()}, "bad.pt")
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        original("bad.pt")
    assert not Path("ran").exists()
    shutil.copy("checkpoint.pt", "good.pt")
    assert original("good.pt")["cfg"]["model"]["_name"] == "salt_encoder"
