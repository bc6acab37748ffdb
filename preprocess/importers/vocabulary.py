"""A PLM's tokenizer as ``tokenizer.json`` with fairseq's ids, for the whole vocabulary or part of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from preprocess.text.numbered_lines import numbered_lines
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.errors import InputError
from salt_fairseq.tokenizer import BYTE

# How bos, pad, eos, unk and mask are spelled.
SPECIAL_TOKENS = {
    "wordpiece": ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"),
    "sentencepiece": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
}
GEMMA_TOKENS = ("<bos>", "<pad>", "<eos>", "<unk>", "<mask>")  # mmBERT's, whose <s> and </s> are HTML
SPELLINGS = {  # by the type of the model in tokenizer.json, the likeliest first
    "WordPiece": (SPECIAL_TOKENS["wordpiece"],),
    "Unigram": (SPECIAL_TOKENS["sentencepiece"], SPECIAL_TOKENS["wordpiece"]),  # DeBERTa spells them as BERT does
    "BPE": (GEMMA_TOKENS, SPECIAL_TOKENS["sentencepiece"], SPECIAL_TOKENS["wordpiece"]),
}
KINDS = {"WordPiece": "wordpiece", "Unigram": "sentencepiece", "BPE": "sentencepiece"}


def kind_of(tokenizer: dict) -> str:
    """``"wordpiece"`` or ``"sentencepiece"``, from the value of ``tokenizer.json``."""
    try:
        kind = KINDS[tokenizer["model"]["type"]]
    except (KeyError, TypeError):
        raise InputError("the tokenizer is neither WordPiece (BERT) nor SentencePiece (XLM-R, mmBERT)") from None
    if tokenizer["model"]["type"] == "BPE" and not any(piece.startswith("▁") for piece in tokenizer["model"]["vocab"]):
        raise InputError("the tokenizer is a byte-level BPE, and only one with SentencePiece's marker ▁ (mmBERT) is supported")
    return kind


def specials_of(tokenizer: dict) -> tuple[str, ...]:
    """How the tokenizer spells bos, pad, eos, unk and mask."""
    vocabulary = Tokenizer.from_str(json.dumps(tokenizer)).get_vocab(with_added_tokens=True)
    spellings = SPELLINGS[tokenizer["model"]["type"]]
    missing = [[special for special in spelling if special not in vocabulary] for spelling in spellings]
    if [] not in missing:
        raise InputError(f"the tokenizer has no {' '.join(missing[0])}: a masked LM's tokenizer is needed")
    return spellings[missing.index([])]


def separators_of(tokenizer: dict, specials: tuple[str, ...]) -> int:
    """How many eos stand between the sentences of a pair, by the template of ``tokenizer.json`` if it has one."""
    template = (tokenizer["post_processor"] or {}).get("pair", [])
    names = [next(iter(part.values()))["id"] for part in template]
    if {"A", "B"} <= set(names):
        between = names[names.index("A") : names.index("B")].count(specials[2])
        if between in (1, 2):
            return between
    return 2 if specials == SPECIAL_TOKENS["sentencepiece"] else 1


def spelled(specials: Sequence[str]) -> str:
    """The regular expression of the first character of text that spells a special token."""
    return re.escape(specials[0][0]) + "(?=(" + "|".join(re.escape(special[1:]) for special in specials) + "))"


def with_fairseq_ids(tokenizer: dict, keep: set[int] | None = None) -> tuple[dict, list[int]]:
    """Renumber the value of ``tokenizer.json``: bos, pad, eos, unk, the other pieces in their old order, mask.

    ``keep`` is the set of old ids to keep (None: all). Returns the new value and, for each new id, the old one.
    """
    kind_of(tokenizer)
    specials, kind = specials_of(tokenizer), tokenizer["model"]["type"]
    old = Tokenizer.from_str(json.dumps(tokenizer)).get_vocab(with_added_tokens=True)
    broken = next((piece for piece in old if re.search(r"[\n\r]", piece)), None)
    if broken is not None and kind != "BPE":
        raise InputError(f"the tokenizer has the piece {broken!r:.99}, and no line break can be in dict.txt: use another model")
    others = [p for p in sorted(old, key=lambda piece: old[piece]) if p not in specials and (keep is None or old[p] in keep)]
    pieces = [*specials[:4], *others, specials[4]]
    new = {piece: i for i, piece in enumerate(pieces)}
    model = dict(tokenizer["model"])
    if kind == "WordPiece":
        model["vocab"] = new
    elif kind == "BPE":
        model.update(vocab=new, merges=[merge for merge in model["merges"] if {*merge, "".join(merge)} <= new.keys()])
    else:
        scores = dict(tokenizer["model"]["vocab"])
        model.update(vocab=[(p, scores.get(p, 0.0)) for p in pieces], unk_id=new[specials[3]])
    if kind != "WordPiece":
        # The model would read text that spells a special token as that token: such text is cut after its first character.
        cut = {"type": "Split", "pattern": {"Regex": spelled(specials)}, "behavior": "MergedWithPrevious", "invert": False}
        before = [tokenizer["pre_tokenizer"]] if tokenizer["pre_tokenizer"] else []
        tokenizer = {**tokenizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*before, cut]}}
    # Other tokens that were added are pieces of text, though published as special.
    added = [
        {**token, "id": new[token["content"]], "special": token["content"] in specials}
        for token in tokenizer["added_tokens"]
        if token["content"] in new
    ]
    renumbered = {
        **tokenizer,
        "model": model,
        "added_tokens": added,
        "post_processor": None,
        "truncation": None,
        "padding": None,
    }
    return renumbered, [old[p] for p in pieces]


def used_ids(tokenizer: dict, paths: Iterable[str | Path]) -> set[int]:
    """Ids that the text in ``paths`` uses (one sentence per line, plain or ``.xz``), and those of all single characters.

    Text for which these suffice is tokenized as before: WordPiece takes the longest piece and a unigram model the best path,
    and both are kept. A unigram model charges 10 more for an unknown character than for its rarest piece, so that piece is
    kept too; so are pieces for bytes, and in a BPE model all pieces that are merged into used ones.
    """
    fast = Tokenizer.from_str(json.dumps(tokenizer))
    used = {
        i
        for piece, i in fast.get_vocab().items()
        if len(piece.removeprefix("##").removeprefix("▁")) <= 1 or BYTE.fullmatch(piece)
    }
    if tokenizer["model"]["type"] == "Unigram":
        scores = [score for _, score in tokenizer["model"]["vocab"]]
        used.add(scores.index(min(scores)))
    for path in paths:
        for _, line in progress_bar(numbered_lines(path), desc=f"reading {path}", unit=" lines"):
            used.update(fast.encode(line, add_special_tokens=False).ids)
    return _with_merged(tokenizer["model"], used) if tokenizer["model"]["type"] == "BPE" else used


def _with_merged(model, used):
    """Ids of a BPE model with those of all pieces whose merges lead to them."""
    parts: dict[str, set[str]] = {}
    for merge in model["merges"]:
        parts.setdefault("".join(merge), set()).update(merge)
    pieces = {i: piece for piece, i in model["vocab"].items()}
    reached, new = set(used), set(used)
    while new:
        new = {model["vocab"][part] for i in new for part in parts.get(pieces.get(i, ""), ())} - reached
        reached |= new
    return reached
