"""XLM-R as fairseq publishes it (xlmr.base, xlmr.large): model.pt, dict.txt, sentencepiece.bpe.model."""

import argparse
import re
from pathlib import Path

import torch

from preprocess.importers.source import Source, Tensors
from preprocess.importers.tokenizer_files import complete, read_sentencepiece, unigram
from preprocess.importers.vocabulary import SPECIAL_TOKENS
from preprocess.importers.weight_files import reason, safe_load
from salt_fairseq.errors import InputError

FILES = ("model.pt", "dict.txt", "sentencepiece.bpe.model")
LAYER_NORM_EPS = 1e-5  # fairseq's, everywhere
FIRST_POSITION = 2  # fairseq numbers positions from pad + 1
# Names of the modules of one layer, this project's to fairseq's, except query, key and value.
LAYER = {
    "out_proj": "self_attn.out_proj",
    "self_attn_layer_norm": "self_attn_layer_norm",
    "fc1": "fc1",
    "fc2": "fc2",
    "final_layer_norm": "final_layer_norm",
}
BODY = "encoder.sentence_encoder."
# Arguments of a model, with the only value that this project's encoder supports.
NEEDED = {
    "activation_fn": "gelu",
    "untie_weights_roberta": False,
    "no_token_positional_embeddings": False,
    "encoder_learned_pos": True,
    "encoder_layers_to_keep": None,
}


def read(directory: Path) -> Source:
    """The masked LM in a directory of :data:`FILES`. ``model.pt`` may hold its training arguments as an
    ``argparse.Namespace``, as releases do; no other class is read from it."""
    missing = [name for name in FILES if not (directory / name).is_file()]
    if missing:
        raise InputError(f"{directory} lacks {', '.join(missing)}: fairseq's XLM-R is {', '.join(FILES)}")
    path = directory / "model.pt"
    saved = safe_load(path, classes=[argparse.Namespace])
    if not isinstance(saved, dict) or not isinstance(saved.get("model"), dict):
        raise InputError(f"{path} is no fairseq checkpoint: it has no 'model'")
    heads = _heads(saved, path)
    published = {_newer(name): name for name, tensor in saved["model"].items() if torch.is_tensor(tensor)}
    tensors = Tensors({name: saved["model"][old] for name, old in published.items()}, f"the weights in {path}")
    if f"{BODY}layer_norm.weight" in tensors:
        raise InputError(
            f"{path} normalizes before its layers instead of after them, as XLM-R XL and XXL do: they are read from Hugging "
            "Face's directories, facebook/xlm-roberta-xl or -xxl"
        )
    state, layers = _state(tensors)
    positions = state["encoder.embed_positions.weight"]
    state["encoder.embed_positions.weight"] = positions[FIRST_POSITION:].clone()
    vocabulary, dim = state["encoder.embed_tokens.weight"].shape
    state["encoder.embed_segments.weight"] = torch.zeros(1, dim)
    architecture = dict(
        dim=dim,
        layers=layers,
        heads=heads,
        ffn_dim=len(state["encoder.layers.0.fc1.bias"]),
        positions=len(positions) - FIRST_POSITION,
        segments=1,
        layer_norm_eps=LAYER_NORM_EPS,
        pooler=False,
    )
    return Source(
        state,
        architecture,
        _tokenizer(directory, vocabulary),
        "roberta",
        weights_dtype=tensors.dtype,
        rows={"encoder.embed_positions.weight": positions[:FIRST_POSITION].clone()},
        tensors={published[name]: tensor for name, tensor in tensors.others().items()},
    )


def _newer(name):
    """A tensor's name in newer releases; older ones say decoder and emb_layer_norm, the oldest fuse query, key and value."""
    name = re.sub(r"^decoder\.", "encoder.", name).replace(".emb_layer_norm.", ".layernorm_embedding.")
    return name.replace(".in_proj_", ".in_proj.")


def _heads(saved, path):
    """The number of attention heads, from the training arguments (``args``, or ``cfg.model`` in newer versions)."""
    cfg = saved.get("cfg")
    args = saved.get("args") or (cfg.get("model") if isinstance(cfg, dict) else None)
    args = vars(args) if isinstance(args, argparse.Namespace) else args
    if not isinstance(args, dict) or not isinstance(args.get("encoder_attention_heads"), int):
        raise InputError(f"{path} lacks its number of attention heads, args.encoder_attention_heads: fairseq's xlmr.* have it")
    for option, needed in NEEDED.items():
        if args.get(option, needed) != needed:
            raise InputError(f"{path}: {option} is {args[option]!r}, only {needed!r} is supported")
    return args["encoder_attention_heads"]


def _state(tensors):
    """``(state, number of layers)``."""
    modules = {
        "encoder.layernorm_embedding": [f"{BODY}layernorm_embedding"],
        "lm_head.dense": ["encoder.lm_head.dense"],
        "lm_head.layer_norm": ["encoder.lm_head.layer_norm"],
    }
    state = {f"encoder.{name}.weight": tensors.take(f"{BODY}{name}.weight") for name in ("embed_tokens", "embed_positions")}
    layers = 0
    while any(name.startswith(f"{BODY}layers.{layers}.") for name in tensors.left):
        here, there = f"encoder.layers.{layers}.", f"{BODY}layers.{layers}."
        modules.update({here + name: [there + published] for name, published in LAYER.items()})
        fused = f"{there}self_attn.in_proj.weight" in tensors
        modules[f"{here}qkv"] = [f"{there}self_attn.{x}_proj" for x in (["in"] if fused else "qkv")]
        layers += 1
    if not layers:
        raise InputError(f"{tensors.where} have no layers ({BODY}layers.0): fairseq's XLM-R is needed")
    state |= tensors.take_modules(modules)
    state["lm_head.bias"] = tensors.take_head(
        "encoder.lm_head.weight", ["encoder.lm_head.bias"], state["encoder.embed_tokens.weight"]
    )
    return state, layers


def _tokenizer(directory, rows):
    """The value of ``tokenizer.json``: the pieces of the SentencePiece model in the order of ``dict.txt``."""
    from fairseq.data import Dictionary  # imports all of fairseq, which takes seconds

    path = directory / "dict.txt"
    try:
        symbols = Dictionary.load(str(path)).symbols
    except Exception as error:  # fairseq raises ValueError, RuntimeError and plain Exception
        raise InputError(f"{path} cannot be read ({reason(error)}): download it again") from None
    pieces = directory / "sentencepiece.bpe.model"
    scores, charsmap = read_sentencepiece(pieces)
    specials = SPECIAL_TOKENS["sentencepiece"]
    if len(symbols) + 1 != rows:
        raise InputError(
            f"{path} has {len(symbols):,} symbols with fairseq's own four, which with <mask> is not the "
            f"{rows:,} rows of model.pt: they do not belong together"
        )
    different = set(symbols[4:]) ^ set(scores)
    if different or symbols[:4] != list(specials[:4]):
        raise InputError(
            f"{path} and sentencepiece.bpe.model do not belong together: {len(different):,} pieces are in "
            f"one of them only, as {min(different, default=symbols[0])!r}"
        )
    vocabulary = [(s, 0.0) for s in specials[:4]] + [(s, scores[s]) for s in symbols[4:]] + [(specials[4], 0.0)]
    return complete(lambda _: unigram(vocabulary, charsmap), pieces)
