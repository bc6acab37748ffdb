"""A PLM or a classifier in Hugging Face's layouts: the names, order and shapes of tensors, and ``config.json``."""

from collections.abc import Mapping

import torch

from preprocess.exporters.averaging_layer import averaging_layer
from preprocess.layouts.huggingface import DISTILBERT_SIZES, EMBEDDINGS, HEADS, ROWS, SIZES, layer_names
from salt_fairseq.modules.encoder import BOS, EOS, PAD
from salt_fairseq.plm import Description

MODEL_TYPES = {"bert": "bert", "roberta": "xlm-roberta", "distilbert": "distilbert"}
CLASSES = {"bert": "Bert", "roberta": "XLMRoberta", "distilbert": "DistilBert"}
# This project's classifier is a pooler (dense, tanh), dropout and a linear layer. DistilBERT's classifier has a ReLU instead of
# the tanh, so its body is exported as BERT's, with one segment that adds nothing. All these layouts read the first token; see
# averaging_layer for the mean of all tokens.
CLASSIFIERS = {
    "bert": {"pooler": "bert.pooler.dense", "classifier": "classifier"},
    "roberta": {"pooler": "classifier.dense", "classifier": "classifier.out_proj"},
}
LM_DROPOUT = {"hidden": 0.1, "attention": 0.1}


def family_of(description: Description, is_classifier: bool) -> str:
    """The layout to write: the published one, except for DistilBERT's classifiers."""
    return "bert" if is_classifier and description.family == "distilbert" else description.family


def published_ids(description: Description, published: dict) -> torch.Tensor:
    """LongTensor (V,): the published id of each piece if a tokenizer can have these ids, otherwise the ids of this project."""
    own, ids = torch.arange(description.architecture.vocabulary), published["ids"]
    dense = torch.equal(ids.sort().values, own)
    return ids if dense or description.tokenizer == "wordpiece" else own  # a unigram model is a list without gaps


def tensors(
    state: Mapping[str, torch.Tensor],
    description: Description,
    published: dict,
    is_classifier: bool = False,
    is_mean: bool = False,
) -> dict[str, torch.Tensor]:
    """Published name to tensor. ``state`` is that of ``model.pt`` or of a fine-tuned checkpoint; ``published`` is what
    :func:`salt_fairseq.plm.load_published` returns; ``is_mean``: whether a classifier reads the mean of all tokens."""
    family, architecture = family_of(description, is_classifier), description.architecture
    has_head = not is_classifier and description.lm_head != "untrained"
    prefix = f"{family}." if is_classifier or has_head else ""
    layers = architecture.layers + is_mean
    state = averaging_layer(dict(state), architecture.layers, architecture.layer_norm_eps) if is_mean else dict(state)
    if has_head:  # layers of its own replace the encoder's: a model of this layout has one stack of layers
        replaced = architecture.layers - architecture.head_layers
        for name in [name for name in state if name.startswith("lm_head.layers.")]:
            layer, rest = name.removeprefix("lm_head.layers.").split(".", 1)
            state[f"encoder.layers.{replaced + int(layer)}.{rest}"] = state.pop(name)
    _restore_rows(state, family, published_ids(description, published), published.get("rows", {}))
    weights = {
        f"{prefix}{there}.weight": state[f"{name}.weight"]
        for name, there in EMBEDDINGS.items()
        if family != "distilbert" or name != "encoder.embed_segments"
    }
    for name, names in _modules(description, family, prefix, layers, has_head, is_classifier).items():
        for part in ("weight", "bias"):
            tensor = state[f"{name}.{part}"]
            weights.update({f"{there}.{part}": block for there, block in zip(names, tensor.chunk(len(names)))})
    if has_head:  # under both its names in XLM-R, where transformers 4 zeroes a bias that lacks one
        weights.update(dict.fromkeys(HEADS[family]["bias"][: 2 if family == "roberta" else 1], state["lm_head.bias"]))
    if not is_classifier:  # fairseq's own names mean nothing there
        others = published.get("tensors", {}).items()
        weights.update({name: tensor for name, tensor in others if not name.startswith(("encoder.", "decoder."))})
    dtype = torch.float32 if is_classifier else getattr(torch, description.weights_dtype)
    return {name: tensor.detach().to(dtype).contiguous().clone() for name, tensor in weights.items()}


