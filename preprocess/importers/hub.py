"""Models of the Hugging Face hub, from its cache or downloaded. Only files that an import reads are fetched."""

from pathlib import Path

from preprocess.importers.sentence_transformers import MODULES, POOLING
from preprocess.importers.tokenizer_files import READERS
from preprocess.importers.weight_files import NAMES, reason
from salt_fairseq.errors import InputError

DESCRIPTIONS = ["config.json", *READERS, "tokenizer_config.json", MODULES, f"*/{POOLING}"]


def download(name: str) -> Path:
    """The local directory of the model ``name``. The library honours ``HF_HUB_OFFLINE`` and ``HF_HOME``."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(
            f"{name} is not a directory, and models of the Hugging Face hub need the package huggingface_hub: "
            "pip install huggingface_hub, or download the model and give its directory"
        ) from None
    try:
        for weights in NAMES:
            stem, suffix = weights.rsplit(".", 1)
            patterns = [*DESCRIPTIONS, weights, f"{weights}.index.json", f"{stem}-*.{suffix}"]
            directory = Path(snapshot_download(name, allow_patterns=patterns))
            if (directory / weights).is_file() or (directory / f"{weights}.index.json").is_file():
                break
        return directory
    except Exception as error:  # the library raises HTTP, cache, offline and naming errors of many kinds
        raise InputError(
            f"{name} is neither a directory nor a model that the Hugging Face hub gave ({reason(error)}): "
            "download the model and give its directory"
        ) from None
