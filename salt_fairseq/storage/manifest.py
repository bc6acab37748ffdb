"""The JSON file that describes a directory and verifies every file of it, itself included.

``files`` holds the hashes of the other files, ``checksum`` that of the JSON's own content, so that a flipped bit anywhere is
an error where the file is used, not a wrong number.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import read_json, sha256, write_json

MANIFEST = "meta.json"


def _checksum(values: dict[str, Any]) -> str:
    """Hex SHA-256 of a JSON object without its checksum, however it is written."""
    content = {key: value for key, value in values.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_with_checksum(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON object with its checksum."""
    write_json(path, {**values, "checksum": _checksum(values)})


def read_verified(path: Path, made_by: str) -> dict[str, Any]:
    """The JSON object that :func:`write_with_checksum` wrote, without its checksum."""
    values = read_json(path, made_by)
    try:
        fits_checksum = isinstance(values, dict) and values.pop("checksum", None) == _checksum(values)
    except RecursionError:
        fits_checksum = False
    if not fits_checksum:
        raise InputError(f"{path} is not as it was written (its checksum does not fit): make it again with {made_by}")
    return values


def write_manifest(directory: str | Path, values: dict[str, Any], known: dict[str, str] | None = None) -> dict[str, Any]:
    """Write ``meta.json`` of a directory whose other files are complete, and return its content without the checksum.

    ``known`` are the hashes of files that are put there afterwards.
    """
    directory = Path(directory)
    files = sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    values = {**values, "files": {**(known or {}), **{name: sha256(directory / name) for name in files}}}
    write_with_checksum(directory / MANIFEST, values)
    return values


def fits(value: Any, shape: Any) -> bool:
    """Whether a JSON value is of a type (``str``), a list of such values (``[str]``), an object with these keys, or, where
    the key is ``str``, an object with any keys."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(item, shape[0]) for item in value)
    if not isinstance(shape, dict):
        return type(value) is shape
    if str in shape:
        return isinstance(value, dict) and all(fits(item, shape[str]) for item in value.values())
    return isinstance(value, dict) and all(key in value and fits(value[key], inner) for key, inner in shape.items())


class Manifest:
    """``meta.json`` of a directory: its ``values``; :meth:`verify` checks the other files."""

    def __init__(self, directory: str | Path, made_by: str, shape: dict[str, Any]):
        """``shape`` describes the values that must be there, as :func:`fits` takes it; errors name the command ``made_by``."""
        self.directory, self.made_by = Path(directory), made_by
        self._verified: set[str] = set()
        self.values = read_verified(self.directory / MANIFEST, made_by)
        for key, inner in {"files": {str: str}, **shape}.items():
            if key not in self.values or not fits(self.values[key], inner):
                raise InputError(
                    f"{self.directory / MANIFEST} does not say {key} as this version writes it: make it again with {made_by}"
                )

    def verify(self, *names: str) -> None:
        """Raise unless these files are, byte for byte, what was written; each is read once."""
        for name in names:
            path = self.directory / name
            if name in self._verified:
                continue
            try:
                present = sha256(path)
            except OSError as error:
                raise InputError(f"{path} cannot be read ({error.strerror}): make it again with {self.made_by}") from None
            if self.values["files"].get(name) != present:
                raise InputError(
                    f"{path} is not the file that {self.directory / MANIFEST} describes: make it again with {self.made_by}"
                )
            self._verified.add(name)


def check_made_from(manifest: Manifest, data: str | Path, subset: str, side: str) -> None:
    """Raise unless what ``manifest`` describes was made from the sentences ``data/SIDE/SUBSET`` as they are now."""
    entry = read_verified(Path(data) / MANIFEST, "preprocess/binarize.py")["subsets"].get(subset, {})
    made_from = manifest.values["sentences_sha256"].get(f"{side}/{subset}")
    if made_from is None or made_from != entry.get("sha256", {}).get(side):
        raise InputError(
            f"{manifest.directory} was not made from {Path(data) / side / subset} as it is now: make it again "
            f"with {manifest.made_by}"
        )
