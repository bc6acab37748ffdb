"""Models that lack something, have other shapes or hold NaN or odd settings: refused with one sentence.

Damaged sources of a PLM: test_import_errors.py and test_fairseq_import.py. Models that would run code: test_error_untrusted_models.py.
"""

import json

import pytest
import torch

from salt_fairseq.plm import Description
from salt_fairseq.storage.files import sha256
from support.edited import edit_checkpoint, setting
from support.small_world import assert_refused, changed

pytestmark = pytest.mark.slow

NAN = float("nan")


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
