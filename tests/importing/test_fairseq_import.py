"""fairseq's XLM-R releases, made anew with fairseq's own RobertaModel and its Dictionary.

References: that model, its dictionary with the sentencepiece library, and transformers' XLM-R with the same weights.
"""

import functools
import os
import random
import re
import shutil
from argparse import Namespace
from collections import OrderedDict

import pytest
import sentencepiece
import torch
from fairseq.data import Dictionary
from fairseq.models.roberta import RobertaModel, base_architecture
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from preprocess import import_plm
from salt_fairseq.plm import PLM, Description, load_published, load_state, pad
from support.in_process import error_of
from support.published import Payload
from support.running import randomize
from support.zipped import zip_equal

INPUTS = [("Tomorrow there will be sunshine.", None), ("Il n'a pas lu la lettre ;", "你好, 42!"), ("Да", "x")]
ARGS = dict(
    arch="roberta_base",
    task="multilingual_masked_lm",
    encoder_layers=3,
    encoder_embed_dim=36,
    encoder_ffn_embed_dim=80,
    encoder_attention_heads=6,
    max_positions=64,
    activation_fn="gelu",
    untie_weights_roberta=False,
    seed=1,
    adam_betas="(0.9, 0.98)",
    lr=[0.0007],
)


@pytest.fixture(scope="module")
def parts(xlmr_dir, tmp_path_factory):
    """fairseq's model, its dictionary with <mask>, and a directory with dict.txt (in an order of its own) and the pieces."""
    directory = tmp_path_factory.mktemp("xlmr.tiny")
    shutil.copy(xlmr_dir / "sentencepiece.bpe.model", directory)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(directory / "sentencepiece.bpe.model"))
    pieces = [processor.id_to_piece(i) for i in range(3, processor.vocab_size())]
    random.Random(1).shuffle(pieces)
    dictionary = Dictionary()
    for count, piece in enumerate(pieces):
        dictionary.add_symbol(piece, 10_000 - count)
    dictionary.save(str(directory / "dict.txt"))
    dictionary.add_symbol("<mask>")
    args = Namespace(**ARGS)
    base_architecture(args)
    model = RobertaModel.build_model(args, Namespace(source_dictionary=dictionary))
    with torch.no_grad():
        randomize(model, 3)
        model.encoder.sentence_encoder.layernorm_embedding.weight.add_(1)
        for name in ("embed_tokens", "embed_positions"):
            getattr(model.encoder.sentence_encoder, name).weight[1] = 0  # padding, as fairseq keeps it
    return model, dictionary, processor, directory


def state_of(model):
    """Its tensors, without the copies that fairseq 0.12.2 keeps in each layer for inference."""
    return OrderedDict((name, tensor) for name, tensor in model.state_dict().items() if not re.search(r"layers\.\d+\.\w+$", name))


def new_layout(state):
    return state


def old_layout(state):
    """As in 2019: another name of the encoder and of a LayerNorm, query, key and value fused."""
    old = OrderedDict()
    for name, tensor in state.items():
        old_name = re.sub("^encoder", "decoder", name).replace("layernorm_embedding", "emb_layer_norm")
        if "q_proj" in name:
            three = [state[name.replace("q_proj", f"{x}_proj")] for x in "qkv"]
            old[re.sub(r"q_proj\.", "in_proj_", old_name)] = torch.cat(three)
        elif "k_proj" not in name and "v_proj" not in name:
            old[old_name] = tensor
    return old


def release(parts, directory, layout=new_layout, zipped=True, **changes):
    """A directory like fairseq's releases; returns it."""
    model, _, _, files = parts
    shutil.copytree(files, directory)
    state = layout(OrderedDict(model.state_dict()))
    saved = {
        "args": Namespace(**ARGS),
        "model": state,
        "optimizer_history": [{"num_updates": 3, "optimizer_name": "Adam"}],
        "extra_state": {"epoch": 1, "val_loss": 2.5},
        "last_optimizer_state": None,
        **changes,
    }
    torch.save(saved, directory / "model.pt", _use_new_zipfile_serialization=zipped)
    return directory


def fairseq_ids(dictionary, processor, a, b):
    """As fairseq's RobertaHubInterface encodes."""
    text = "<s> " + " ".join(processor.encode_as_pieces(a)) + " </s>"
    text += "" if b is None else " </s> " + " ".join(processor.encode_as_pieces(b)) + " </s>"
    return dictionary.encode_line(text, append_eos=False, add_if_not_exist=False).long()


