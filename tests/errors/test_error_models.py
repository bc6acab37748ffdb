"""Models that lack something, have other shapes or hold NaN, and what pickles would run: refused with one sentence.

Damaged sources of a PLM: test_import_errors.py and test_fairseq_import.py.
"""

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
from support.small_world import COMMANDS, assert_refused, changed, ended

pytestmark = pytest.mark.slow

NAN = float("nan")


def edit_checkpoint(change, path="checkpoint.pt"):
    """Change what a checkpoint holds; ``change`` gets its content and may return another one."""

    def damage():
        saved = torch.load(path, weights_only=True)
        saved = change(saved) or saved
        torch.save(saved, path)

    return damage


def edit_plm(change):
    """Change the tensors of a PLM directory, whose description is then made to fit."""

    def damage():
        edit_checkpoint(lambda saved: change(saved["model"]), "plm/model.pt")()
        description = Description.load("plm")
        description.sha256["model.pt"] = sha256("plm/model.pt")
        description.save("plm")

    return damage


def without(name):
    def edit(state):
        del state[name]

    return edit


def replaced(name, change):
    def edit(state):
        state[name] = change(state[name])

    return edit


def model(edit):
    return edit_checkpoint(lambda saved: edit(saved["model"]))


def architecture(**sizes):
    """Change sizes in the description of a checkpoint's PLM."""

    def edit(saved):
        description = json.loads(saved["cfg"]["model"]["plm_description"])
        description["architecture"].update(sizes)
        saved["cfg"]["model"]["plm_description"] = json.dumps(description)

    return edit_checkpoint(edit)


def described(text):
    def edit(saved):
        saved["cfg"]["model"]["plm_description"] = text

    return edit_checkpoint(edit)


