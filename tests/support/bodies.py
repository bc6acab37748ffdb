"""Small ModernBERT, DeBERTa-v3 and XLM-R XL models of transformers with random weights, and their kinds of tokenizers."""

import json
from types import SimpleNamespace

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import DebertaV2Config, DebertaV2ForMaskedLM, ModernBertConfig, ModernBertForMaskedLM, XLMRobertaXLConfig, XLMRobertaXLForMaskedLM

from preprocess import import_plm
from salt_fairseq.plm import PLM, load_published, pad

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


UNUSED = {"modernbert": 0, "deberta-v2": 7, "xlm-roberta-xl": 7}  # the published ones have embeddings without a piece


def randomized(model, seed=1):
    """Norms near the identity, biases and other weights random, so that every parameter matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.1 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(1 + noise if "norm" in name.lower() and name.endswith("weight") else noise)
    return model.eval()


def made(kind, directory, sentences, seed=1, **sizes):
    """A Hugging Face directory and what was imported from it, with transformers' model."""
    source = directory / "hf"
    source.mkdir(parents=True)
    model = randomized(new_model(kind, sentences, source, unused=UNUSED[kind], **sizes), seed)
    model.save_pretrained(source)
    import_plm.import_plm(source, directory / "plm")
    plm = PLM.load(directory / "plm")
    ids = load_published(directory / "plm", plm.description)["ids"]
    return SimpleNamespace(kind=kind, source=source, plm_dir=directory / "plm", plm=plm, model=model, ids=ids)


def batches(plm, sentences):
    """One token; two; pairs and single sentences of up to 600 tokens, padded."""
    long, longer = (plm.encode(" ".join(sentences[:40]))[:length] for length in (150, 600))
    yield torch.tensor([[0]])
    yield pad([torch.tensor([0, 2]), plm.encode("a")])
    yield pad([plm.encode(*sentences[:2]), longer, long, plm.encode(sentences[3])])
    yield longer[None]


def published_inputs(world, tokens):
    return {"input_ids": world.ids[tokens], "attention_mask": tokens.ne(1).long()}
