"""A PLM's tokenizer as ``tokenizer.json`` with fairseq's ids, for the whole vocabulary or part of it."""

import base64
import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from preprocess.importers.weight_files import reason
from preprocess.layouts.layout import WORDPIECE_OPTIONS
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
# What published tokenizers replace or cut by a regular expression. Others are not used: some take years for a short text.
REGEXES = {" {2,}", " +", r"\s+", r"\s{2,}", r"\n+", r"\n", r"\s{2,}|[\n\r\t]"}
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


def read_tokenizer(directory: Path) -> dict:
    """The value of ``tokenizer.json`` in a Hugging Face directory, built from the older files if there is none."""
    for name, read in READERS.items():
        if (directory / name).is_file():
            return complete(read, directory / name)
    raise InputError(f"{directory} has no tokenizer: {', '.join(READERS)} is needed")


def complete(make: Callable[[Path], dict], path: Path) -> dict:
    """The value of ``tokenizer.json`` that ``make(path)`` returns, as the library writes it: it fills in what older files leave
    out, such as the type of the model."""
    try:
        made = make(path)
        if unknown := sorted(_regexes(made) - REGEXES - {_spelled(s) for every in SPELLINGS.values() for s in every}):
            raise InputError(
                f"{path} has the regular expression {unknown[0]!r:.99}, which no supported tokenizer has: use another"
            )
        return json.loads(Tokenizer.from_str(json.dumps(made)).to_str())
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the library raises many types, and its panics are no Exception
        raise InputError(f"{path} cannot be read ({reason(error)}): download it again") from None


def _regexes(value) -> set[str]:
    """All regular expressions in the value of ``tokenizer.json``, wherever they stand."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = {str(value["Regex"])} if isinstance(value, dict) and "Regex" in value else set()
    return own.union(*(_regexes(part) for part in parts if isinstance(part, dict | list)))


def _spelled(specials: Sequence[str]) -> str:
    """The regular expression of the first character of text that spells a special token."""
    return re.escape(specials[0][0]) + "(?=(" + "|".join(re.escape(special[1:]) for special in specials) + "))"


def _read_object(path: Path) -> dict:
    """The JSON object in a file beside the vocabulary, empty if there is no such file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({reason(error)}): download it again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds no JSON object: download it again")
    return value


def _wordpiece_options(directory):
    """The options of BERT's normalizer that ``tokenizer_config.json`` sets, by their names in ``tokenizer.json``."""
    path = directory / "tokenizer_config.json"
    options = _read_object(path)
    for published in WORDPIECE_OPTIONS.values():
        value = options.get(published, True)
        if type(value) is not bool and (value is not None or published != "strip_accents"):
            raise InputError(f"{path}: {published} is {json.dumps(value):.99}, and true or false is needed: correct it")
    return {name: options[published] for name, published in WORDPIECE_OPTIONS.items() if published in options}


def _with_added_tokens(tokenizer: dict, directory: Path) -> dict:
    """The value of ``tokenizer.json`` with the tokens of ``added_tokens.json``, which are read as one piece anywhere in a
    text, as transformers adds them: in the text as it is if ``additional_special_tokens`` names them, else normalized."""
    path = directory / "added_tokens.json"
    ids = _read_object(path)
    if not all(type(i) is int for i in ids.values()):
        raise InputError(f"{path} has a token without a number: download it again")
    config = _read_object(directory / "tokenizer_config.json") | _read_object(directory / "special_tokens_map.json")
    named = config.get("additional_special_tokens")
    contents = (
        [token.get("content") if isinstance(token, dict) else token for token in named] if isinstance(named, list) else []
    )
    vocabulary = Tokenizer.from_str(json.dumps(tokenizer)).get_vocab(with_added_tokens=True)
    present = {token["content"] for token in tokenizer["added_tokens"]}
    added, following = [], len(vocabulary)
    for content, i in sorted(ids.items(), key=lambda item: item[1]):
        expected = vocabulary.get(content, following)
        if i != expected:
            raise InputError(f"{path} gives {content!r:.99} the id {i} instead of {expected}: download it again")
        following += content not in vocabulary
        if content not in present:
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "special"), False)
            added.append({"id": i, "content": content, **flags, "normalized": content not in contents})
    return {**tokenizer, "added_tokens": [*tokenizer["added_tokens"], *added]}


def _from_json(path):
    value = json.loads(path.read_text(encoding="utf-8"))
    if (value["normalizer"] or {}).get("type") == "BertNormalizer":  # as transformers does, let tokenizer_config.json win
        value["normalizer"].update(_wordpiece_options(path.parent))
    return value


