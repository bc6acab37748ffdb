"""Hugging Face's layout of ModernBERT, and of mmBERT, which has the same body."""

from collections.abc import Mapping
from typing import Any

from preprocess.layouts.layout import Layout
from salt_fairseq.modules.bodies.modernbert import ModernBertArchitecture

THETA = {"full_attention": ("global_rope_theta", 160_000.0), "sliding_attention": ("local_rope_theta", 10_000.0)}


def _theta(config: Mapping[str, Any], kind: str) -> float:
    """The base of a kind's rotary positions: ``global_rope_theta``, or ``rope_parameters`` since transformers 5."""
    name, default = THETA[kind]
    parameters = (config.get("rope_parameters") or {}).get(kind) or {}
    # "type" is the older name, which transformers reads where there is no newer one.
    if parameters.get("rope_type", parameters.get("type", "default")) != "default" or config.get("rope_scaling"):
        raise ValueError("its rotary positions are scaled")
    theta = parameters.get("rope_theta", config.get(name, default))
    if theta is None:  # as in transformers 4: local layers have that of the global ones
        theta = config.get("global_rope_theta", THETA["full_attention"][1])
    return float(theta)


def _extra(config: Mapping[str, Any]) -> dict[str, Any]:
    layers, types = config["num_hidden_layers"], config.get("layer_types")
    every = config.get("global_attn_every_n_layers", 3)
    if types is not None:
        full = [i for i, kind in enumerate(types) if kind == "full_attention"]
        every = full[1] if len(full) > 1 else max(1, layers)
        if full != list(range(0, layers, every)) or len(types) != layers:
            raise ValueError(f"its layer_types are {types!r:.99}, where every n-th layer, with the first, has full attention")
    window = config.get("local_attention", 128)
    if config.get("sliding_window", window // 2) != window // 2:  # the half of it, which overrules it in transformers 5
        raise ValueError(f"its sliding_window is {config['sliding_window']!r:.99}, of a local_attention of {window}")
    return {
        "global_every": every,
        "local_window": window,
        "global_theta": _theta(config, "full_attention"),
        "local_theta": _theta(config, "sliding_attention"),
    }


def _settings(arch: ModernBertArchitecture, dropout: Mapping[str, float], is_mean: bool) -> dict[str, Any]:
    return {
        "hidden_activation": "gelu",
        "classifier_activation": "gelu",
        "embedding_dropout": dropout["hidden"],
        "mlp_dropout": dropout["hidden"],
        "attention_dropout": dropout["attention"],
        "norm_eps": arch.layer_norm_eps,
        "global_attn_every_n_layers": arch.global_every,
        "local_attention": arch.local_window,
        "global_rope_theta": arch.global_theta,
        "local_rope_theta": arch.local_theta,
        "classifier_pooling": "mean" if is_mean else "cls",
        "reference_compile": False,
        **dict.fromkeys(("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"), False),
        "decoder_bias": True,
    }


CLASSIFIER = {"pooler": "head.dense", "pooler.layer_norm": "head.norm", "classifier": "classifier"}
MODERNBERT = Layout(
    model_type="modernbert",
    body="modernbert",
    classes="ModernBert",
    prefix="model.",
    sizes={
        "dim": "hidden_size",
        "layers": "num_hidden_layers",
        "heads": "num_attention_heads",
        "ffn_dim": "intermediate_size",
        "positions": "max_position_embeddings",
    },
    rows={"encoder.embed_tokens": "vocab_size"},
    modules={
        "encoder.embed_tokens": "embeddings.tok_embeddings",
        "encoder.layernorm_embedding": "embeddings.norm",
        "encoder.layer_norm": "final_norm",
    },
    layers="layers",
    layer={
        "self_attn_layer_norm": ("attn_norm",),
        "qkv": ("attn.Wqkv",),
        "out_proj": ("attn.Wo",),
        "final_layer_norm": ("mlp_norm",),
        "fc1": ("mlp.Wi",),
        "fc2": ("mlp.Wo",),
    },
    head={"lm_head.dense": "head.dense", "lm_head.layer_norm": "head.norm"},
    head_bias=("decoder.bias",),
    decoder="decoder.weight",
    classifier=CLASSIFIER,
    tagger=CLASSIFIER,
    is_head_pooler=True,
    other_heads=("classifier.", "qa_outputs."),  # fine-tuned, with a dense layer and LayerNorm named as the LM head's
    eps=("norm_eps", 1e-5),
    needed={
        "hidden_activation": "gelu",
        "classifier_activation": "gelu",
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "classifier_bias": False,
        "decoder_bias": True,
        "tie_word_embeddings": True,
    },
    native_mean=True,
    extra=_extra,
    settings=_settings,
)
