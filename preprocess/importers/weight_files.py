"""The weight files of published models. Tensors are read from them; code in a pickle is never run."""

import json
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from salt_fairseq.errors import InputError
from salt_fairseq.storage.archives import check_stored, check_tensors

NAMES = ("model.safetensors", "pytorch_model.bin")
ENDINGS = (".safetensors", ".bin")


def reason(error: BaseException) -> str:
    """The type of another library's exception and the first line of its text, at most 200 characters."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def safe_load(path: Path, classes: Iterable[type] = ()) -> Any:
    """The content of a pickle that holds nothing but tensors, plain values and ``classes``."""
    check_stored(path)
    try:
        with torch.serialization.safe_globals(list(classes)):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        forbidden = re.search(r"GLOBAL ([\w.]+)", str(error))
        if forbidden:
            raise InputError(
                f"{path} holds {forbidden[1]}, which is no weight: it was not run, and such files are not read"
            ) from None
        raise _damaged(path, error) from None
    except Exception as error:  # torch raises many types for damaged files
        raise _damaged(path, error) from None
    check_tensors(path, content)
    return content


def _damaged(path, error):
    with open(path, "rb") as file:
        start = file.read(40)
    if start.startswith(b"version https://git-lfs"):
        return InputError(f"{path} is a Git LFS pointer, not the weights: fetch the file itself (git lfs pull)")
    return InputError(f"the weights in {path} cannot be read ({reason(error)}): download the file again")


def _load(path):
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except Exception as error:  # safetensors has its own types
            raise _damaged(path, error) from None
    tensors = safe_load(path)
    if not isinstance(tensors, dict) or not all(torch.is_tensor(t) for t in tensors.values()):
        raise InputError(f"{path} holds something else than named tensors: a Hugging Face weight file is needed")
    for name, tensor in tensors.items():  # one that repeats its values takes memory as soon as it is used
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(f"{path} holds {str(name)[:99]} without a value for each element: download the file again")
    return dict(tensors)


def _load_shards(index):
    try:
        files = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(files.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{index} cannot be read ({reason(error)}): download it again") from None
    for shard in shards:
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(ENDINGS):
            raise InputError(f"{index} names {shard!r:.99}, which is no file of weights beside it: download it again")
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise InputError(f"{index} names {', '.join(missing)}, which {index.parent} lacks: download all parts")
    tensors = {}
    for shard in shards:
        tensors.update(_load(index.parent / shard))
    for name, shard in files.items():
        if name not in tensors:
            raise InputError(f"{index.parent / shard} lacks {name}, which {index.name} promises: download both again")
    return tensors


def read_tensors(directory: Path) -> dict[str, torch.Tensor]:
    """The named tensors of a Hugging Face directory: one file, or parts with an index; safetensors is preferred to pickles."""
    for name in NAMES:
        path, index = directory / name, directory / f"{name}.index.json"
        if path.is_file():
            return _load(path)
        if index.is_file():
            return _load_shards(index)
    shards = sorted(p.name for pattern in ("model-*.safetensors", "pytorch_model-*.bin") for p in directory.glob(pattern))
    if shards:
        raise InputError(f"{directory} has {shards[0]} but no index of the parts (.index.json): download it, too")
    raise InputError(f"{directory} has no weights: {' or '.join(NAMES)} is needed, or its parts with their .index.json")
