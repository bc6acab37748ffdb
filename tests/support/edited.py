"""Metadata changed on purpose, for tests of what comes after the check of its hashes."""

import contextlib

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
