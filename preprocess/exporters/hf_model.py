"""A PLM or a classifier in the names and the order of Hugging Face's layouts, which ``importers/huggingface.py`` reads."""

import torch

from preprocess.importers.huggingface import DISTILBERT_SIZES, EMBEDDINGS, HEADS, SIZES, layer_names
from salt_fairseq.modules.encoder import BOS, EOS, PAD

MODEL_TYPES = {"bert": "bert", "roberta": "xlm-roberta", "distilbert": "distilbert"}
CLASSES = {"bert": "Bert", "roberta": "XLMRoberta", "distilbert": "DistilBert"}
# A classifier of this project is a pooler (dense, tanh), dropout and a linear layer. DistilBERT's own has a ReLU instead of the
# tanh, so its body is exported as BERT's, with one segment that adds nothing. All of these layouts read the first token; for
# the mean of all tokens, see averaging_layer.
CLASSIFIERS = {
    "bert": {"pooler": "bert.pooler.dense", "classifier": "classifier"},
    "roberta": {"pooler": "classifier.dense", "classifier": "classifier.out_proj"},
}
LM_DROPOUT = {"hidden": 0.1, "attention": 0.1}
SCALE = 2.0**10


def family_of(description, is_classifier):
    """The layout to write: the published one, but for DistilBERT's classifiers."""
    return "bert" if is_classifier and description.family == "distilbert" else description.family


def published_ids(description, published):
    """LongTensor (V,): the id that each piece had, if a tokenizer can have it, else the id it has here."""
    ours, ids = torch.arange(description.architecture.vocabulary), published["ids"]
    dense = torch.equal(ids.sort().values, ours)
    return ids if dense or description.tokenizer == "wordpiece" else ours  # a unigram model is a list without gaps


def averaging_layer(state, layers, eps):
    """``state`` with one encoder layer more, after which the first token's features are the normalized mean of all tokens'
    (:func:`salt_fairseq.modules.pooling.normalized_mean`).

    Queries and keys of zero attend to all tokens alike, so that a mean comes out of attention; the feed-forward adds nothing,
    and the last LayerNorm undoes the eps of the one before. The first token's own features, which the residual adds, are
    made 2^20 times smaller than the mean: 2^10 times below and the mean 2^10 times above, which fp16 can hold, too.
    """
    norm = [f"encoder.layers.{layers - 1}.final_layer_norm.{part}" for part in ("weight", "bias")]
    dim, ffn_dim = len(state[norm[0]]), len(state["encoder.layers.0.fc1.bias"])
    here, one, zero = f"encoder.layers.{layers}", torch.eye(dim), torch.zeros(dim)
    undone = torch.full((dim,), (1 + eps) ** 0.5)
    return {
        **state,
        **{name: state[name] / SCALE for name in norm},
        f"{here}.qkv.weight": torch.cat([torch.zeros(2 * dim, dim), SCALE * one]),
        f"{here}.qkv.bias": torch.zeros(3 * dim),
        f"{here}.out_proj.weight": SCALE * one,
        f"{here}.out_proj.bias": zero,
        f"{here}.self_attn_layer_norm.weight": torch.ones(dim),
        f"{here}.self_attn_layer_norm.bias": zero,
        f"{here}.fc1.weight": torch.zeros(ffn_dim, dim),
        f"{here}.fc1.bias": torch.zeros(ffn_dim),
        f"{here}.fc2.weight": torch.zeros(dim, ffn_dim),
        f"{here}.fc2.bias": zero,
        f"{here}.final_layer_norm.weight": undone,
        f"{here}.final_layer_norm.bias": zero,
    }


