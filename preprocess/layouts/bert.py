"""Hugging Face's layouts of BERT, XLM-R and DistilBERT, one body with three sets of names, and of XLM-R XL, whose names of a
layer are BERT's except for its LayerNorms."""

from dataclasses import replace

from preprocess.layouts.layout import Layout

BERT = Layout(
    model_type="bert",
    body="bert",
    classes="Bert",
    prefix="bert.",
    sizes={"dim": "hidden_size", "layers": "num_hidden_layers", "heads": "num_attention_heads", "ffn_dim": "intermediate_size"},
    rows={
        "encoder.embed_tokens": "vocab_size",
        "encoder.embed_positions": "max_position_embeddings",
        "encoder.embed_segments": "type_vocab_size",
    },
    modules={
        "encoder.embed_tokens": "embeddings.word_embeddings",
        "encoder.embed_positions": "embeddings.position_embeddings",
        "encoder.embed_segments": "embeddings.token_type_embeddings",
        "encoder.layernorm_embedding": "embeddings.LayerNorm",
    },
    layers="encoder.layer",
    layer={
        "qkv": ("attention.self.query", "attention.self.key", "attention.self.value"),
        "out_proj": ("attention.output.dense",),
        "self_attn_layer_norm": ("attention.output.LayerNorm",),
        "fc1": ("intermediate.dense",),
        "fc2": ("output.dense",),
        "final_layer_norm": ("output.LayerNorm",),
    },
    head={"lm_head.dense": "cls.predictions.transform.dense", "lm_head.layer_norm": "cls.predictions.transform.LayerNorm"},
    head_bias=("cls.predictions.bias", "cls.predictions.decoder.bias"),
    decoder="cls.predictions.decoder.weight",
    classifier={"pooler": "bert.pooler.dense", "classifier": "classifier"},
    pooler="pooler.dense",
    eps=("layer_norm_eps", 1e-12),
    needed={"hidden_act": "gelu", "position_embedding_type": "absolute", "tie_word_embeddings": True, "is_decoder": False},
    settings=lambda arch, dropout, is_mean: {
        "hidden_act": "gelu",
        "hidden_dropout_prob": dropout["hidden"],
        "attention_probs_dropout_prob": dropout["attention"],
        "layer_norm_eps": arch.layer_norm_eps,
        "position_embedding_type": "absolute",
    },
)
ROBERTA = replace(
    BERT,
    model_type="xlm-roberta",
    classes="XLMRoberta",
    prefix="roberta.",
    head={"lm_head.dense": "lm_head.dense", "lm_head.layer_norm": "lm_head.layer_norm"},
    head_bias=("lm_head.bias", "lm_head.decoder.bias"),
    head_bias_copies=2,  # transformers 4 zeroes a bias that lacks one
    decoder="lm_head.decoder.weight",
    classifier={"pooler": "classifier.dense", "classifier": "classifier.out_proj"},
    counts_positions_from_pad=True,
)
XLMR_XL = replace(
    ROBERTA,
    model_type="xlm-roberta-xl",
    body="xlm-roberta-xl",
    classes="XLMRobertaXL",
    modules={
        **{name: there for name, there in BERT.modules.items() if name != "encoder.layernorm_embedding"},
        "encoder.layer_norm": "encoder.LayerNorm",
    },
    layer={**BERT.layer, "self_attn_layer_norm": ("attention.self_attn_layer_norm",), "final_layer_norm": ("LayerNorm",)},
    eps=("layer_norm_eps", 1e-5),
)
DISTILBERT = replace(
    BERT,
    model_type="distilbert",
    classes="DistilBert",
    prefix="distilbert.",
    sizes={"dim": "dim", "layers": "n_layers", "heads": "n_heads", "ffn_dim": "hidden_dim"},
    modules={name: there for name, there in BERT.modules.items() if name != "encoder.embed_segments"},
    layers="transformer.layer",
    layer={
        "qkv": ("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        "out_proj": ("attention.out_lin",),
        "self_attn_layer_norm": ("sa_layer_norm",),
        "fc1": ("ffn.lin1",),
        "fc2": ("ffn.lin2",),
        "final_layer_norm": ("output_layer_norm",),
    },
    head={"lm_head.dense": "vocab_transform", "lm_head.layer_norm": "vocab_layer_norm"},
    head_bias=("vocab_projector.bias",),
    decoder="vocab_projector.weight",
    pooler="",
    eps=("", 1e-12),  # no setting, one value
    needed={"activation": "gelu", "tie_word_embeddings": True, "is_decoder": False},
    settings=lambda arch, dropout, is_mean: {
        "activation": "gelu",
        "dropout": dropout["hidden"],
        "attention_dropout": dropout["attention"],
        "sinusoidal_pos_embds": False,
    },
)
