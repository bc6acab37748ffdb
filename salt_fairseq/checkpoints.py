"""A fine-tuned checkpoint, read without fairseq's task, data directory or PLM directory."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from salt_fairseq.errors import InputError
from salt_fairseq.files import sha256
from salt_fairseq.models.salt_encoder import SaltEncoder, SaltEncoderConfig


@dataclass(frozen=True)
class Checkpoint:
    """What ``fairseq-train`` saved, as far as a classifier in use needs it."""

    model: SaltEncoder  # on the CPU, fp32, in evaluation mode; ``model.description`` describes its PLM
    cfg: DictConfig  # all of fairseq's configuration, by group (``cfg.task.max_length``)
    updates: int  # training steps
    sha256: str  # of the file

    @property
    def classes(self):
        return self.model.classifier.out_features


def load_checkpoint(path):
    """The :class:`Checkpoint` in a file. Only tensors and plain values are read: code pickled into the file never runs.

    Raises :class:`InputError` where the file is missing, damaged or unsafe, or holds another model.
    """
    saved = _read(Path(path))
    try:
        cfg = OmegaConf.create(saved["cfg"])
        name, updates = cfg.model._name, int(saved["optimizer_history"][-1]["num_updates"])
        if name == "salt_encoder":
            model_cfg = OmegaConf.merge(OmegaConf.structured(SaltEncoderConfig), cfg.model)
        state = dict(saved["model"])
    except (KeyError, IndexError, TypeError, ValueError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a checkpoint of this project's fairseq-train ({type(error).__name__}: {reason})"
                         ) from None
    if name != "salt_encoder":
        raise InputError(f"{path} holds the model {name}: a checkpoint trained with --arch salt_encoder is needed")
    return Checkpoint(_model(model_cfg, state, path), cfg, updates, sha256(path))


def _read(path):
    if path.is_dir():
        raise InputError(f"{path} is a directory: name a checkpoint in it, e.g. {path / 'checkpoint_best.pt'}")
    if not path.is_file():
        raise InputError(f"{path} does not exist: name a checkpoint that fairseq-train wrote")
    try:
        with warnings.catch_warnings(action="ignore"):  # of old formats; what matters becomes an error
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise many kinds
        if "Weights only load failed" in str(error):
            raise InputError(f"{path} holds more than tensors and plain values, or is damaged: it is not loaded, since "
                             "that could run code from it") from None
        reason = f"{type(error).__name__} {error}".splitlines()[0].strip()
        raise InputError(f"{path} is not a checkpoint, or not a complete one ({reason}): copy or train it again") from None
    if not isinstance(saved, dict) or not {"cfg", "model", "optimizer_history"} <= saved.keys():
        raise InputError(f"{path} is not a fine-tuned checkpoint: name a file that fairseq-train wrote")
    return saved


def _model(cfg, state, path):
    classifier = state.get("classifier.weight")
    if not all(map(torch.is_tensor, state.values())) or classifier is None or classifier.dim() != 2:
        raise InputError(f"{path} lacks classifier.weight, or its weights are no tensors: train again")
    with torch.device("meta"):  # the initial weights would only be overwritten
        model = SaltEncoder(cfg, len(classifier))
    try:
        nn.Module.load_state_dict(model, state, assign=True)  # fairseq's own method knows no assign
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: the weights do not fit the model that its configuration describes ({reason})") from None
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: the weights {name} are not finite: training diverged, use another checkpoint")
    return model.float().eval()