@pytest.mark.parametrize("layout, zipped", [(new_layout, True), (old_layout, True), (old_layout, False)])
def test_logits_of_fairseqs_model(parts, tmp_path, layout, zipped):
    model, dictionary, processor, _ = parts
    description = import_plm.import_plm(release(parts, tmp_path / "xlmr.tiny", layout, zipped), tmp_path / "plm")
    assert (description.name, description.family, description.lm_head) == ("xlmr.tiny", "roberta", "pretrained")
    arch = description.architecture
    assert (arch.layers, arch.dim, arch.heads, arch.ffn_dim, arch.positions) == (3, 36, 6, 80, 64)
    plm = PLM.load(tmp_path / "plm")
    assert plm.tokenizer.pieces == dictionary.symbols  # fairseq's ids are the ids
    encoded = [plm.encode(a, b) for a, b in INPUTS]
    for tokens, (a, b) in zip_equal(encoded, INPUTS):
        assert torch.equal(tokens, fairseq_ids(dictionary, processor, a, b))
    full = torch.randint(4, len(dictionary) - 1, (arch.positions,), generator=torch.Generator().manual_seed(1))
    tokens = pad([*encoded, full])
    assert tokens.shape == (4, 64)
    with torch.no_grad():
        expected = model(tokens)[0]
        features = model(tokens, features_only=True)[0]
    at = tokens != 1
    torch.testing.assert_close(plm.logits(tokens)[at], expected[at], atol=1e-4, rtol=0)
    torch.testing.assert_close(plm.features(tokens)[at], features[at], atol=1e-4, rtol=0)


def test_logits_of_transformers(parts, tmp_path):
    """The same tensors under transformers' names, as its conversion script maps them."""
    model, dictionary, _, _ = parts
    import_plm.import_plm(release(parts, tmp_path / "xlmr.tiny", old_layout), tmp_path / "plm")
    config = XLMRobertaConfig(
        vocab_size=len(dictionary),
        hidden_size=36,
        num_hidden_layers=3,
        num_attention_heads=6,
        intermediate_size=80,
        max_position_embeddings=66,
        type_vocab_size=1,
        layer_norm_eps=1e-5,
        pad_token_id=1,
    )
    theirs = XLMRobertaForMaskedLM(config).eval()
    names = [
        ("encoder.sentence_encoder.", "roberta."),
        ("roberta.layers", "roberta.encoder.layer"),
        ("roberta.embed_tokens", "roberta.embeddings.word_embeddings"),
        ("roberta.embed_positions", "roberta.embeddings.position_embeddings"),
        ("roberta.layernorm_embedding", "roberta.embeddings.LayerNorm"),
        ("self_attn.q_proj", "attention.self.query"),
        ("self_attn.k_proj", "attention.self.key"),
        ("self_attn.v_proj", "attention.self.value"),
        ("self_attn.out_proj", "attention.output.dense"),
        ("self_attn_layer_norm", "attention.output.LayerNorm"),
        ("fc1", "intermediate.dense"),
        ("fc2", "output.dense"),
        ("final_layer_norm", "output.LayerNorm"),
        ("encoder.lm_head.weight", "lm_head.decoder.weight"),
        ("encoder.lm_head", "lm_head"),
    ]
    state = {}
    for name, tensor in state_of(model).items():
        if not name.endswith("version"):
            state[functools.reduce(lambda n, pair: n.replace(*pair), names, name)] = tensor
    state["roberta.embeddings.token_type_embeddings.weight"] = torch.zeros(1, 36)
    state["lm_head.decoder.bias"] = state["lm_head.bias"]
    theirs.load_state_dict(state)
    plm = PLM.load(tmp_path / "plm")
    tokens = pad([plm.encode(a, b) for a, b in INPUTS])
    at = tokens != 1
    with torch.no_grad():
        expected = theirs(input_ids=tokens, attention_mask=at.long()).logits
    torch.testing.assert_close(plm.logits(tokens)[at], expected[at], atol=1e-4, rtol=0)


def test_newer_configuration_and_half_precision(parts, tmp_path):
    """``cfg`` with a dictionary in the place of ``args``; fp16 weights."""
    half = {"model": {name: tensor.half() for name, tensor in parts[0].state_dict().items()}}
    source = release(parts, tmp_path / "xlmr", args=None, cfg={"model": dict(ARGS), "task": {}}, **half)
    description = import_plm.import_plm(source, tmp_path / "plm")
    assert description.weights_dtype == "float16"
    state = load_state(tmp_path / "plm", description)
    expected = parts[0].encoder.sentence_encoder.layers[1].fc1.weight.half()
    assert state["encoder.layers.1.fc1.weight"].dtype == torch.float32
    assert torch.equal(state["encoder.layers.1.fc1.weight"].half(), expected)


def test_what_the_plm_does_not_use_is_kept(parts, tmp_path):
    state = {**state_of(parts[0]), "encoder.classification_heads.x.dense.weight": torch.ones(2, 2)}
    import_plm.import_plm(release(parts, tmp_path / "xlmr", model=state), tmp_path / "plm")
    published = load_published(tmp_path / "plm", Description.load(tmp_path / "plm"))
    assert published["ids"].tolist() == list(range(len(parts[1])))
    assert torch.equal(published["rows"]["encoder.embed_positions.weight"], state["encoder.sentence_encoder.embed_positions.weight"][:2])
    assert set(published["tensors"]) == {"encoder.classification_heads.x.dense.weight", "encoder.sentence_encoder.version"}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("function", [os.mkdir, os.system, eval])