def tensors(state, description, published, is_classifier=False, is_mean=False):
    """Published name to tensor. ``state`` is that of ``model.pt`` or of a fine-tuned checkpoint; ``published`` is what
    :func:`salt_fairseq.plm.load_published` gives; ``is_mean``: whether a classifier reads the mean of all tokens."""
    family = family_of(description, is_classifier)
    has_head = not is_classifier and description.lm_head != "untrained"
    prefix = f"{family}." if is_classifier or has_head else ""
    rows, ids = published.get("rows", {}), published_ids(description, published)
    layers = description.architecture.layers + is_mean
    state = averaging_layer(state, layers - 1, description.architecture.layer_norm_eps) if is_mean else dict(state)
    found = {}
    if has_head:  # a model of this layout is either the encoder or the masked LM where they have layers of their own
        replaced = description.architecture.layers - description.architecture.head_layers
        for name in [name for name in state if name.startswith("lm_head.layers.")]:
            layer, rest = name.removeprefix("lm_head.layers.").split(".", 1)
            state[f"encoder.layers.{replaced + int(layer)}.{rest}"] = state.pop(name)
    for name in ("encoder.embed_tokens.weight", "lm_head.bias"):
        if name in state:
            state[name] = _in_published_order(state[name], ids, rows.get(name))
    positions, segments = "encoder.embed_positions.weight", "encoder.embed_segments.weight"
    if family == "roberta":  # counts positions from pad + 1
        unused = state[positions].new_zeros(int(ids[PAD]) + 1, state[positions].shape[1])
        given = rows.get(positions, unused)
        state[positions] = torch.cat([given if given.shape == unused.shape else unused, state[positions]])
    if segments in rows:
        state[segments] = torch.cat([state[segments], rows[segments]])
    for ours, theirs in EMBEDDINGS.items():
        if family != "distilbert" or ours != "encoder.embed_segments":
            found[f"{prefix}{theirs}.weight"] = state[f"{ours}.weight"]
    modules = {"encoder.layernorm_embedding": f"{prefix}embeddings.LayerNorm"}
    for layer in range(layers):
        modules.update(layer_names(family, prefix, layer))
    if has_head:
        head = HEADS[family]
        modules.update({"lm_head.dense": head["dense"], "lm_head.layer_norm": head["layer_norm"]})
        found[head["bias"][0]] = state["lm_head.bias"]
        if family == "roberta":  # transformers 4 zeroes XLM-R's bias unless both names of it are there
            found[head["bias"][1]] = state["lm_head.bias"]
    if is_classifier:
        modules.update(CLASSIFIERS[family])
    elif description.architecture.pooler:
        modules["pooler"] = f"{prefix}pooler.dense"
    for ours, theirs in modules.items():
        for part in ("weight", "bias"):
            tensor = state[f"{ours}.{part}"]
            names = [theirs] if isinstance(theirs, str) else theirs
            found.update({f"{name}.{part}": piece for name, piece in zip(names, tensor.chunk(len(names)))})
    if not is_classifier:  # fairseq's own names mean nothing there
        found.update(
            {
                name: tensor
                for name, tensor in published.get("tensors", {}).items()
                if not name.startswith(("encoder.", "decoder."))
            }
        )
    dtype = torch.float32 if is_classifier else getattr(torch, description.weights_dtype)
    return {name: tensor.detach().to(dtype).contiguous().clone() for name, tensor in found.items()}


def _in_published_order(tensor, ids, without_piece):
    """``tensor`` (V, ...) with row k moved to ``ids[k]``; ``without_piece`` are the rows of ids that no piece has."""
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


def config(description, published, weights, labels=None, dropout=LM_DROPOUT, is_mean=False):
    """The value of ``config.json`` for the tensors ``weights``; with ``labels``, that of a classifier of them, with ``is_mean``
    of the mean. ``dropout`` has the probabilities ``hidden``, ``attention`` and, of a classifier, ``classifier``."""
    arch, family = description.architecture, family_of(description, labels is not None)
    ids, has_head = published_ids(description, published), description.lm_head != "untrained"
    task = "ForSequenceClassification" if labels is not None else "ForMaskedLM" if has_head else "Model"
    prefix = f"{family}." if labels is not None or has_head else ""
    rows = {
        ours: len(weights[f"{prefix}{theirs}.weight"])
        for ours, theirs in EMBEDDINGS.items()
        if f"{prefix}{theirs}.weight" in weights
    }
    value = {
        "architectures": [CLASSES[family] + task],
        "model_type": MODEL_TYPES[family],
        "vocab_size": rows["encoder.embed_tokens"],
        "max_position_embeddings": rows["encoder.embed_positions"],
        **{theirs: getattr(arch, ours) for ours, theirs in (DISTILBERT_SIZES if family == "distilbert" else SIZES).items()},
        "pad_token_id": int(ids[PAD]),
        "tie_word_embeddings": True,
        "torch_dtype": str(next(iter(weights.values())).dtype).removeprefix("torch."),  # newer ones read it, too
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
            "type_vocab_size": rows["encoder.embed_segments"],
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
