"""The tokenizer of a PLM directory as the files that ``AutoTokenizer`` reads, with the published ids."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from preprocess.layouts.layout import WORDPIECE_OPTIONS
from salt_fairseq.plm import Description

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def files(
    plm_dir: str | Path, description: Description, published_ids: torch.Tensor, max_length: int, is_classifier: bool
) -> dict:
    """File name to JSON value. ``published_ids``: LongTensor (V,).

    A classifier reads text that spells a special token as text, as does everything in this project; a masked LM must
    understand ``<mask>``.
    """
    special, ids = description.special_tokens, published_ids.tolist()
    value = json.loads((Path(plm_dir) / "tokenizer.json").read_text(encoding="utf-8"))
    model, is_wordpiece = value["model"], description.tokenizer == "wordpiece"
    added = [{**token, "id": ids[token["id"]]} for token in value["added_tokens"]]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for _, entry in sorted(zip(ids, model["vocab"]), key=lambda pair: pair[0])]
        model["unk_id"] = ids[model["unk_id"]]
        number = {piece: i for i, (piece, _) in enumerate(model["vocab"])}
    else:
        number = {piece: ids[i] for piece, i in model["vocab"].items()}
        model["vocab"] = dict(sorted(number.items(), key=lambda item: item[1]))
    if not is_wordpiece and not is_classifier:
        value["pre_tokenizer"] = _without_cut(value["pre_tokenizer"])
        if special["bos"] == "<s>":
            for token in added:  # as published: "a <mask>" has no piece for the space
                token["lstrip"] = token["content"] == special["mask"]
    segments = description.architecture.segments
    value.update(
        added_tokens=sorted(added, key=lambda token: token["id"]),
        post_processor=_post_processor(special, number, description.separators, segments),
    )
    names = {
        "unk_token": special["unk"],
        "sep_token": special["eos"],
        "pad_token": special["pad"],
        "cls_token": special["bos"],
        "mask_token": special["mask"],
    }
    if not is_wordpiece:
        names = {"bos_token": special["bos"], "eos_token": special["eos"], **names}
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # reads tokenizer.json as it is, for any body
        "model_max_length": max_length,
        "model_input_names": ["input_ids", *(["token_type_ids"] if segments > 1 else []), "attention_mask"],
        **names,
        **{WORDPIECE_OPTIONS[option]: setting for option, setting in description.tokenizer_options.items()},
    }
    if is_classifier:
        config["split_special_tokens"] = True
    return dict(zip(FILES, (value, config, names)))


def _without_cut(pre_tokenizer):
    """Undo what :func:`preprocess.importers.vocabulary.with_fairseq_ids` adds last (the oldest PLM directories lack it)."""
    *before, last = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    if last["type"] != "Split" or "Regex" not in last["pattern"]:
        return pre_tokenizer
    return before[0] if before else None


def _post_processor(special, number, separators, segments):
    """``[bos] A [eos]`` and ``[bos] A [eos] B [eos]`` (XLM-R: two eos between)."""

    def token(name, segment=0):
        return {"SpecialToken": {"id": special[name], "type_id": segment}}

    def sentence(name, segment=0):
        return {"Sequence": {"id": name, "type_id": segment}}

    first, second = [token("bos"), sentence("A"), token("eos")], int(segments > 1)
    between = [token("eos")] * (separators - 1)
    return {
        "type": "TemplateProcessing",
        "single": first,
        "pair": [*first, *between, sentence("B", second), token("eos", second)],
        "special_tokens": {
            special[name]: {"id": special[name], "ids": [number[special[name]]], "tokens": [special[name]]}
            for name in ("bos", "eos")
        },
    }
