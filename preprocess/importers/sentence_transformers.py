"""How a sentence vector is pooled, from the files that sentence-transformers adds to a Hugging Face model."""

import json
from pathlib import Path

from salt_fairseq.errors import InputError

MODULES = "modules.json"  # the steps from text to a vector, each with its directory
POOLING = "config.json"  # in the directory of the step Pooling
# Boolean keys of that file, one for each part of a vector; newer versions have one key, "pooling_mode", with these values.
MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
POOLING_OF = {("cls",): "first", ("mean",): "mean", ("mean_sqrt_len_tokens",): "mean"}  # the last two are equal once normalized


def read_pooling(directory: Path, default: str = "first") -> str:
    """How the model in ``directory`` was trained to pool the tokens of a sentence: ``"first"`` or ``"mean"``; ``default`` if it
    has no files of sentence-transformers. Raises :class:`InputError` for other kinds of pooling.
    """
    path = directory / MODULES
    if not path.is_file():
        return default
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))
        pooling_steps = [step["path"] for step in steps if step["type"].rpartition(".")[2] == "Pooling"]
        if not pooling_steps:
            return default
        path = directory / pooling_steps[0] / POOLING
        config = json.loads(path.read_text(encoding="utf-8"))
        modes = config.get("pooling_mode") or [mode for key, mode in MODES.items() if config.get(key)]
        modes = tuple(modes.split("+") if isinstance(modes, str) else modes)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}): download the model again, or delete "
            f"{directory / MODULES} to have the first token read"
        ) from None
    if modes not in POOLING_OF:
        raise InputError(
            f"{path}: sentences are read by {' and '.join(modes) or 'no known mode'}, where the mean or the first "
            f"token can be: delete {directory / MODULES} to have the first token read"
        )
    return POOLING_OF[modes]