STRETCHED = torch.ones(1).expand(1 << 40)  # 4 TiB, of which a file holds four bytes
SPARSE = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1), (1 << 40,), check_invariants=True)
NOT_SO_MANY = "holds a tensor of shape (1099511627776,) and not as many numbers, which torch.save never writes for a model"
FC1, HEAD, TOKENS = "encoder.layers.0.fc1.weight", "lm_head.dense.weight", "encoder.embed_tokens.weight"
MISFIT = "plm/model.pt does not fit plm.json"
CASES = {
    "PLM lacks a tensor": ("distill", edit_plm(without(FC1)), MISFIT),
    # huggingface/transformers#2901: a BERT without its LM head predicted random tokens
    "PLM lacks its head": ("distill", edit_plm(without(HEAD)), MISFIT),
    "PLM of other shapes": ("distill", edit_plm(replaced(FC1, lambda t: t[:3])), MISFIT),
    "PLM with text for a tensor": ("distill", edit_plm(replaced(FC1, lambda t: "weights")), MISFIT),
    "PLM with NaN": ("distill", edit_plm(replaced(FC1, lambda t: t * NAN)), "not finite"),
    "PLM with a stretched tensor": ("distill", edit_plm(replaced(FC1, lambda t: STRETCHED)), f"plm/model.pt {NOT_SO_MANY}"),
    "PLM with a sparse tensor": ("distill", edit_plm(replaced(FC1, lambda t: SPARSE)), f"plm/model.pt {NOT_SO_MANY}"),
    "checkpoint with a stretched tensor": ("evaluate", model(replaced(FC1, lambda t: STRETCHED)), f"checkpoint.pt {NOT_SO_MANY}"),
    "checkpoint with a stretched moment": ("predict", edit_checkpoint(lambda s: s.update(last_optimizer_state=[STRETCHED])), f"checkpoint.pt {NOT_SO_MANY}"),
    "checkpoint for fairseq with a stretched tensor": ("fairseq-validate", model(replaced(FC1, lambda t: STRETCHED)), f"checkpoint.pt {NOT_SO_MANY}"),
    "PLM with more": ("train_lm_head", edit_plm(lambda state: state.update(more=torch.ones(2))), MISFIT),
    "PLM to train lacks a tensor": ("fairseq-train", edit_plm(without(FC1)), "model.pt does not fit plm.json: import"),
    "PLM to train of other shapes": ("fairseq-train", edit_plm(replaced(FC1, lambda t: t[:3])), "model.pt does not fit plm.json: import"),
    "PLM to train with NaN": ("fairseq-train", edit_plm(replaced(FC1, lambda t: t * NAN)), "not finite"),
    "checkpoint lacks a tensor": (
        "evaluate",
        model(without(FC1)),
        f'the weights do not fit the model that its configuration describes (Missing key(s) in state_dict: "{FC1}"',
    ),
    # huggingface/transformers#1348: a classifier for three classes in a model for two
    "checkpoint of other shapes": ("predict", model(replaced(FC1, lambda t: t[:, :3])), f"size mismatch for {FC1}"),
    # fcdl94/MiB#18: a loss of NaN, a checkpoint saved nonetheless, and only class 0 is ever right
    "checkpoint with NaN": ("export_hf", model(replaced(FC1, lambda t: t * NAN)), f"the weights {FC1} are not finite: training diverged, use another"),
    "checkpoint without classifier": ("predict", model(without("classifier.weight")), "checkpoint.pt lacks classifier.weight"),
    "checkpoint with a number for a tensor": ("evaluate", model(replaced(FC1, lambda t: 3)), "its weights are no tensors: train again"),
    "checkpoint without configuration": ("evaluate", edit_checkpoint(without("cfg")), "is not a fine-tuned checkpoint: name a file that"),
    "checkpoint of nothing": ("export_hf", edit_checkpoint(lambda s: [1, 2]), "is not a fine-tuned checkpoint"),
    "checkpoint described by a list": ("predict", described("[]"), "does not describe a PLM"),
    "checkpoint described by no JSON": ("predict", described("{"), "does not describe a PLM"),
    "checkpoint with a gigantic description": ("predict", architecture(ffn_dim=1 << 50), "does not describe a PLM"),
    "checkpoint with an impossible description": ("predict", architecture(heads=0), "does not describe a PLM"),
    "checkpoint with text for a size": ("predict", architecture(layers="two"), "does not describe a PLM"),
    "checkpoint for fairseq lacks a tensor": ("fairseq-validate", model(without(FC1)), "checkpoint.pt cannot be read as a checkpoint"),
    "checkpoint for fairseq of other shapes": ("fairseq-validate", model(replaced(FC1, lambda t: t[:3])), f"size mismatch for {FC1}"),
    "checkpoint for fairseq without model": ("fairseq-validate", edit_checkpoint(without("model")), "checkpoint.pt is not a fine-tuned checkpoint"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_model(case, here):
    command, damage, said = CASES[case]
    damage()
    assert_refused(command, changed(command), said)


def setting(**values):
    """Change settings of a checkpoint: ``task__augment="fr"``."""

    def edit(saved):
        for name, value in values.items():
            group, _, key = name.partition("__")
            saved["cfg"][group] = {**saved["cfg"][group], key: value} if key else value

    return edit


def history(**values):
    return lambda saved: saved["optimizer_history"][-1].update(values)


def task_state(**values):
    return lambda saved: saved["task_state"].update(values)


def place(**values):
    return lambda saved: saved["extra_state"]["train_iterator"].update(values)


UNRESOLVED = "holds an interpolation, ${...}, which is not resolved"
ODD = {
    # open-mercato/open-mercato#3932: references to environment variables gave the author of a configuration their values
    "secret": (setting(task__data="${oc.env:SECRET}"), f"'cfg.task.data' {UNRESOLVED}"),
    "secret in a list": (setting(optimization__lr=[1.0, "a ${oc.env:SECRET}"]), f"'cfg.optimization.lr.1' {UNRESOLVED}"),
    "secret as a name": (setting(common={"${oc.env:SECRET}": 1, "seed": 1}), f"'cfg.common' {UNRESOLVED}"),
    "reference": (setting(task__seed="${common.seed}"), f"'cfg.task.seed' {UNRESOLVED}"),
    "no settings": (lambda saved: saved.update(cfg=[1]), "it names no model"),
    "settings as YAML": (lambda saved: saved.update(cfg="task: {}"), "it names no model"),
    "no task": (setting(task=None), "it names no task"),
    "unnamed criterion": (setting(criterion__name=3, criterion___name=3), "it names no criterion"),
    "args": (lambda saved: saved.update(args={"arch": "wav2vec2"}), "it holds args"),
    "tensor": (setting(task__radius=torch.ones(1)), "'cfg.task.radius' is neither text nor a number"),
    "NaN": (setting(model__dropout=NAN), "'cfg.model.dropout' is neither text nor a number"),
    "length as text": (setting(task__max_length="128"), "task.max_length is no int"),
    "negative length": (setting(task__max_length=-128), "task.max_length is not positive"),
    "languages as a number": (setting(task__augment=3), "task.augment is no str"),
    "description as a list": (setting(model__plm_description=[]), "model.plm_description is no str"),
    "seed as text": (setting(common__seed="1"), "common.seed is no int"),
    "common as text": (setting(common="1"), "common.seed is no int"),
    "updates NaN": (history(num_updates=NAN), "how many updates"),
    "updates negative": (history(num_updates=-3), "how many updates"),
    "updates infinite": (history(num_updates=float("inf")), "how many updates"),
    "no updates": (lambda saved: saved.update(optimizer_history=[]), "how many updates"),
    "updates as text": (lambda saved: saved.update(optimizer_history="3"), "how many updates"),
    "weights as a list": (lambda saved: saved.update(model=[torch.ones(1)]), "model does not hold weights by name"),
    "weights by number": (lambda saved: saved.update(model={1: torch.ones(1)}), "model does not hold weights by name"),
    "labels as text": (task_state(labels="no"), "task_state does not hold labels"),
    "labels as numbers": (task_state(labels=[0, 1]), "task_state does not hold labels"),
    "labels twice": (task_state(labels=["no", "no"]), "task_state does not hold labels"),
    "pairs as text": (task_state(pairs="True"), "task_state does not hold labels"),
    "task's state as a list": (lambda saved: saved.update(task_state=[1]), "task_state does not hold labels"),
    "epoch negative": (place(epoch=-1), "where in the data training was"),
    "iterations as text": (place(iterations_in_epoch="3"), "where in the data training was"),
}


@pytest.mark.parametrize("command", ["predict", "fairseq-validate"])
@pytest.mark.parametrize("case", ODD)
def test_odd_value(case, command, here, monkeypatch):
    monkeypatch.setenv("SECRET", "the secret")
    change, said = ODD[case]
    edit_checkpoint(change)()
    assert_refused(command, changed(command), ["checkpoint.pt is not a checkpoint of this project's fairseq-train (", said])


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
        (setting(task___name="translation"), "holds the task translation: a checkpoint trained with --task salt_sentence_pair is needed"),
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
    "PLM to export": ("export_hf", ["checkpoint.pt -> plm"], "plm/model.pt"),
    "PLM to fine-tune": ("fairseq-train", [], "plm/model.pt"),
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
