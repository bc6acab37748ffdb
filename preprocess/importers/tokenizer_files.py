"""The tokenizer of a published model as the value of ``tokenizer.json``, from that file or from older ones."""

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer

from preprocess.importers.vocabulary import SPECIAL_TOKENS, SPELLINGS, spelled
from preprocess.importers.weight_files import reason
from preprocess.layouts.layout import WORDPIECE_OPTIONS
from salt_fairseq.errors import InputError

# What published tokenizers replace or cut by a regular expression. Others are not used: some take years for a short text.
REGEXES = {" {2,}", " +", r"\s+", r"\s{2,}", r"\n+", r"\n", r"\s{2,}|[\n\r\t]"}


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
        if unknown := sorted(_regexes(made) - REGEXES - {spelled(s) for every in SPELLINGS.values() for s in every}):
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
    return own.union(*(_regexes(part) for part in parts if isinstance(part, (dict, list))))


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
