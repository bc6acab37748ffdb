"""Imported PLMs, kept in the user's cache under a key of their content, so that each is imported once."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from preprocess.importers import embedded, hub
from salt_fairseq import __version__
from salt_fairseq.plm import Description
from salt_fairseq.storage.files import sha256

SIZES = {  # names in config.json of BERT and XLM-R, and of DistilBERT
    "dim": ("hidden_size", "dim"),
    "layers": ("num_hidden_layers", "n_layers"),
    "ffn_dim": ("intermediate_size", "hidden_dim"),
    "vocabulary": ("vocab_size",),
}


@dataclass(frozen=True)
class Shape:
    """What time and memory depend on."""

    dim: int
    layers: int
    ffn_dim: int
    vocabulary: int

    @property
    def body(self) -> int:
        """Parameters of the layers, without biases and embeddings."""
        return self.layers * (4 * self.dim**2 + 2 * self.dim * self.ffn_dim)

    @property
    def embeddings(self) -> int:
        return self.vocabulary * self.dim


XLMR_BASE = Shape(768, 12, 3072, 250_002)


def cache_directory() -> Path:
    """``$XDG_CACHE_HOME/salt_fairseq``, or ``~/.cache/salt_fairseq``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "salt_fairseq"


def source_files(source: str, download: bool) -> list[Path]:
    """The files that an import reads; none for a hub name if ``download`` is False."""
    if source == "embedded":
        return [embedded.find(), embedded.HEAD]
    directory = Path(source)
    if not directory.is_dir():
        if directory.exists() or not download:
            return []
        directory = hub.download(source)
    return sorted(path for path in directory.iterdir() if path.is_file() and not path.name.startswith("."))


def plm_directory(source: str, download: bool = True) -> Path | None:
    """Where the PLM of ``source`` is, or will be imported to; None if that is not known before a download."""
    if (Path(source) / "plm.json").is_file():
        return Path(source).resolve()
    files = source_files(source, download)
    if not files:
        return None
    digest = hashlib.sha256(f"{__version__} {source}".encode())
    for path in files:
        digest.update(f"{path.name} {sha256(path)}".encode())
    name = re.sub(r"[^\w.-]+", "--", Path(source).name)
    return cache_directory() / "plm" / f"{name}-{digest.hexdigest()[:16]}"


def shape_of(source: str, plm_dir: Path | None) -> Shape | None:
    """The PLM's shape, from whichever file tells it without importing; None if none does."""
    if plm_dir is not None and (plm_dir / "plm.json").is_file():
        arch = Description.load(plm_dir).architecture
        return Shape(arch.dim, arch.layers, arch.ffn_dim, arch.vocabulary)
    if source == "embedded":
        package = embedded.PackageFile(embedded.find())
        with safe_open(embedded.HEAD, "numpy") as head:
            return Shape(package.dim, package.layers, package.ffn_dim, *head.get_slice("head.bias").get_shape())
    try:
        config = json.loads((Path(source) / "config.json").read_text(encoding="utf-8"))
        values = {size: next(config[name] for name in names if name in config) for size, names in SIZES.items()}
    except (OSError, ValueError, StopIteration):
        return None
    return Shape(**values)
