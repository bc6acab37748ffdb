"""Masked LMs in Hugging Face's layouts: BERT, XLM-R and DistilBERT, each a table of names."""

import json

import torch

from preprocess.importers.sentence_transformers import read_pooling
from preprocess.importers.source import Source, Tensors, untrained_head
from preprocess.importers.vocabulary import kind_of, read_tokenizer
from preprocess.importers.weight_files import read_tensors
from salt_fairseq.errors import InputError

BODIES = {"bert": "bert", "xlm-roberta": "roberta", "roberta": "roberta", "distilbert": "distilbert"}
# Ours to theirs, per family. A model is saved with or without the prefix of its body ("bert.").
EMBEDDINGS = {
    "encoder.embed_tokens": "embeddings.word_embeddings",
    "encoder.embed_positions": "embeddings.position_embeddings",
    "encoder.embed_segments": "embeddings.token_type_embeddings",
}
BERT_LAYER = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "out_proj": "attention.output.dense",
    "self_attn_layer_norm": "attention.output.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
DISTILBERT_LAYER = {
    "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "out_proj": "attention.out_lin",
    "self_attn_layer_norm": "sa_layer_norm",
    "fc1": "ffn.lin1",
    "fc2": "ffn.lin2",
    "final_layer_norm": "output_layer_norm",
}
LAYERS = {
    "bert": ("encoder.layer", BERT_LAYER),
    "roberta": ("encoder.layer", BERT_LAYER),
    "distilbert": ("transformer.layer", DISTILBERT_LAYER),
}
HEADS = {
    "bert": {
        "dense": "cls.predictions.transform.dense",
        "layer_norm": "cls.predictions.transform.LayerNorm",
        "bias": ("cls.predictions.bias", "cls.predictions.decoder.bias"),
        "decoder": "cls.predictions.decoder.weight",
    },
    "roberta": {
        "dense": "lm_head.dense",
        "layer_norm": "lm_head.layer_norm",
        "bias": ("lm_head.bias", "lm_head.decoder.bias"),
        "decoder": "lm_head.decoder.weight",
    },
    "distilbert": {
        "dense": "vocab_transform",
        "layer_norm": "vocab_layer_norm",
        "bias": ("vocab_projector.bias",),
        "decoder": "vocab_projector.weight",
    },
}
# What config.json calls our sizes, and the rows of the embeddings. DistilBERT's has no entry for what the model fixes.
SIZES = {"dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads", "ffn_dim": "intermediate_size"}
DISTILBERT_SIZES = {"dim": "dim", "layers": "n_layers", "heads": "n_heads", "ffn_dim": "hidden_dim"}
ROWS = {
    "encoder.embed_tokens": "vocab_size",
    "encoder.embed_positions": "max_position_embeddings",
    "encoder.embed_segments": "type_vocab_size",
}
SUPPORTED = {
    "hidden_act": "gelu",
    "activation": "gelu",
    "position_embedding_type": "absolute",
    "tie_word_embeddings": True,
    "is_decoder": False,
}
DEFAULT_EPS = 1e-12  # of transformers, where config.json names none, and of DistilBERT always


