"""A PLM's tokenizer as ``tokenizer.json`` with fairseq's ids, for the whole vocabulary or a part of it."""

import base64
import json
import lzma

import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer
from tokenizers.implementations import BertWordPieceTokenizer
from tqdm import tqdm

from preprocess.importers.weight_files import reason
from salt_fairseq.errors import InputError

# Spelling of bos, pad, eos, unk, mask.
SPECIAL_TOKENS = {
    "wordpiece": ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"),
    "sentencepiece": ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
}
# BERT's normalizer's names to those of tokenizer_config.json.
WORDPIECE_OPTIONS = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
}
KINDS = {"WordPiece": "wordpiece", "Unigram": "sentencepiece"}


def kind_of(tokenizer):
    """``wordpiece`` or ``sentencepiece``, from a ``tokenizer.json`` value."""
    try:
        return KINDS[tokenizer["model"]["type"]]
    except (KeyError, TypeError):
        raise InputError("the tokenizer is neither WordPiece (BERT) nor a SentencePiece unigram (XLM-R)") from None


def read_tokenizer(directory):
    """The ``tokenizer.json`` value of a Hugging Face directory, built from its older files where it has none."""
    for name, read in READERS.items():
        if (directory / name).is_file():
            return complete(lambda: read(directory / name), directory / name)
    raise InputError(f"{directory} has no tokenizer: {', '.join(READERS)} is needed")


def complete(make, path):
    """The ``tokenizer.json`` value that ``make()`` gives for the file ``path``, as the library writes it: older files leave
    out what it fills in, such as the kind of the model."""
    try:
        return json.loads(Tokenizer.from_str(json.dumps(make())).to_str())
    except (InputError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the library raises many kinds, and panics, which are no Exception
        raise InputError(f"{path} cannot be read ({reason(error)}): download it again") from None


def _wordpiece_options(directory):
    """What ``tokenizer_config.json`` says about words: a dict by the names of BERT's normalizer."""
    path = directory / "tokenizer_config.json"
    options = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {ours: options[theirs] for ours, theirs in WORDPIECE_OPTIONS.items() if theirs in options}


def _from_json(path):
    value = json.loads(path.read_text(encoding="utf-8"))
    if (value["normalizer"] or {}).get("type") == "BertNormalizer":  # transformers believes tokenizer_config.json
        value["normalizer"].update(_wordpiece_options(path.parent))
    return value


def _from_wordpieces(path):
    with open(path, encoding="utf-8") as file:  # a line that is there twice has the later id, as in transformers
        vocabulary = {line.rstrip("\n"): i for i, line in enumerate(file)}
    return json.loads(BertWordPieceTokenizer(vocabulary, **_wordpiece_options(path.parent)).to_str())


def read_sentencepiece(path):
    """``({piece: score}, normalization table)`` of a SentencePiece unigram model, without its <unk>, <s>, </s>."""
    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}): download it again") from None
    if not all(isinstance(p.piece, str) for p in model.pieces):
        raise InputError(f"{path} cannot be read (a piece is no UTF-8 text): download it again")
    unigrams = model.trainer_spec.model_type == model.trainer_spec.UNIGRAM
    if not unigrams or [p.piece for p in model.pieces[:3]] != ["<unk>", "<s>", "</s>"]:
        raise InputError(f"{path} is no SentencePiece unigram that begins with <unk>, <s> and </s>: XLM-R's is needed")
    return {p.piece: p.score for p in model.pieces[3:]}, model.normalizer_spec.precompiled_charsmap


def _from_sentencepiece(path):
    """XLM-R's ``tokenizer.json`` from its SentencePiece model: fairseq's four specials, the pieces, ``<mask>``."""
    pieces, charsmap = read_sentencepiece(path)
    specials = SPECIAL_TOKENS["sentencepiece"]
    return unigram([(s, 0.0) for s in specials[:4]] + list(pieces.items()) + [(specials[4], 0.0)], charsmap)


READERS = {
    "tokenizer.json": _from_json,
    "vocab.txt": _from_wordpieces,
    "sentencepiece.bpe.model": _from_sentencepiece,
    "sentencepiece.model": _from_sentencepiece,
}


