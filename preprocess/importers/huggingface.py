"""Masked LMs in Hugging Face's layouts (preprocess/layouts): BERT, XLM-R, XLM-R XL, DistilBERT, ModernBERT, DeBERTa-v2."""

import json
from pathlib import Path

import torch
from torch import nn

from preprocess.importers.sentence_transformers import read_pooling
from preprocess.importers.source import Source, Tensors, untrained_head
from preprocess.importers.tokenizer_files import read_tokenizer
from preprocess.importers.vocabulary import kind_of
from preprocess.importers.weight_files import read_tensors
from preprocess.layouts.layout import Layout
from preprocess.layouts.registry import FAMILIES, LAYOUTS
from salt_fairseq.errors import InputError
from salt_fairseq.modules.bodies.registry import BODIES
from salt_fairseq.modules.encoder import LARGEST, Architecture, Encoder, LMHead, without_weights


def read_config(path: Path) -> tuple[str, dict, dict]:
    """``(family, sizes, the value of config.json)`` of a model whose architecture this project supports."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): a Hugging Face model directory is needed") from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise InputError(f"{path} names no model_type: a Hugging Face model directory is needed")
    if config["model_type"] not in FAMILIES:
        raise InputError(
            f"{path}: model_type {config['model_type']!r} is not supported; BERT, XLM-R, XLM-R XL, DistilBERT, "
            "ModernBERT and DeBERTa-v2 are"
        )
    family = FAMILIES[config["model_type"]]
    layout = LAYOUTS[family]
    settings = {option: config.get(option, needed) for option, needed in layout.needed.items()}
    for option, needed in {**layout.needed, **layout.required}.items():
        if settings.get(option, config.get(option)) != needed:
            raise InputError(f"{path}: {option} is {config.get(option)!r}, only {needed!r} is supported")
    sizes = layout.sizes
    optional = {layout.eps[0]: float} | ({"pad_token_id": int} if layout.counts_positions_from_pad else {})
    missing = [there for name, there in sizes.items() if not isinstance(config.get(there), int) or config[there] < 1]
    too_large = [there for name, there in sizes.items() if there not in missing and config[there] > LARGEST[name]]
    if too_large:
        raise InputError(f"{path}: {too_large[0]} is {config[too_large[0]]}, which no model has: download it again")
    missing += [name for name, number in optional.items() if not isinstance(config.get(name, number()), (int, number))]
    if missing:
        raise InputError(f"{path} has no number for {', '.join(missing)}: download it again")
    try:
        extra = layout.extra(config)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} describes a model that is not supported ({error})") from None
    return family, {**{name: config[published] for name, published in sizes.items()}, **extra}, config


def _embeddings(tensors, prefix, layout, config, has_segments):
    """``(state, left-out rows)`` of the embeddings. XLM-R counts positions from pad + 1 = 2."""
    state: dict[str, torch.Tensor] = {}
    rows: dict[str, torch.Tensor] = {}
    for name, rows_option in layout.rows.items():
        if name not in layout.modules:  # DistilBERT has no segments: one that adds nothing
            state[f"{name}.weight"] = torch.zeros(1, state["encoder.embed_tokens.weight"].shape[-1])
            continue
        published = layout.modules[name]
        every = tensors.take(f"{prefix}{published}.weight")
        if every.dim() != 2:
            shape = tuple(every.shape)
            raise InputError(f"{tensors.where} have {published} in the shape {shape}, which is no matrix: download them again")
        if len(every) != config.get(rows_option, len(every)):
            raise InputError(
                f"{tensors.where} have {len(every)} rows of {published}, where config.json's {rows_option} is "
                f"{config[rows_option]!r}: they do not belong together"
            )
        used = torch.ones(len(every), dtype=torch.bool)
        if name == "encoder.embed_positions" and layout.counts_positions_from_pad:
            used[: config.get("pad_token_id", 1) + 1] = False
        if name == "encoder.embed_segments" and not has_segments:
            used[1:] = False
        state[f"{name}.weight"] = every if used.all() else every[used]
        if not used.all():
            rows[f"{name}.weight"] = every[~used]
    return state, rows


def _parameters(body: type[Encoder], arch: Architecture, has_head: bool, has_pooler: bool) -> list[str]:
    """The names of all parameters of a PLM of this architecture."""
    with without_weights():
        modules: dict[str, nn.Module] = {"encoder": body(arch)}
        if has_head:
            modules["lm_head"] = LMHead(body, arch)
        if has_pooler:
            modules["pooler"] = body.pooler_class(arch)
    return list(nn.ModuleDict(modules).state_dict())


def _pooler_of_head(state):
    """The LM head's dense layer and LayerNorm as the classifier's start, as published classifiers of this layout have it."""
    named = {"lm_head.dense.": "pooler.", "lm_head.layer_norm.": "pooler.layer_norm."}
    return {
        there + name.removeprefix(here): tensor.clone()
        for here, there in named.items()
        for name, tensor in state.items()
        if name.startswith(here)
    }


def _pooling(layout: Layout, config: dict) -> str:
    """How the model pools if no file of sentence-transformers tells."""
    return "mean" if layout.native_mean and config.get("classifier_pooling") == "mean" else "first"


def read(directory: Path) -> Source:
    """The masked LM in a Hugging Face directory."""
    family, sizes, config = read_config(directory / "config.json")
    layout = LAYOUTS[family]
    # BERT's first releases have TensorFlow's names for the parameters of LayerNorm.
    renamed = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): tensor
        for name, tensor in read_tensors(directory).items()
    }
    tensors, tokenizer = Tensors(renamed, f"the weights in {directory}"), read_tokenizer(directory)
    prefix = layout.prefix if any(name.startswith(layout.prefix) for name in renamed) else ""
    has_head, has_pooler = layout.has_lm_head(renamed), f"{prefix}{layout.pooler}.weight" in tensors
    # XLM-R's tokenizer has one segment, whatever the body has.
    state, rows = _embeddings(tensors, prefix, layout, config, has_segments=kind_of(tokenizer) == "wordpiece")
    embeddings = state["encoder.embed_tokens.weight"]
    segments = state.get("encoder.embed_segments.weight")
    positions = state.get("encoder.embed_positions.weight")
    eps, default_eps = layout.eps
    architecture = {
        **sizes,
        "positions": sizes["positions"] if positions is None else len(positions),
        "segments": 1 if segments is None else len(segments),
        "layer_norm_eps": config.get(eps, default_eps),
        "pooler": has_head if layout.is_head_pooler else has_pooler,
    }
    body = BODIES[layout.body]
    try:
        arch = body.architecture_class(vocabulary=len(embeddings), **architecture)
    except (TypeError, ValueError) as error:
        raise InputError(f"{directory} describes a model that cannot be ({error}): download it again") from None
    for name in _parameters(body, arch, has_head, has_pooler):
        module, _, part = name.rpartition(".")
        if name == "lm_head.bias":
            state[name] = tensors.take_head(layout.decoder, layout.head_bias, embeddings)
        elif name not in state:
            state[name] = tensors.take_joined([f"{there}.{part}" for there in layout.published(module, prefix)])
    if layout.is_head_pooler:
        state.update(_pooler_of_head(state))
    if not has_head:
        state.update(untrained_head(body, arch))
    more = [name for name in tensors.left if name.startswith(f"{prefix}{layout.layers}.")]
    if more:
        raise InputError(f"{tensors.where} hold {more[0]}, which config.json does not expect: they do not belong together")
    return Source(
        state,
        architecture,
        tokenizer,
        family,
        lm_head="pretrained" if has_head else "untrained",
        weights_dtype=tensors.dtype,
        pooling=read_pooling(directory, _pooling(layout, config)),
        rows=rows,
        tensors=tensors.others(),
        prefix=prefix,
    )
