"""Archives that ``torch.save`` wrote, verified before anything is read from them.

They are zip files, which hold a checksum of each member. ``torch.load`` does not check these: a flipped bit in a weight would
pass unnoticed.
"""

import zipfile
from pathlib import Path

from salt_fairseq.errors import InputError


def check_archive(path: str | Path) -> None:
    """Raise unless ``path`` is complete and every member is as it was written."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # zipfile raises many kinds for damaged files
        raise InputError(
            f"{path} is not a checkpoint, or not a complete one ({type(error).__name__}): copy or train it again"
        ) from None
    if damaged:
        raise InputError(f"{path} is damaged (the checksum of {damaged} does not fit): copy or train it again")
