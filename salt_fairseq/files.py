"""Files that are either complete or absent, and their hashes."""

import contextlib
import hashlib
import json
import os
import shutil
from pathlib import Path

from salt_fairseq.errors import InputError


def sha256(path):
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def replacing(path, marker=None):
    """Yield a temporary path beside ``path`` (a file or a directory) that replaces it when the block ends well.

    When the block fails, the temporary is removed and ``path`` is as it was. A directory is replaced only if it holds
    the file ``marker`` (or nothing), so that a mistyped output path never costs somebody else's files.
    """
    path = Path(path).resolve()  # what a link points to is replaced, not the link
    if path.is_dir() and any(path.iterdir()) and not (marker and (path / marker).is_file()):
        raise InputError(f"{path} exists and holds no {marker}: choose another output directory, or empty it")
    if marker and path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: choose another output directory")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; choose another output path") from None
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path, made_by):
    """The JSON value of ``path``; ``made_by`` names the command that writes such a file, for the error."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist: make it with {made_by}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): make it again with {made_by}") from None
