"""Models in Hugging Face's layout: loaded as transformers loads them, or changed (other weights, or code in their place)."""

import shutil

import torch
from safetensors.torch import load_file


def copy_of(source, directory):
    """The source without its weights, and its tensors by name."""
    shutil.copytree(source, directory)
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    return tensors


class Payload:
    """Pickled code: whoever unpickles it makes a directory."""

    def __init__(self, path, function):
        self.call = (function, (str(path),))

    def __reduce__(self):
        return self.call


def loaded(model_class, directory):
    """Every tensor that the model needs is there, and fits."""
    model, report = model_class.from_pretrained(directory, output_loading_info=True, dtype=torch.float32)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    return model.eval()
