"""Hugging Face's layout of DeBERTa-v2, as DeBERTa-v3 and mDeBERTa-v3 use it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from preprocess.layouts.bert import BERT
from salt_fairseq.modules.bodies.deberta import DebertaArchitecture

NEEDED = {"hidden_act": "gelu", "pooler_hidden_act": "gelu", "conv_kernel_size": 0, "type_vocab_size": 0}
REQUIRED = {"relative_attention": True, "share_att_key": True, "norm_rel_ebd": "layer_norm", "position_biased_input": False}


def _extra(config: Mapping[str, Any]) -> dict[str, Any]:
    terms = config.get("pos_att_type") or []
    if sorted(terms.split("|") if isinstance(terms, str) else terms) != ["c2p", "p2c"]:
        raise ValueError(f"its pos_att_type is {terms!r:.99}, only c2p|p2c is supported")
    for name in ("embedding_size", "pooler_hidden_size"):
        if config.get(name, config["hidden_size"]) != config["hidden_size"]:
            raise ValueError(f"its {name} is {config[name]!r}, only that of hidden_size is supported")
    largest, number = config.get("max_relative_positions", -1), config.get("position_buckets", -1)
    if number == -1:
        raise ValueError("its position_buckets is -1, only log-spaced buckets are supported")
    return {"position_buckets": number, "max_relative_positions": largest if largest > 0 else config["max_position_embeddings"]}


def _settings(arch: DebertaArchitecture, dropout: Mapping[str, float], is_mean: bool) -> dict[str, Any]:
    return {
        **NEEDED,
        **REQUIRED,
        "pos_att_type": "p2c|c2p",
        "hidden_dropout_prob": dropout["hidden"],
        "attention_probs_dropout_prob": dropout["attention"],
        "pooler_dropout": 0,
        "layer_norm_eps": arch.layer_norm_eps,
        "position_buckets": arch.position_buckets,
        "max_relative_positions": arch.max_relative_positions,
        "pooler_hidden_size": arch.dim,
        "legacy": True,
        **({"cls_dropout": dropout["classifier"]} if "classifier" in dropout else {}),
    }


DEBERTA = replace(
    BERT,
    model_type="deberta-v2",
    body="deberta-v2",
    classes="DebertaV2",
    prefix="deberta.",
    sizes={**BERT.sizes, "positions": "max_position_embeddings"},
    rows={"encoder.embed_tokens": "vocab_size"},
    modules={
        "encoder.embed_tokens": "embeddings.word_embeddings",
        "encoder.layernorm_embedding": "embeddings.LayerNorm",
        "encoder.embed_buckets": "encoder.rel_embeddings",
        "encoder.layernorm_buckets": "encoder.LayerNorm",
    },
    layer={**BERT.layer, "qkv": tuple(f"attention.self.{name}_proj" for name in ("query", "key", "value"))},
    classifier={"pooler": "pooler.dense", "classifier": "classifier"},
    pooler="",
    eps=("layer_norm_eps", 1e-7),
    needed={**NEEDED, "tie_word_embeddings": True},
    required=REQUIRED,
    other_heads=("mask_predictions.", "lm_predictions."),  # of replaced-token detection and of its generator
    extra=_extra,
    settings=_settings,
)