def nmt_nfkc():
    """SentencePiece's compiled table of the normalization ``nmt_nfkc``, as every XLM-R vocabulary uses it."""
    model = sentencepiece_model_pb2.ModelProto()
    trained = []

    class Writer:
        write = staticmethod(trained.append)

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c"]), model_writer=Writer, vocab_size=7, normalization_rule_name="nmt_nfkc", minloglevel=2
    )
    model.ParseFromString(b"".join(trained))
    return model.normalizer_spec.precompiled_charsmap


def unigram(vocabulary, charsmap):
    """``tokenizer.json`` of a unigram model: ``vocabulary`` is (piece, score) in id order, specials included."""
    specials = SPECIAL_TOKENS["sentencepiece"]
    ids = {piece: i for i, (piece, _) in enumerate(vocabulary)}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": ids[s],
                "content": s,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for s in specials
        ],
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "post_processor": None,
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": ids[specials[3]], "vocab": vocabulary, "byte_fallback": False},
    }


def with_fairseq_ids(tokenizer, keep=None):
    """Renumber a ``tokenizer.json`` value: bos, pad, eos, unk, the other pieces in their old order, mask.

    ``keep`` is the set of old ids to keep (None: all). Returns the new value and, for each new id, its old id.
    """
    kind = kind_of(tokenizer)
    old = Tokenizer.from_str(json.dumps(tokenizer)).get_vocab(with_added_tokens=True)
    specials = SPECIAL_TOKENS[kind]
    missing = [s for s in specials if s not in old]
    if missing:
        raise InputError(f"the tokenizer has no {' '.join(missing)}: a masked LM's tokenizer is needed")
    others = [p for p in sorted(old, key=old.get) if p not in specials and (keep is None or old[p] in keep)]
    pieces = [*specials[:4], *others, specials[4]]
    new = {piece: i for i, piece in enumerate(pieces)}
    model = dict(tokenizer["model"])
    if kind == "wordpiece":
        model["vocab"] = new
    else:
        scores = dict(tokenizer["model"]["vocab"])
        model.update(vocab=[(p, scores.get(p, 0.0)) for p in pieces], unk_id=new[specials[3]])
        # The unigram model would find a special token in text that spells it, so such text is cut behind its "<".
        spelled = "<(?=(" + "|".join(s.removeprefix("<") for s in specials) + "))"
        cut = {"type": "Split", "pattern": {"Regex": spelled}, "behavior": "MergedWithPrevious", "invert": False}
        before = [tokenizer["pre_tokenizer"]] if tokenizer["pre_tokenizer"] else []
        tokenizer = {**tokenizer, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [*before, cut]}}
    added = [{**t, "id": new[t["content"]]} for t in tokenizer["added_tokens"] if t["content"] in new]
    renumbered = {
        **tokenizer,
        "model": model,
        "added_tokens": added,
        "post_processor": None,
        "truncation": None,
        "padding": None,
    }
    return renumbered, [old[p] for p in pieces]


def used_ids(tokenizer, paths):
    """Ids that the text in ``paths`` (one sentence a line, ``.xz`` too) uses, and those of all single characters.

    Text for which these are enough is cut as before: WordPiece takes the longest piece and a unigram model the best path,
    both of which are still there. A unigram model charges an unknown character 10 more than its rarest piece, so that
    piece is kept, too.
    """
    fast = Tokenizer.from_str(json.dumps(tokenizer))
    used = {i for piece, i in fast.get_vocab().items() if len(piece.removeprefix("##").removeprefix("▁")) <= 1}
    if kind_of(tokenizer) == "sentencepiece":
        scores = [score for _, score in tokenizer["model"]["vocab"]]
        used.add(scores.index(min(scores)))
    for path in paths:
        try:
            opened = lzma.open(path, "rt", encoding="utf-8") if str(path).endswith(".xz") else open(path, encoding="utf-8")
            with opened as file:
                for line in tqdm(file, desc=f"reading {path}", unit=" lines"):
                    used.update(fast.encode(line, add_special_tokens=False).ids)
        except (OSError, ValueError, lzma.LZMAError) as error:
            raise InputError(f"{path} cannot be read as UTF-8 text ({error}): give --trim-to text files") from None
    return used
