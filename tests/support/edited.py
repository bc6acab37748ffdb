"""Metadata changed on purpose, for tests of what comes after the check of its hashes."""

import contextlib

from salt_fairseq.storage.manifest import MANIFEST, read_sealed, write_manifest, write_sealed


@contextlib.contextmanager
def edited(path):
    """The values of a ``meta.json`` or ``plm.json`` to change; they are sealed again, with the hashes of the files as they are."""
    values = read_sealed(path, "a test")
    yield values
    if path.name == MANIFEST:
        write_manifest(path.parent, values)
    else:
        write_sealed(path, values)