def read_config(path):
    """``(family, sizes, config.json's value)`` of a model that our encoder computes."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): a Hugging Face model directory is needed") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise InputError(f"{path} names no model_type: a Hugging Face model directory is needed")
    if config["model_type"] == "xlm-roberta-xl":
        raise InputError(
            f"{path}: XLM-R XL normalizes before its layers instead of after them, which is not supported; "
            "the largest XLM-R that can be imported is xlm-roberta-large"
        )
    if config["model_type"] not in BODIES:
        raise InputError(f"{path}: model_type {config['model_type']!r} is not supported; BERT, XLM-R and DistilBERT are")
    for option, needed in SUPPORTED.items():
        if config.get(option, needed) != needed:
            raise InputError(f"{path}: {option} is {config[option]!r}, only {needed!r} is supported")
    family = BODIES[config["model_type"]]
    names = DISTILBERT_SIZES if family == "distilbert" else SIZES
    optional = {"layer_norm_eps": float, "pad_token_id": int} if family == "roberta" else {"layer_norm_eps": float}
    missing = [name for name in names.values() if not isinstance(config.get(name), int) or config[name] < 1]
    missing += [name for name, number in optional.items() if not isinstance(config.get(name, number()), (int, number))]
    if missing:
        raise InputError(f"{path} has no number for {', '.join(missing)}: download it again")
    sizes = {ours: config[theirs] for ours, theirs in names.items()}
    if sizes["dim"] % sizes["heads"]:
        raise InputError(f"{path}: {sizes['heads']} heads do not divide {sizes['dim']} dimensions")
    return family, sizes, config


def prefix_of(names, family):
    return f"{family}." if any(name.startswith(f"{family}.") for name in names) else ""


def layer_names(family, prefix, layer):
    """Our module names of one layer to theirs: a name, or for ``qkv`` three."""
    path, modules = LAYERS[family]
    where = f"{prefix}{path}.{layer}."
    return {
        f"encoder.layers.{layer}.{ours}": where + theirs if isinstance(theirs, str) else tuple(where + x for x in theirs)
        for ours, theirs in modules.items()
    }


def _embeddings(tensors, prefix, family, config, has_segments):
    """``(state, left-out rows)`` of the three embeddings. Positions of XLM-R begin at pad + 1 = 2."""
    state, rows = {}, {}
    for ours, theirs in EMBEDDINGS.items():
        if ours == "encoder.embed_segments" and family == "distilbert":  # no segments: one that adds nothing
            state[f"{ours}.weight"] = torch.zeros(1, state["encoder.embed_tokens.weight"].shape[-1])
            continue
        every = tensors.take(f"{prefix}{theirs}.weight")
        if every.dim() != 2:
            raise InputError(
                f"{tensors.where} have {theirs} in the shape {tuple(every.shape)}, which is no matrix: download them again"
            )
        if len(every) != config.get(ROWS[ours], len(every)):
            raise InputError(
                f"{tensors.where} have {len(every)} rows of {theirs}, where config.json's {ROWS[ours]} is "
                f"{config[ROWS[ours]]!r}: they do not belong together"
            )
        used = torch.ones(len(every), dtype=torch.bool)
        if ours == "encoder.embed_positions" and family == "roberta":
            used[: config.get("pad_token_id", 1) + 1] = False
        if ours == "encoder.embed_segments" and not has_segments:
            used[1:] = False
        state[f"{ours}.weight"] = every if used.all() else every[used]
        if not used.all():
            rows[f"{ours}.weight"] = every[~used]
    return state, rows


def read(directory):
    """The :class:`Source` in a Hugging Face directory."""
    family, sizes, config = read_config(directory / "config.json")
    # BERT's first releases name LayerNorm's parameters after TensorFlow's.
    renamed = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for name, tensor in read_tensors(directory).items()
    }
    tensors, tokenizer = Tensors(renamed, f"the weights in {directory}"), read_tokenizer(directory)
    prefix, head = prefix_of(renamed, family), HEADS[family]
    pretrained = any(name.startswith((head["dense"], head["layer_norm"])) or name in head["bias"] for name in renamed)
    pooler = f"{prefix}pooler.dense.weight" in tensors
    # XLM-R's tokenizer knows one segment, whatever the body.
    state, rows = _embeddings(tensors, prefix, family, config, has_segments=kind_of(tokenizer) == "wordpiece")
    modules = {"encoder.layernorm_embedding": f"{prefix}embeddings.LayerNorm"}
    for layer in range(sizes["layers"]):
        modules.update(layer_names(family, prefix, layer))
    if pretrained:
        modules.update({"lm_head.dense": head["dense"], "lm_head.layer_norm": head["layer_norm"]})
    if pooler:
        modules["pooler"] = f"{prefix}pooler.dense"
    for ours, theirs in modules.items():
        for part in ("weight", "bias"):
            state[f"{ours}.{part}"] = (
                tensors.take(f"{theirs}.{part}")
                if isinstance(theirs, str)
                else tensors.take_qkv([f"{name}.{part}" for name in theirs])
            )
    embeddings = state["encoder.embed_tokens.weight"]
    if pretrained:
        state["lm_head.bias"] = tensors.take_head(head["decoder"], head["bias"], embeddings)
    else:
        state.update(untrained_head(sizes["dim"], len(embeddings)))
    more = [name for name in tensors.left if name.startswith(f"{prefix}{LAYERS[family][0]}.")]
    if more:
        raise InputError(f"{tensors.where} hold {more[0]}, which config.json does not expect: they do not belong together")
    architecture = dict(
        sizes,
        positions=len(state["encoder.embed_positions.weight"]),
        segments=len(state["encoder.embed_segments.weight"]),
        layer_norm_eps=DEFAULT_EPS if family == "distilbert" else config.get("layer_norm_eps", DEFAULT_EPS),
        pooler=pooler,
    )
    left = {name: tensor.float() for name, tensor in tensors.left.items() if tensor.is_floating_point()}
    return Source(
        state,
        architecture,
        tokenizer,
        family,
        "pretrained" if pretrained else "untrained",
        tensors.dtype,
        read_pooling(directory),
        rows,
        left,
    )
