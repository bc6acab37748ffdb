"""Masked LMs in Hugging Face's layouts: BERT, XLM-R and DistilBERT."""

import json
from pathlib import Path

import torch

from preprocess.importers.sentence_transformers import read_pooling
from preprocess.importers.source import Source, Tensors, untrained_head
from preprocess.importers.vocabulary import kind_of, read_tokenizer
from preprocess.importers.weight_files import read_tensors
from preprocess.layouts import huggingface as layout
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import LARGEST

SUPPORTED = {
    "hidden_act": "gelu",
    "activation": "gelu",
    "position_embedding_type": "absolute",
    "tie_word_embeddings": True,
    "is_decoder": False,
}
DEFAULT_EPS = 1e-12  # transformers' default, and DistilBERT's only value


def read_config(path: Path) -> tuple[str, dict, dict]:
    """``(family, sizes, the value of config.json)`` of a model whose architecture this project supports."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): a Hugging Face model directory is needed") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise InputError(f"{path} names no model_type: a Hugging Face model directory is needed")
    if config["model_type"] == "xlm-roberta-xl":
        raise InputError(f"{path}: XLM-R XL normalizes before its layers, which is not supported: take xlm-roberta-large")
    if config["model_type"] not in layout.BODIES:
        raise InputError(f"{path}: model_type {config['model_type']!r} is not supported; BERT, XLM-R and DistilBERT are")
    for option, needed in SUPPORTED.items():
        if config.get(option, needed) != needed:
            raise InputError(f"{path}: {option} is {config[option]!r}, only {needed!r} is supported")
    family = layout.BODIES[config["model_type"]]
    names = layout.DISTILBERT_SIZES if family == "distilbert" else layout.SIZES
    optional = {"layer_norm_eps": float, "pad_token_id": int} if family == "roberta" else {"layer_norm_eps": float}
    missing = [there for name, there in names.items() if not isinstance(config.get(there), int) or config[there] < 1]
    too_large = [there for name, there in names.items() if there not in missing and config[there] > LARGEST[name]]
    if too_large:
        raise InputError(f"{path}: {too_large[0]} is {config[too_large[0]]}, which no model has: download it again")
    missing += [name for name, number in optional.items() if not isinstance(config.get(name, number()), (int, number))]
    if missing:
        raise InputError(f"{path} has no number for {', '.join(missing)}: download it again")
    return family, {name: config[published] for name, published in names.items()}, config


def _embeddings(tensors, prefix, family, config, has_segments):
    """``(state, left-out rows)`` of the three embeddings. XLM-R counts positions from pad + 1 = 2."""
    state: dict[str, torch.Tensor] = {}
    rows: dict[str, torch.Tensor] = {}
    for name, published in layout.EMBEDDINGS.items():
        if name == "encoder.embed_segments" and family == "distilbert":  # has no segments: one that adds nothing
            state[f"{name}.weight"] = torch.zeros(1, state["encoder.embed_tokens.weight"].shape[-1])
            continue
        every = tensors.take(f"{prefix}{published}.weight")
        if every.dim() != 2:
            shape = tuple(every.shape)
            raise InputError(f"{tensors.where} have {published} in the shape {shape}, which is no matrix: download them again")
        rows_option = layout.ROWS[name]
        if len(every) != config.get(rows_option, len(every)):
            raise InputError(
                f"{tensors.where} have {len(every)} rows of {published}, where config.json's {rows_option} is "
                f"{config[rows_option]!r}: they do not belong together"
            )
        used = torch.ones(len(every), dtype=torch.bool)
        if name == "encoder.embed_positions" and family == "roberta":
            used[: config.get("pad_token_id", 1) + 1] = False
        if name == "encoder.embed_segments" and not has_segments:
            used[1:] = False
        state[f"{name}.weight"] = every if used.all() else every[used]
        if not used.all():
            rows[f"{name}.weight"] = every[~used]
    return state, rows


def read(directory: Path) -> Source:
    """The masked LM in a Hugging Face directory."""
    family, sizes, config = read_config(directory / "config.json")
    # BERT's first releases have TensorFlow's names for the parameters of LayerNorm.
    renamed = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for name, tensor in read_tensors(directory).items()
    }
    tensors, tokenizer = Tensors(renamed, f"the weights in {directory}"), read_tokenizer(directory)
    prefix = f"{family}." if any(name.startswith(f"{family}.") for name in renamed) else ""
    head = layout.HEADS[family]
    pretrained = any(name.startswith((head["dense"], head["layer_norm"])) or name in head["bias"] for name in renamed)
    pooler = f"{prefix}pooler.dense.weight" in tensors
    # XLM-R's tokenizer has one segment, whatever the body has.
    state, rows = _embeddings(tensors, prefix, family, config, has_segments=kind_of(tokenizer) == "wordpiece")
    modules: dict[str, tuple[str, ...]] = {"encoder.layernorm_embedding": (f"{prefix}embeddings.LayerNorm",)}
    for layer in range(sizes["layers"]):
        modules.update(layout.layer_names(family, prefix, layer))
    if pretrained:
        modules.update({"lm_head.dense": (head["dense"],), "lm_head.layer_norm": (head["layer_norm"],)})
    if pooler:
        modules["pooler"] = (f"{prefix}pooler.dense",)
    state.update(tensors.take_modules(modules))
    embeddings = state["encoder.embed_tokens.weight"]
    if pretrained:
        state["lm_head.bias"] = tensors.take_head(head["decoder"], head["bias"], embeddings)
    else:
        state.update(untrained_head(sizes["dim"], len(embeddings)))
    more = [name for name in tensors.left if name.startswith(f"{prefix}{layout.LAYERS[family][0]}.")]
    if more:
        raise InputError(f"{tensors.where} hold {more[0]}, which config.json does not expect: they do not belong together")
    architecture = dict(
        sizes,
        positions=len(state["encoder.embed_positions.weight"]),
        segments=len(state["encoder.embed_segments.weight"]),
        layer_norm_eps=DEFAULT_EPS if family == "distilbert" else config.get("layer_norm_eps", DEFAULT_EPS),
        pooler=pooler,
    )
    lm_head, pooling = "pretrained" if pretrained else "untrained", read_pooling(directory)
    return Source(state, architecture, tokenizer, family, lm_head, tensors.dtype, pooling, rows, tensors.others())
