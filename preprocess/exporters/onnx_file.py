"""``model.onnx`` of an exported directory, checked against the PyTorch model before anyone gets it."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preprocess.importers.weight_files import reason
from salt_fairseq.errors import InputError

NAME = "model.onnx"
TOLERANCE = 1e-4  # of a logit, absolute, or relative to the largest logit where that is above 1
LONGEST = 256  # tokens of a checked sentence: more than the window of local attention, and less than a masked LM's memory
SENTENCES: list[tuple[str, ...]] = [
    ("Yes.",),
    ("The weather was fine.", "It rained."),
    ("Nobody knows why the train to the north was late again.",),
]
PACKAGES = ("onnx", "onnxruntime", "onnxscript", "transformers")


def check_packages() -> None:
    """Raise where a package that :func:`write` needs is missing."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            raise InputError(f"--onnx needs the package {name}: pip install 'salt_fairseq[onnx]'") from None


def write(directory: Path, architecture: str) -> None:
    """Write ``model.onnx`` into ``directory``, which holds the other files of an export for the class ``architecture``.

    Its inputs are int64 (batch, length): ``input_ids``, ``attention_mask`` and, of a tokenizer that numbers sentences,
    ``token_type_ids``; its output ``logits`` is float32, (batch, labels) of a classifier, (batch, length, labels) of one of
    tokens, and (batch, length, pieces) of a masked LM. Weights of more than 1.5 GiB are in ``model.onnx.data``. Raises where
    the model has no logits, where PyTorch cannot export it, and where onnxruntime's logits are not PyTorch's.
    """
    import transformers

    if not architecture.endswith(("ForSequenceClassification", "ForTokenClassification", "ForMaskedLM")):
        raise InputError(f"--onnx is for classifiers and masked LMs, and {architecture} gives no logits: leave it out")
    transformers.logging.disable_progress_bar()  # loading takes a second
    model = getattr(transformers, architecture).from_pretrained(directory).float().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    batches = _batches(tokenizer)
    _export(model, batches[0], directory / NAME)
    _compare(model, batches, directory / NAME)


def _batches(tokenizer: Any) -> list[dict[str, torch.Tensor]]:
    """Inputs by name: a padded batch of several lengths, a short sentence alone, and one of the greatest length checked."""
    length = min(LONGEST, tokenizer.model_max_length)
    names = sorted(tokenizer.model_input_names, key=("input_ids", "attention_mask", "token_type_ids").index)
    groups: list[list[tuple[str, ...]]] = [SENTENCES, SENTENCES[:1], [(" ".join([SENTENCES[-1][0]] * length),)]]
    batches = []
    for group in groups:
        rows = [tokenizer(*texts, truncation=True, max_length=length) for texts in group]
        padded = tokenizer.pad({name: [row[name] for row in rows] for name in names}, return_tensors="pt")
        batches.append({name: padded[name] for name in names})
    return batches


def _export(model: torch.nn.Module, example: dict[str, torch.Tensor], path: Path) -> None:
    try:
        with _quiet():
            torch.onnx.export(
                model,
                kwargs=example,
                f=path,
                output_names=["logits"],
                dynamic_shapes={name: {0: "batch", 1: "length"} for name in example},
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise InputError(
            f"PyTorch {torch.__version__} cannot export {type(model).__name__} to ONNX ({reason(error)}): leave --onnx out"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's warnings, which are about other models' packages and about names of axes."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _compare(model: torch.nn.Module, batches: list[dict[str, torch.Tensor]], path: Path) -> None:
    """Raise where onnxruntime's logits of a batch differ from PyTorch's; those of padding tokens mean nothing."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in batches:
        with torch.inference_mode():
            expected = model(**batch).logits.numpy()
        (logits,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in batch.items()})
        shown = batch["attention_mask"].numpy() > 0 if expected.ndim == 3 else slice(None)
        difference = float(np.abs(logits[shown] - expected[shown]).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected[shown]).max())):
            raise InputError(
                f"onnxruntime's logits of the exported model differ from PyTorch's by {difference:.2g}, and nothing was "
                "written: leave --onnx out, or try other versions of torch and onnxruntime"
            )
