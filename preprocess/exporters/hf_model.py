"""A PLM or a classifier in Hugging Face's layouts: the names, order and shapes of tensors, and ``config.json``."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from preprocess.exporters.averaging_layer import averaging_layer
from preprocess.layouts.layout import Layout
from preprocess.layouts.registry import LAYOUTS
from salt_fairseq.modules.encoder import BOS, EOS, PAD
from salt_fairseq.plm import Description

SEQUENCES, TOKENS = "ForSequenceClassification", "ForTokenClassification"  # classifiers, as transformers' classes end
LM_DROPOUT = {"hidden": 0.1, "attention": 0.1}
SPECIAL_IDS = {  # besides padding
    **dict.fromkeys(("xlm-roberta", "xlm-roberta-xl"), (("bos", BOS), ("eos", EOS))),
    "modernbert": (("bos", BOS), ("eos", EOS), ("cls", BOS), ("sep", EOS)),
}


def layout_of(description: Description, is_classifier: bool) -> Layout:
    """The layout to write: the published one, except for DistilBERT's classifiers: they have a ReLU where this project has a
    tanh, so that its body is exported as BERT's, with one segment that adds nothing."""
    return LAYOUTS["bert" if is_classifier and description.family == "distilbert" else description.family]


def published_ids(description: Description, published: dict) -> torch.Tensor:
    """LongTensor (V,): the published id of each piece if a tokenizer can have these ids, otherwise the ids of this project."""
    own, ids = torch.arange(description.architecture.vocabulary), published["ids"]
    dense = torch.equal(ids.sort().values, own)
    return ids if dense or description.tokenizer == "wordpiece" else own  # a unigram model is a list without gaps


def tensors(
    state: Mapping[str, torch.Tensor], description: Description, published: dict, task: str = "", is_mean: bool = False
) -> dict[str, torch.Tensor]:
    """Published name to tensor. ``state`` is that of ``model.pt`` or of a fine-tuned checkpoint; ``published`` is what
    :func:`salt_fairseq.plm.load_published` returns; ``task``: :data:`SEQUENCES` or :data:`TOKENS` for a classifier;
    ``is_mean``: whether it reads the mean of all tokens."""
    is_classifier, architecture = bool(task), description.architecture
    layout = layout_of(description, is_classifier)
    classifier = {"": {}, SEQUENCES: layout.classifier, TOKENS: layout.tagger}[task]
    has_head = not is_classifier and description.lm_head != "untrained"
    prefix = layout.prefix if is_classifier or has_head else published.get("prefix", "")
    state = dict(state)
    if is_mean and not layout.native_mean:
        state = averaging_layer(state, architecture.layers, architecture.layer_norm_eps)
    if has_head:  # layers of its own replace the encoder's: a model of this layout has one stack of layers
        replaced = architecture.layers - architecture.head_layers
        for name in [name for name in state if name.startswith("lm_head.layers.")]:
            layer, rest = name.removeprefix("lm_head.layers.").split(".", 1)
            state[f"encoder.layers.{replaced + int(layer)}.{rest}"] = state.pop(name)
    _restore_rows(state, layout, published_ids(description, published), published.get("rows", {}))
    weights: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        module, _, part = name.rpartition(".")
        if name.startswith("lm_head.") and not has_head:
            continue
        if name == "lm_head.bias":
            weights.update(dict.fromkeys(layout.head_bias[: layout.head_bias_copies], tensor))
            continue
        names = layout.published(module, prefix, classifier)
        weights.update({f"{there}.{part}": block for there, block in zip(names, tensor.chunk(max(1, len(names))))})
    if not is_classifier:  # fairseq's own names mean nothing there, nor do heads in whose place another was trained
        dropped = ("encoder.", "decoder.", *(layout.other_heads if has_head else ()))
        others = published.get("tensors", {}).items()
        weights = {**{name: tensor for name, tensor in others if not name.startswith(dropped)}, **weights}
    dtype = torch.float32 if is_classifier else getattr(torch, description.weights_dtype)
    return {name: tensor.detach().to(dtype).contiguous().clone() for name, tensor in weights.items()}


def _restore_rows(state, layout, ids, rows):
    """Give the embeddings of ``state`` the order and the rows with which they were published."""
    for name in ("encoder.embed_tokens.weight", "lm_head.bias"):
        if name in state:
            state[name] = _in_published_order(state[name], ids, rows.get(name))
    positions, segments = "encoder.embed_positions.weight", "encoder.embed_segments.weight"
    if layout.counts_positions_from_pad:
        unused = state[positions].new_zeros(int(ids[PAD]) + 1, state[positions].shape[1])
        published = rows.get(positions, unused)
        state[positions] = torch.cat([published if published.shape == unused.shape else unused, state[positions]])
    if segments in rows:
        state[segments] = torch.cat([state[segments], rows[segments]])


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
    task: str = SEQUENCES,
) -> dict:
    """The value of ``config.json`` for the tensors ``weights``: that of a classifier if ``labels`` are given, which does the
    ``task`` and reads the mean of all tokens if ``is_mean``. ``dropout``: the probabilities ``hidden``, ``attention`` and, of a
    classifier, ``classifier``."""
    arch, layout = description.architecture, layout_of(description, labels is not None)
    ids, has_head = published_ids(description, published), description.lm_head != "untrained"
    task = task if labels is not None else "ForMaskedLM" if has_head else "Model"
    prefix = layout.prefix if labels is not None or has_head else published.get("prefix", "")
    embeddings = {name: f"{prefix}{layout.modules[name]}.weight" for name in layout.rows if name in layout.modules}
    value = {
        "architectures": [layout.classes + task],
        "model_type": layout.model_type,
        **{layout.rows[name]: len(weights[there]) for name, there in embeddings.items()},
        **{there: getattr(arch, name) for name, there in layout.sizes.items()},
        **{f"{name}_token_id": int(ids[i]) for name, i in (("pad", PAD), *SPECIAL_IDS.get(layout.model_type, ()))},
        "tie_word_embeddings": True,
        "torch_dtype": str(next(iter(weights.values())).dtype).removeprefix("torch."),  # newer versions read it too
        **layout.settings(arch, dropout, is_mean if labels is not None else description.pooling == "mean"),
    }
    if is_mean and not layout.native_mean:
        value[layout.sizes["layers"]] += 1  # the averaging layer
    if labels is not None:
        value |= {
            "classifier_dropout": dropout["classifier"],
            **({"problem_type": "single_label_classification"} if task == SEQUENCES else {}),
            "id2label": {str(i): label for i, label in enumerate(labels)},
            "label2id": {label: i for i, label in enumerate(labels)},
        }
    return value
