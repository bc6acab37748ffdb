"""Metadata and checkpoints changed on purpose, for tests of what comes after the check of their hashes."""

import contextlib

import torch

from salt_fairseq.storage.manifest import MANIFEST, read_verified, write_manifest, write_with_checksum


@contextlib.contextmanager
def edited(path):
    """The values of a ``meta.json`` or ``plm.json`` to change; they are written again with the checksum and the hashes of the files as they are."""
    values = read_verified(path, "a test")
    yield values
    if path.name == MANIFEST:
        write_manifest(path.parent, values)
    else:
        write_with_checksum(path, values)


def edit_checkpoint(change, path="checkpoint.pt"):
    """Change what a checkpoint holds; ``change`` gets its content and may return another one."""

    def damage():
        saved = torch.load(path, weights_only=True)
        saved = change(saved) or saved
        torch.save(saved, path)

    return damage


def setting(**values):
    """Change settings of a checkpoint: ``task__augment="fr"``."""

    def edit(saved):
        for name, value in values.items():
            group, _, key = name.partition("__")
            saved["cfg"][group] = {**saved["cfg"][group], key: value} if key else value

    return edit
