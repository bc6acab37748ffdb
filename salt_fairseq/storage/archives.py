"""Archives that ``torch.save`` wrote, verified before anything is read from them.

They are zip files, which hold a checksum of each member. ``torch.load`` does not check these: a flipped bit in a weight would
pass unnoticed. It also unpacks compressed members, which ``torch.save`` never writes: a kilobyte can become gigabytes.
"""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from salt_fairseq.errors import InputError


def check_stored(path: str | Path) -> None:
    """Raise for an archive with members that are compressed, or more than the file can hold. Other files pass."""
    with _reading(path, f"{path} is a damaged archive", "copy or download it again"), open(path, "rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                _check_members(path, archive)


def check_archive(path: str | Path) -> None:
    """Raise unless ``path`` is complete and every member is as it was written."""
    with (
        _reading(path, f"{path} is not a checkpoint, or not a complete one", "copy or train it again"),
        open(path, "rb") as file,
        zipfile.ZipFile(file) as archive,
    ):
        _check_members(path, archive)
        damaged = archive.testzip()
    if damaged:
        raise InputError(f"{path} is damaged (the checksum of {damaged} does not fit): copy or train it again")


def check_tensors(path: str | Path, value: Any) -> None:
    """Raise for a tensor, somewhere in the containers of ``value``, that has more elements than its file stores: strides of 0
    make one number as many as it likes, and whoever copies such a tensor fills the memory."""
    seen: set[int] = set()
    rest = [value]
    while rest:
        item = rest.pop()
        if torch.is_tensor(item):
            if item.layout != torch.strided or item.numel() * item.element_size() > item.untyped_storage().nbytes():
                raise InputError(
                    f"{path} holds a tensor of shape {tuple(item.shape)!s:.60} and not as many numbers, which torch.save never "
                    "writes for a model: do not use it"
                )
        elif isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            rest += [*item.keys(), *item.values()] if isinstance(item, dict) else item


@contextlib.contextmanager
def _reading(path: str | Path, damaged: str, advice: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}): check its permissions and the disk") from None
    except Exception as error:  # zipfile raises many kinds for damaged files
        raise InputError(f"{damaged} ({type(error).__name__}): {advice}") from None


def _check_members(path: str | Path, archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    compressed = [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]
    if compressed:
        raise InputError(
            f"{path} has the compressed member {compressed[0]!r:.99}, which torch.save never writes: do not use it"
        )
    if sum(member.file_size for member in members) > os.path.getsize(path):
        raise InputError(f"{path} has members larger than itself, which torch.save never writes: do not use it")