@pytest.mark.parametrize("where", ["args", "inside", "model", "extra_state"])
def test_payload_does_not_run(parts, tmp_path, where, function, zipped):
    ran = tmp_path / "ran"
    payload = Payload({os.mkdir: ran, os.system: f"mkdir {ran}", eval: f"__import__('os').mkdir({str(ran)!r})"}[function], function)
    change = {"args": Namespace(**ARGS, x=payload)} if where == "inside" else {where: payload}
    source = release(parts, tmp_path / "xlmr", zipped=zipped, **change)
    sentence = error_of(import_plm, source, tmp_path / "plm")
    assert str(source / "model.pt") in sentence and "not run" in sentence
    assert {p.name for p in tmp_path.iterdir()} == {"xlmr"}
    torch.load(source / "model.pt", weights_only=False)  # the payload is a real one
    assert ran.is_dir()


def without(name):
    return lambda source: (source / name).unlink()


def cut_off(source):
    (source / "model.pt").write_bytes((source / "model.pt").read_bytes()[:20_000])


def another(name, content):
    return lambda source: (source / name).write_bytes(content)


def edit_dict(change):
    def damage(source):
        lines = (source / "dict.txt").read_text(encoding="utf-8").splitlines()
        (source / "dict.txt").write_text("\n".join(change(lines)) + "\n", encoding="utf-8")

    return damage


def untied(model):
    return {**model.state_dict(), "encoder.lm_head.weight": model.encoder.lm_head.weight + 1}


FILES = {
    "no dictionary": (without("dict.txt"), "lacks dict.txt: "),
    "no pieces": (without("sentencepiece.bpe.model"), "lacks sentencepiece.bpe.model: "),
    "no model": (without("model.pt"), "lacks model.pt: "),
    "cut off": (cut_off, "model.pt cannot be read"),
    "empty": (another("model.pt", b""), "model.pt cannot be read"),
    "a page": (another("model.pt", b"<html>404</html>"), "model.pt cannot be read"),
    # Rose-STL-Lab/LIMO#3: to torch.load, a pointer of Git LFS is a pickle with an invalid key
    "LFS pointer": (another("model.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS pointer"),
    # facebookresearch/fairseq#3429: the dictionary of another release has one symbol more than the weights
    "short dictionary": (edit_dict(lambda lines: lines[:-1]), "do not belong together"),
    "other dictionary": (edit_dict(lambda lines: ["▁quux 1", *lines[1:]]), "2 pieces are in one of them only"),
    # facebookresearch/fairseq#4660: fairseq refuses a dictionary with duplicates
    "repeated symbol": (edit_dict(lambda lines: [lines[1], *lines[1:]]), "dict.txt cannot be read"),
    # facebookresearch/fairseq-lua#149: a WordPiece vocabulary given as dict.txt
    "dictionary without counts": (edit_dict(lambda lines: [line.split(" ")[0] for line in lines]), "dict.txt cannot be read"),
    "pieces cut off": (another("sentencepiece.bpe.model", b"\n\x0e\n\x05<un"), "sentencepiece.bpe.model cannot be read"),
}
CONTENTS = {
    "not a checkpoint": (lambda m: {"model": None}, "has no 'model'"),
    "no arguments": (lambda m: {"args": None}, "number of attention heads"),
    "heads do not divide": (lambda m: {"args": Namespace(**{**ARGS, "encoder_attention_heads": 7})}, "7 heads of 36 dimensions"),
    "tanh gelu": (lambda m: {"args": Namespace(**{**ARGS, "activation_fn": "gelu_fast"})}, "activation_fn is 'gelu_fast'"),
    "untied": (lambda m: {"model": untied(m)}, "not tied to the token embeddings"),
    "another model": (lambda m: {"model": {"encoder.x": torch.ones(2)}}, "lack encoder.sentence_encoder.embed_tokens"),
    "pre-norm": (lambda m: {"model": {**m.state_dict(), "encoder.sentence_encoder.layer_norm.weight": torch.ones(36)}}, "read from Hugging Face's"),
    "no layers": (lambda m: {"model": {n: t for n, t in m.state_dict().items() if ".layers." not in n}}, "no layers"),
    "no head": (lambda m: {"model": {n: t for n, t in m.state_dict().items() if "lm_head" not in n}}, "lack encoder.lm_head.dense"),
}


@pytest.mark.parametrize("case", [*FILES, *CONTENTS])
def test_damaged_release(parts, tmp_path, case):
    if case in FILES:
        damage, message = FILES[case]
        source = release(parts, tmp_path / "xlmr")
        damage(source)
    else:
        change, message = CONTENTS[case]
        source = release(parts, tmp_path / "xlmr", **change(parts[0]))
    sentence = error_of(import_plm, source, tmp_path / "plm")
    assert re.search(message, sentence), sentence
    assert not (tmp_path / "plm").exists()


def test_archive(tmp_path):
    (tmp_path / "xlmr.base.tar.gz").write_bytes(b"\x1f\x8b")
    assert "unpack" in error_of(import_plm, tmp_path / "xlmr.base.tar.gz", tmp_path / "plm")