def _from_wordpieces(path):
    with open(path, encoding="utf-8") as file:  # a repeated line has its last id, as in transformers
        vocabulary = {line.rstrip("\n"): i for i, line in enumerate(file)}
    tokenizer = json.loads(BertWordPieceTokenizer(vocabulary, **_wordpiece_options(path.parent)).to_str())
    return _with_added_tokens(tokenizer, path.parent)


def read_sentencepiece(path: Path) -> tuple[dict[str, float], bytes]:
    """``({piece: score}, normalization table)`` of a SentencePiece unigram model, without its <unk>, <s> and </s>."""
    model = _sentencepiece_model(path)
    if not _is_unigram(model) or [p.piece for p in model.pieces[:3]] != ["<unk>", "<s>", "</s>"]:
        raise InputError(f"{path} is no SentencePiece unigram that begins with <unk>, <s> and </s>: XLM-R's is needed")
    return {p.piece: p.score for p in model.pieces[3:]}, model.normalizer_spec.precompiled_charsmap


def _sentencepiece_model(path: Path) -> sentencepiece_model_pb2.ModelProto:
    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}): download it again") from None
    if not all(isinstance(p.piece, str) for p in model.pieces):
        raise InputError(f"{path} cannot be read (a piece is no UTF-8 text): download it again")
    return model


def _is_unigram(model: sentencepiece_model_pb2.ModelProto) -> bool:
    return model.trainer_spec.model_type == model.trainer_spec.UNIGRAM


def _from_deberta(path):
    """DeBERTa's ``tokenizer.json`` from its SentencePiece model, whose ids are the published ones: its pieces, then those
    special tokens that it lacks. With the model's byte fallback, as SentencePiece has it."""
    options = _read_object(path.parent / "tokenizer_config.json")
    if changed := [name for name in ("do_lower_case", "split_by_punct") if options.get(name)]:
        raise InputError(f"{path.parent}: {changed[0]} is set in tokenizer_config.json, which is not supported for DeBERTa")
    model, specials = _sentencepiece_model(path), SPECIAL_TOKENS["wordpiece"]
    if not _is_unigram(model):
        raise InputError(f"{path} is no SentencePiece unigram: DeBERTa's is needed")
    pieces = [(p.piece, 0.0 if p.piece in specials else p.score) for p in model.pieces]
    pieces += [(special, 0.0) for special in specials if special not in dict(pieces)]
    charsmap = model.normalizer_spec.precompiled_charsmap
    return _with_added_tokens(unigram(pieces, charsmap, specials, model.trainer_spec.byte_fallback), path.parent)


def _from_sentencepiece(path):
    """XLM-R's ``tokenizer.json`` from its SentencePiece model: four special tokens, the pieces, ``<mask>``."""
    pieces, charsmap = read_sentencepiece(path)
    specials = SPECIAL_TOKENS["sentencepiece"]
    tokenizer = unigram([(s, 0.0) for s in specials[:4]] + list(pieces.items()) + [(specials[4], 0.0)], charsmap)
    return _with_added_tokens(tokenizer, path.parent)


READERS = {
    "tokenizer.json": _from_json,
    "vocab.txt": _from_wordpieces,
    "sentencepiece.bpe.model": _from_sentencepiece,
    "sentencepiece.model": _from_sentencepiece,
    "spm.model": _from_deberta,
}


def nmt_nfkc() -> bytes:
    """SentencePiece's compiled table of the normalization ``nmt_nfkc``, which every XLM-R vocabulary uses."""
    model = sentencepiece_model_pb2.ModelProto()
    trained: list[bytes] = []

    class Writer:
        write = staticmethod(trained.append)

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c"]), model_writer=Writer, vocab_size=7, normalization_rule_name="nmt_nfkc", minloglevel=2
    )
    model.ParseFromString(b"".join(trained))
    return model.normalizer_spec.precompiled_charsmap


def unigram(
    vocabulary: Sequence[tuple[str, float]],
    charsmap: bytes,
    specials: Sequence[str] = SPECIAL_TOKENS["sentencepiece"],
    byte_fallback: bool = False,
) -> dict:
    """The value of ``tokenizer.json`` for a unigram model; ``vocabulary``: ``(piece, score)`` by id, specials included."""
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    ids = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": ids[s], "content": s, **dict.fromkeys(flags, False), "special": True} for s in specials],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()}
        if charsmap
        else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, metaspace]} if byte_fallback else metaspace,
        "model": {"type": "Unigram", "unk_id": ids[specials[3]], "vocab": vocabulary, "byte_fallback": byte_fallback},
    }


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
        cut = {"type": "Split", "pattern": {"Regex": _spelled(specials)}, "behavior": "MergedWithPrevious", "invert": False}
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
