"""The names of tensors and settings in Hugging Face's layouts of BERT, XLM-R and DistilBERT, for importers and exporters."""

from typing import Any

BODIES = {"bert": "bert", "xlm-roberta": "roberta", "roberta": "roberta", "distilbert": "distilbert"}
# This project's names to the published ones, by family. A model is saved with or without the prefix of its body ("bert.").
EMBEDDINGS = {
    "encoder.embed_tokens": "embeddings.word_embeddings",
    "encoder.embed_positions": "embeddings.position_embeddings",
    "encoder.embed_segments": "embeddings.token_type_embeddings",
}
BERT_LAYER = {
    "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "out_proj": ("attention.output.dense",),
    "self_attn_layer_norm": ("attention.output.LayerNorm",),
    "fc1": ("intermediate.dense",),
    "fc2": ("output.dense",),
    "final_layer_norm": ("output.LayerNorm",),
}
DISTILBERT_LAYER = {
    "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    "out_proj": ("attention.out_lin",),
    "self_attn_layer_norm": ("sa_layer_norm",),
    "fc1": ("ffn.lin1",),
    "fc2": ("ffn.lin2",),
    "final_layer_norm": ("output_layer_norm",),
}
LAYERS = {
    "bert": ("encoder.layer", BERT_LAYER),
    "roberta": ("encoder.layer", BERT_LAYER),
    "distilbert": ("transformer.layer", DISTILBERT_LAYER),
}
HEADS: dict[str, dict[str, Any]] = {
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
# Names in config.json of the encoder's sizes, and of the rows of its embeddings.
SIZES = {"dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads", "ffn_dim": "intermediate_size"}
DISTILBERT_SIZES = {"dim": "dim", "layers": "n_layers", "heads": "n_heads", "ffn_dim": "hidden_dim"}
ROWS = {
    "encoder.embed_tokens": "vocab_size",
    "encoder.embed_positions": "max_position_embeddings",
    "encoder.embed_segments": "type_vocab_size",
}
# BERT's normalizer's options in tokenizer.json to their names in tokenizer_config.json.
WORDPIECE_OPTIONS = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
}


def layer_names(family: str, prefix: str, layer: int) -> dict[str, tuple[str, ...]]:
    """This project's names of the modules of one layer, each to its published names: one, or for ``qkv`` three."""
    path, modules = LAYERS[family]
    return {
        f"encoder.layers.{layer}.{name}": tuple(f"{prefix}{path}.{layer}.{published}" for published in names)
        for name, names in modules.items()
    }
