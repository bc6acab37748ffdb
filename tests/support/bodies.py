"""Small ModernBERT, DeBERTa-v3 and XLM-R XL models of transformers with random weights, and their kinds of tokenizers."""

import json

import sentencepiece
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import DebertaV2Config, DebertaV2ForMaskedLM, ModernBertConfig, ModernBertForMaskedLM, XLMRobertaXLConfig, XLMRobertaXLForMaskedLM

GEMMA = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def gemma_tokenizer(sentences, directory, size=1200):
    """Write ``tokenizer.json`` as mmBERT's is: BPE with byte fallback and no marker before the first word, pieces of line breaks
    and of HTML tags that fairseq's dictionary has names of its own for. Returns the number of pieces."""
    fast = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    fast.normalizer = normalizers.Replace(" ", "▁")
    fast.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")  # while training: no piece of two words
    added = [*GEMMA, "<s>", "</s>", "\n", "\n\n", *BYTES]
    fast.train_from_iterator(sentences, trainers.BpeTrainer(vocab_size=size, special_tokens=added, show_progress=False, limit_alphabet=90))
    fast.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    fast.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    fast.post_processor = processors.TemplateProcessing(single="<bos> $A <eos>", pair="<bos> $A <eos> $B <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)])
    value = json.loads(fast.to_str())
    value["added_tokens"] = [{**token, "special": False} if token["id"] > 4 else token for token in value["added_tokens"]]
    value["added_tokens"] = [token for token in value["added_tokens"] if token["content"] not in BYTES]
    (directory / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    return fast.get_vocab_size()


def modernbert_config(pieces, **sizes):
    return ModernBertConfig(
        vocab_size=pieces,
        **{"hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4, "intermediate_size": 56, "local_attention": 16} | sizes,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        cls_token_id=2,
        sep_token_id=1,
    )


def deberta_tokenizer(sentences, directory, size=1200):
    """Write ``spm.model`` as mDeBERTa's is: a unigram model with byte fallback, without [MASK]. Returns the number of pieces."""
    names = dict(pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(directory / "spm"),
        vocab_size=size,
        character_coverage=0.99,
        byte_fallback=True,
        minloglevel=2,
        num_threads=1,
        **names,
    )
    (directory / "spm.vocab").unlink()
    return size + 1


def deberta_config(pieces, **sizes):
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80, "position_buckets": 16} | sizes
    return DebertaV2Config(
        vocab_size=pieces,
        **{"max_position_embeddings": 700} | sizes,
        relative_attention=True,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type="p2c|c2p",
        position_biased_input=False,
        type_vocab_size=0,
    )


def xlmr_tokenizer(sentences, directory, size=1000):
    """Write ``sentencepiece.bpe.model`` as XLM-R's is. Returns the number of pieces, those of <pad> and <mask> included."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_prefix=str(directory / "sentencepiece.bpe"),
        vocab_size=size,
        character_coverage=0.99,
        minloglevel=2,
        num_threads=1,
    )
    (directory / "sentencepiece.bpe.vocab").unlink()
    return size + 2


def xlmr_xl_config(pieces, **sizes):
    sizes = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 80} | sizes
    return XLMRobertaXLConfig(vocab_size=pieces, **{"max_position_embeddings": 702} | sizes)


KINDS = {
    "modernbert": (gemma_tokenizer, modernbert_config, ModernBertForMaskedLM),
    "deberta-v2": (deberta_tokenizer, deberta_config, DebertaV2ForMaskedLM),
    "xlm-roberta-xl": (xlmr_tokenizer, xlmr_xl_config, XLMRobertaXLForMaskedLM),
}
BODIES = tuple(KINDS)


def new_model(body, sentences, directory, *pieces, unused=0, **sizes):
    """A masked LM with this body, its tokenizer (of so many ``pieces``) made of the sentences and written to ``directory``;
    ``unused``: so many embeddings have no piece."""
    tokenizer, config, model = KINDS[body]
    return model(config(tokenizer(sentences, directory, *pieces) + unused, **sizes))
