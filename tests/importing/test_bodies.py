"""ModernBERT's, DeBERTa-v3's and XLM-R XL's bodies: import, use, train and export, against transformers' own models with the same weights.

Tokenizers are compared with those they are made from: tokenizers' own, and SentencePiece.
"""

import json

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer

from preprocess import export_hf, import_plm
from salt_fairseq.plm import PLM
from support.bodies import BODIES, batches, made, published_inputs
from support.in_process import call, error_of

pytestmark = pytest.mark.slow


def assert_parity(world, sentences):
    for tokens in batches(world.plm, sentences):
        at = tokens != 1
        with torch.no_grad():
            out = world.model(**published_inputs(world, tokens), output_hidden_states=True)
        assert out.logits[at].std() > 0.3  # not all alike
        torch.testing.assert_close(world.plm.logits(tokens)[at], out.logits[at][:, world.ids], atol=1e-4, rtol=0)
        torch.testing.assert_close(world.plm.features(tokens)[at], out.hidden_states[-1][at], atol=1e-4, rtol=0)


def test_features_and_logits(world, sentences):
    assert_parity(world, sentences)


SIZES = {
    "modernbert": [
        {"hidden_size": 24, "num_hidden_layers": 7, "num_attention_heads": 2, "intermediate_size": 30, "local_attention": 128},
        {"num_hidden_layers": 1, "layer_types": ["full_attention"], "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 99.0}}},
        {"num_hidden_layers": 4, "global_attn_every_n_layers": 2, "local_rope_theta": 160000.0, "norm_eps": 1e-6},
    ],
    "deberta-v2": [
        {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 30, "position_buckets": 256},
        {"num_hidden_layers": 1, "max_relative_positions": 64, "position_buckets": 32},
        {"position_buckets": 2, "layer_norm_eps": 1e-5},
    ],
    "xlm-roberta-xl": [
        {"hidden_size": 24, "num_hidden_layers": 7, "num_attention_heads": 2, "intermediate_size": 30},
        {"hidden_size": 160, "num_hidden_layers": 1, "num_attention_heads": 32, "intermediate_size": 640},
        {"layer_norm_eps": 1e-12, "type_vocab_size": 2},
    ],
}


@pytest.mark.parametrize("kind, number", [(kind, i) for kind in BODIES for i in range(3)])
def test_other_sizes(kind, number, sentences, tmp_path):
    assert_parity(made(kind, tmp_path, sentences[:300], seed=number, **SIZES[kind][number]), sentences)


def test_gradients(world, sentences):
    """Of every kind of parameter, by the same loss of features and logits, without dropout."""
    tokens = list(batches(world.plm, sentences))[2][:, :200]
    at = tokens != 1
    plm, model = PLM.load(world.plm_dir), world.model
    plm.requires_grad_(True)
    model.zero_grad()
    features = plm.lm_head.features(plm.encoder, tokens)
    logits = plm.lm_head(features, plm.encoder.embed_tokens.weight)
    weights = torch.randn(logits[at].shape, generator=torch.Generator().manual_seed(1))
    (logits[at] * weights).mean().backward()
    expected = model(**published_inputs(world, tokens)).logits[at][:, world.ids]
    (expected * weights).mean().backward()
    for parameter, other in pairs_of(plm, model):
        expected = other.grad[world.ids] if parameter is plm.encoder.embed_tokens.weight else other.grad
        scale = float(expected.abs().max())
        assert scale > 0 and float((parameter.grad - expected).abs().max()) < 1e-4 * scale


def pairs_of(plm, model):
    """Parameters of every kind, and transformers' own."""
    encoder, layer = plm.encoder, plm.encoder.layers[1]
    yield encoder.embed_tokens.weight, model.get_input_embeddings().weight
    if plm.description.body == "modernbert":
        other = model.model.layers[1]
        yield from ((layer.qkv.weight, other.attn.Wqkv.weight), (layer.fc1.weight, other.mlp.Wi.weight))
        yield from ((layer.self_attn_layer_norm.weight, other.attn_norm.weight), (encoder.layer_norm.weight, model.model.final_norm.weight))
        yield plm.lm_head.dense.weight, model.head.dense.weight
    elif plm.description.body == "xlm-roberta-xl":
        embeddings, other = model.roberta.embeddings, model.roberta.encoder
        yield from ((layer.fc2.weight, other.layer[1].output.dense.weight), (layer.out_proj.bias, other.layer[1].attention.output.dense.bias))
        yield from (
            (layer.self_attn_layer_norm.weight, other.layer[1].attention.self_attn_layer_norm.weight),
            (layer.final_layer_norm.bias, other.layer[1].LayerNorm.bias),
        )
        yield from ((encoder.layer_norm.weight, other.LayerNorm.weight), (encoder.embed_segments.weight, embeddings.token_type_embeddings.weight))
        yield plm.lm_head.dense.weight, model.lm_head.dense.weight
    else:
        other = model.deberta.encoder
        yield from ((layer.fc1.weight, other.layer[1].intermediate.dense.weight), (layer.out_proj.bias, other.layer[1].attention.output.dense.bias))
        yield from ((encoder.embed_buckets.weight, other.rel_embeddings.weight), (encoder.layernorm_buckets.weight, other.LayerNorm.weight))
        yield plm.lm_head.dense.weight, model.cls.predictions.transform.dense.weight


def test_features_of_the_first_tokens_alone(world, sentences):
    tokens = list(batches(world.plm, sentences))[2][:, :120]
    with torch.no_grad():
        for first in (1, 3):
            torch.testing.assert_close(world.plm.encoder(tokens, first_tokens=first), world.plm.encoder(tokens)[:, :first], atol=1e-5, rtol=0)


def test_export_gives_the_published_weights_back(world, sentences, tmp_path):
    call(export_hf, world.plm_dir, tmp_path / "out")
    published, exported = (load_file(directory / "model.safetensors") for directory in (world.source, tmp_path / "out"))
    if world.kind == "xlm-roberta-xl":  # transformers 4 needs the bias under both names
        published["lm_head.decoder.bias"] = published["lm_head.bias"]
    assert published.keys() == exported.keys()
    assert all(torch.equal(published[name], exported[name]) for name in published)
    model, tokenizer = AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval(), AutoTokenizer.from_pretrained(tmp_path / "out")
    inputs = tokenizer(*sentences[:2], return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == world.ids[world.plm.encode(*sentences[:2])].tolist()
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, world.model(**inputs).logits)


ODD = ["ünïcode 漢字🙂 x", "  two  spaces ", "a <mask> <bos> <eos> [CLS] [MASK] b", "The", "𝔘 \x00 e\u0301", "1999, 3.5 %"]


WITH_BYTES = pytest.mark.parametrize("world", ["modernbert", "deberta-v2"], indirect=True)  # XL's tokenizer is XLM-R's


@WITH_BYTES
def test_tokenization(world, sentences):
    """As the tokenizer the model was trained with has it, bytes of unknown characters included; special tokens are text."""
    if world.kind == "modernbert":
        own = Tokenizer.from_file(str(world.source / "tokenizer.json"))
        own.encode_special_tokens = True
        expected = [own.encode(text, add_special_tokens=False).tokens for text in sentences[:500] + ODD]
    else:
        own = sentencepiece.SentencePieceProcessor(model_file=str(world.source / "spm.model"))
        texts = sentences[:500] + [text for text in ODD if "[" not in text and "\x00" not in text]
        expected = [[own.id_to_piece(i) for i in own.encode(text)] for text in texts]
    texts = sentences[:500] + (ODD if world.kind == "modernbert" else [text for text in ODD if "[" not in text and "\x00" not in text])
    pieces, ids = world.plm.tokenizer.pieces, world.plm.tokenizer(texts)
    assert [[pieces[i] for i in row] for row in ids] == expected
    assert any(piece.startswith("<0x") for row in expected for piece in row)
    special = {0, 1, 2, 3, len(pieces) - 1}
    assert not special & {i for row in world.plm.tokenizer(ODD) for i in row}
    assert world.plm.decode(world.plm.encode(ODD[0])) == ODD[0]
    separators = world.plm.encode("a", "b").eq(2).sum()
    assert separators == 2 and world.plm.description.separators == 1


@WITH_BYTES
def test_words(world):
    """The first word counts without a marker, and a word with bytes is none."""
    tokenizer = world.plm.tokenizer
    ids = tokenizer(["The house burns na漢ve"])[0]
    assert [text for _, _, text in tokenizer.word_spans(ids)] == ["The", "house", "burns"]
    words = tokenizer.whole_words([*tokenizer(["The the"])[0], 2, *tokenizer(["The"])[0]])
    assert words[0] and words[-1] and not tokenizer.has_letter[[i for i, piece in enumerate(tokenizer.pieces) if piece.startswith("<0x")]].any()


def test_trimmed(world, sentences, tmp_path):
    """Text that the vocabulary was trimmed to is cut as before."""
    (tmp_path / "text").write_text("\n".join(sentences[:40]), encoding="utf-8")
    description = import_plm.import_plm(world.source, tmp_path / "plm", [tmp_path / "text"])
    small = PLM.load(tmp_path / "plm")
    assert 200 < description.architecture.vocabulary < description.trimmed_from - 100
    for text in sentences[:40]:
        found, expected = ([plm.tokenizer.pieces[i] for i in plm.tokenizer([text])[0]] for plm in (small, world.plm))
        assert found == expected


REFUSED = [
    ("modernbert", {"attention_bias": True}, "attention_bias is True, only False is supported"),
    ("modernbert", {"hidden_activation": "silu"}, "hidden_activation is 'silu', only 'gelu'"),
    ("modernbert", {"rope_parameters": {"full_attention": {"rope_type": "yarn"}}}, "rotary positions are scaled"),
    ("modernbert", {"rope_parameters": {"full_attention": {"type": "linear", "factor": 4.0}}}, "rotary positions are scaled"),
    ("modernbert", {"sliding_window": 5}, "its sliding_window is 5, of a local_attention of 16"),
    ("modernbert", {"layer_types": ["full_attention"] * 3 + ["sliding_attention"] * 2}, "its layer_types are"),
    ("deberta-v2", {"conv_kernel_size": 3}, "conv_kernel_size is 3, only 0 is supported"),
    ("deberta-v2", {"share_att_key": None}, "share_att_key is None, only True"),
    ("deberta-v2", {"pos_att_type": ["c2p"]}, "only c2p|p2c is supported"),
    ("deberta-v2", {"position_buckets": -1}, "its position_buckets is -1, only log-spaced"),
    ("xlm-roberta-xl", {"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', only 'gelu'"),
    ("xlm-roberta-xl", {"is_decoder": True}, "is_decoder is True, only False"),
    ("xlm-roberta-xl", {"model_type": "xlm-roberta"}, "lack roberta.embeddings.LayerNorm.weight"),
]


@pytest.mark.parametrize("world, settings, said", REFUSED, indirect=["world"])
def test_variants_that_are_refused(world, settings, said, tmp_path):
    for file in world.source.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((world.source / "config.json").read_text()) | settings
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert said in error_of(import_plm, tmp_path, tmp_path / "plm")