def _restore_rows(state, family, ids, rows):
    """Give the embeddings of ``state`` the order and the rows with which they were published."""
    for name in ("encoder.embed_tokens.weight", "lm_head.bias"):
        if name in state:
            state[name] = _in_published_order(state[name], ids, rows.get(name))
    positions, segments = "encoder.embed_positions.weight", "encoder.embed_segments.weight"
    if family == "roberta":  # counts positions from pad + 1
        unused = state[positions].new_zeros(int(ids[PAD]) + 1, state[positions].shape[1])
        published = rows.get(positions, unused)
        state[positions] = torch.cat([published if published.shape == unused.shape else unused, state[positions]])
    if segments in rows:
        state[segments] = torch.cat([state[segments], rows[segments]])


def _modules(description, family, prefix, layers, has_head, is_classifier):
    """This project's names of the modules with weight and bias, each to its published names."""
    modules: dict[str, tuple[str, ...]] = {"encoder.layernorm_embedding": (f"{prefix}embeddings.LayerNorm",)}
    for layer in range(layers):
        modules.update(layer_names(family, prefix, layer))
    if has_head:
        modules.update({f"lm_head.{name}": (HEADS[family][name],) for name in ("dense", "layer_norm")})
    if is_classifier:
        modules.update({name: (there,) for name, there in CLASSIFIERS[family].items()})
    elif description.architecture.pooler:
        modules["pooler"] = (f"{prefix}pooler.dense",)
    return modules


def _in_published_order(tensor, ids, without_piece):
    """``tensor`` (V, ...) with row k moved to ``ids[k]``; ``without_piece``: rows of ids that no piece has."""
    size = int(ids.max()) + 1
    if without_piece is not None and len(ids) + len(without_piece) >= size:
        size = len(ids) + len(without_piece)
    else:
        without_piece = tensor.new_zeros(size - len(ids), *tensor.shape[1:])
    free = torch.ones(size, dtype=torch.bool)
    free[ids] = False
    ordered = tensor.new_empty(size, *tensor.shape[1:])
    ordered[ids], ordered[free] = tensor, without_piece
    return ordered


def config(
    description: Description,
    published: dict,
    weights: dict[str, torch.Tensor],
    labels: list[str] | None = None,
    dropout: dict[str, float] = LM_DROPOUT,
    is_mean: bool = False,
) -> dict:
    """The value of ``config.json`` for the tensors ``weights``: that of a classifier if ``labels`` are given, which reads the
    mean of all tokens if ``is_mean``. ``dropout``: the probabilities ``hidden``, ``attention`` and, of a classifier,
    ``classifier``."""
    arch, family = description.architecture, family_of(description, labels is not None)
    ids, has_head = published_ids(description, published), description.lm_head != "untrained"
    task = "ForSequenceClassification" if labels is not None else "ForMaskedLM" if has_head else "Model"
    prefix = f"{family}." if labels is not None or has_head else ""
    embeddings = {name: f"{prefix}{there}.weight" for name, there in EMBEDDINGS.items()}
    sizes = DISTILBERT_SIZES if family == "distilbert" else SIZES
    value = {
        "architectures": [CLASSES[family] + task],
        "model_type": MODEL_TYPES[family],
        **{ROWS[name]: len(weights[there]) for name, there in embeddings.items() if there in weights},
        **{there: getattr(arch, name) for name, there in sizes.items()},
        "pad_token_id": int(ids[PAD]),
        "tie_word_embeddings": True,
        "torch_dtype": str(next(iter(weights.values())).dtype).removeprefix("torch."),  # newer versions read it too
    }
    if family == "distilbert":
        value |= {
            "activation": "gelu",
            "dropout": dropout["hidden"],
            "attention_dropout": dropout["attention"],
            "sinusoidal_pos_embds": False,
        }
    else:
        value |= {
            "hidden_act": "gelu",
            "hidden_dropout_prob": dropout["hidden"],
            "attention_probs_dropout_prob": dropout["attention"],
            "layer_norm_eps": arch.layer_norm_eps,
            "position_embedding_type": "absolute",
        }
    if family == "roberta":
        value |= {"bos_token_id": int(ids[BOS]), "eos_token_id": int(ids[EOS])}
    if is_mean:
        value["num_hidden_layers"] += 1  # the averaging layer
    if labels is not None:
        value |= {
            "classifier_dropout": dropout["classifier"],
            "problem_type": "single_label_classification",
            "id2label": {str(i): label for i, label in enumerate(labels)},
            "label2id": {label: i for i, label in enumerate(labels)},
        }
    return value
