"""The layouts in which Hugging Face models are published all give one and the same PLM, or transformers' logits.

References: transformers' models, loaded from the directories they saved.
"""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertForMaskedLM, BertModel, DistilBertConfig, DistilBertForMaskedLM, XLMRobertaModel

from preprocess import binarize, distill, import_plm
from salt_fairseq.plm import PLM, Description, load_published, load_state, pad
from support.in_process import call, error_of
from support.published import copy_of
from support.running import randomize
from support.zipped import zip_equal

INPUTS = [("Tomorrow there will be sunshine all over the north.", None), ("Did he call?", "Nobody knows why!"), ("Oui", None)]


def state_of(source, plm_dir):
    import_plm.import_plm(source, plm_dir)
    return load_state(plm_dir, Description.load(plm_dir))


def assert_equal(ours, expected):
    assert ours.keys() == expected.keys()
    for name in expected:
        assert torch.equal(ours[name], expected[name]), name


@pytest.fixture(scope="module")
def bert_state(bert_plm):
    return load_state(bert_plm, Description.load(bert_plm))


@pytest.fixture(scope="module")
def xlmr_state(xlmr_plm):
    return load_state(xlmr_plm, Description.load(xlmr_plm))


def shards(tensors, directory, name, save):
    """Two files of tensors and their index, as transformers names them."""
    stem, suffix = name.split(".")
    where = {}
    for number, part in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
        file = f"{stem}-0000{number}-of-00002.{suffix}"
        save({n: tensors[n] for n in part}, directory / file)
        where.update(dict.fromkeys(part, file))
    (directory / f"{name}.index.json").write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))


@pytest.mark.parametrize("name, save", [("model.safetensors", save_file), ("pytorch_model.bin", torch.save)])
def test_shards(bert_dir, bert_state, tmp_path, name, save):
    tensors = copy_of(bert_dir, tmp_path / "bert")
    shards(tensors, tmp_path / "bert", name, save)
    assert_equal(state_of(tmp_path / "bert", tmp_path / "plm"), bert_state)


SHARDS = {
    "a part": (lambda d: (d / "model-00002-of-00002.safetensors").unlink(), "names model-00002-of-00002.safetensors, which .* lacks"),
    "the index": (lambda d: (d / "model.safetensors.index.json").unlink(), "but no index of the parts"),
    "damaged index": (lambda d: (d / "model.safetensors.index.json").write_text("{}"), "index.json cannot be read"),
    "a tensor": (lambda d: save_file({"x": torch.ones(1)}, d / "model-00001-of-00002.safetensors"), "which model.safetensors.index.json promises"),
    "half a part": (lambda d: (d / "model-00001-of-00002.safetensors").write_bytes(b"\x09\0\0\0\0\0\0\0{"), "00001-of-00002.safetensors cannot be read"),
}


@pytest.mark.parametrize("case", SHARDS)
def test_incomplete_shards(bert_dir, tmp_path, case):
    shards(copy_of(bert_dir, tmp_path / "bert"), tmp_path / "bert", "model.safetensors", save_file)
    damage, message = SHARDS[case]
    damage(tmp_path / "bert")
    sentence = error_of(import_plm, tmp_path / "bert", tmp_path / "plm")
    assert re.search(message, sentence), sentence


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(xlmr_dir, xlmr_state, tmp_path, dtype):
    tensors = copy_of(xlmr_dir, tmp_path / "xlmr")
    save_file({n: t.to(dtype) for n, t in tensors.items()}, tmp_path / "xlmr" / "model.safetensors")
    ours = state_of(tmp_path / "xlmr", tmp_path / "plm")
    assert_equal(ours, {n: t.to(dtype).float() for n, t in xlmr_state.items()})
    assert Description.load(tmp_path / "plm").weights_dtype == str(dtype).removeprefix("torch.")


def renamed(change):
    """Edit a dict of tensors by a function of names; None drops one."""
    return lambda tensors: {change(n): t for n, t in tensors.items() if change(n) is not None}


BERT_NAMES = {
    "gamma and beta": renamed(lambda n: n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")),
    "decoder too": lambda ts: {**ts, "cls.predictions.decoder.weight": ts["bert.embeddings.word_embeddings.weight"]},
    "decoder's bias too": lambda ts: {**ts, "cls.predictions.decoder.bias": ts["cls.predictions.bias"]},
    "decoder's bias only": renamed(lambda n: n.replace("predictions.bias", "predictions.decoder.bias")),
    "no prefix": renamed(lambda n: n.removeprefix("bert.")),
    "buffers": lambda ts: {**ts, "bert.embeddings.position_ids": torch.arange(160)[None]},
}
XLMR_NAMES = {
    "decoder too": lambda ts: {**ts, "lm_head.decoder.weight": ts["roberta.embeddings.word_embeddings.weight"]},
    "decoder's bias only": renamed(lambda n: n.replace("lm_head.bias", "lm_head.decoder.bias")),
    "no prefix": renamed(lambda n: n.removeprefix("roberta.")),
}


@pytest.mark.parametrize("kind, case", [("bert", c) for c in BERT_NAMES] + [("xlmr", c) for c in XLMR_NAMES])
def test_names_of_tensors(kind, case, request, tmp_path):
    tensors = copy_of(request.getfixturevalue(f"{kind}_dir"), tmp_path / kind)
    change = {"bert": BERT_NAMES, "xlmr": XLMR_NAMES}[kind][case]
    torch.save(change(tensors), tmp_path / kind / "pytorch_model.bin")
    assert_equal(state_of(tmp_path / kind, tmp_path / "plm"), request.getfixturevalue(f"{kind}_state"))


def test_tokenizer_json_only(xlmr_dir, xlmr_plm, sentences, tmp_path):
    """Also in the form of 2020, which did not name the kind of model and wrote Metaspace's options otherwise."""
    from transformers import AutoTokenizer

    tensors = copy_of(xlmr_dir, tmp_path / "xlmr")
    save_file(tensors, tmp_path / "xlmr" / "model.safetensors")
    AutoTokenizer.from_pretrained(xlmr_dir).save_pretrained(tmp_path / "saved")
    value = json.loads((tmp_path / "saved" / "tokenizer.json").read_text(encoding="utf-8"))
    del value["model"]["type"], value["model"]["byte_fallback"]
    space = {"type": "Metaspace", "replacement": "▁", "str_rep": "▁", "add_prefix_space": True}
    value.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]}, decoder=space)
    (tmp_path / "xlmr" / "sentencepiece.bpe.model").unlink()
    (tmp_path / "xlmr" / "tokenizer.json").write_text(json.dumps(value), encoding="utf-8")
    import_plm.import_plm(tmp_path / "xlmr", tmp_path / "plm")
    assert (tmp_path / "plm" / "dict.txt").read_bytes() == (xlmr_plm / "dict.txt").read_bytes()
    assert PLM.load(tmp_path / "plm").tokenizer(sentences) == PLM.load(xlmr_plm).tokenizer(sentences)


def logits_and_features(model, plm, inputs=INPUTS):
    """Transformers' logits (with our columns) and features of our ids, and ours; only of tokens that are no padding."""
    published = load_published(plm.where, plm.description)["ids"]
    tokens = pad([plm.encode(a, b) for a, b in inputs])
    at = tokens != 1
    segments = (tokens.eq(2).cumsum(1) - tokens.eq(2).long()).clamp(max=1) * at if plm.description.architecture.segments == 2 else None
    arguments = {} if segments is None else {"token_type_ids": segments}
    with torch.no_grad():
        out = model(input_ids=published[tokens], attention_mask=at.long(), output_hidden_states=True, **arguments)
    return (out.logits[at][:, published], out.hidden_states[-1][at]), (plm.logits(tokens)[at], plm.features(tokens)[at])


def loaded(plm_dir):
    plm = PLM.load(plm_dir)
    plm.where = plm_dir
    return plm


@pytest.fixture(scope="module")
def distilbert_dir(bert_dir, tmp_path_factory):
    directory = tmp_path_factory.mktemp("distilbert")
    rows = len((bert_dir / "vocab.txt").read_text(encoding="utf-8").splitlines())
    config = DistilBertConfig(vocab_size=rows, dim=48, n_layers=2, n_heads=6, hidden_dim=72, max_position_embeddings=70)
    randomize(DistilBertForMaskedLM(config), 5).save_pretrained(directory)
    shutil.copy(bert_dir / "vocab.txt", directory)
    return directory


@pytest.mark.parametrize("case", ["as saved", "decoder too", "no prefix"])
def test_distilbert(distilbert_dir, case, tmp_path):
    tensors = copy_of(distilbert_dir, tmp_path / "distilbert")
    if case == "decoder too":
        tensors["vocab_projector.weight"] = tensors["distilbert.embeddings.word_embeddings.weight"].clone()
    elif case == "no prefix":
        tensors = {n.removeprefix("distilbert."): t for n, t in tensors.items()}
    save_file(tensors, tmp_path / "distilbert" / "model.safetensors")
    description = import_plm.import_plm(tmp_path / "distilbert", tmp_path / "plm")
    arch = description.architecture
    assert (arch.layers, arch.heads, arch.ffn_dim, arch.segments, arch.pooler) == (2, 6, 72, 1, False)
    assert (description.family, description.separators, arch.layer_norm_eps) == ("distilbert", 1, 1e-12)
    theirs, ours = logits_and_features(DistilBertForMaskedLM.from_pretrained(distilbert_dir), loaded(tmp_path / "plm"))
    for expected, found in zip_equal(theirs, ours):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def body(kind, source, directory):
    """A directory with the encoder alone, as sentence encoders are published; returns transformers' model of it."""
    if kind == "distilbert":
        model = DistilBertForMaskedLM.from_pretrained(source).distilbert
    elif kind == "xlmr":
        model = XLMRobertaModel.from_pretrained(source)
    else:
        model = BertModel.from_pretrained(source)
    model.save_pretrained(directory)
    for file in source.glob("*"):
        if file.name in ("vocab.txt", "sentencepiece.bpe.model", "tokenizer_config.json"):
            shutil.copy(file, directory)
    return AutoModel.from_pretrained(directory).eval()


@pytest.mark.parametrize("kind", ["bert", "xlmr", "distilbert"])
def test_encoder_without_head(kind, request, tmp_path, capsys):
    """LaBSE, multilingual-e5: the features are transformers'; the head is a fresh one, and the description says so."""
    model = body(kind, request.getfixturevalue(f"{kind}_dir"), tmp_path / "encoder")
    call(import_plm, tmp_path / "encoder", tmp_path / "plm")
    printed = capsys.readouterr()
    assert "without a masked-LM head" in printed.err and "train_lm_head.py" in printed.err and "wrote" in printed.out
    plm = loaded(tmp_path / "plm")
    assert plm.description.lm_head == "untrained"
    assert (plm.description.architecture.pooler, plm.description.family) == (kind != "distilbert", {"xlmr": "roberta"}.get(kind, kind))
    tokens = pad([plm.encode(a, b) for a, b in INPUTS[::2]])  # one segment
    at = tokens != 1
    published = load_published(tmp_path / "plm", plm.description)["ids"]
    with torch.no_grad():
        expected = model(input_ids=published[tokens], attention_mask=at.long()).last_hidden_state
    torch.testing.assert_close(plm.features(tokens)[at], expected[at], atol=1e-4, rtol=0)
    assert not plm.lm_head.bias.any() and 0.01 < plm.lm_head.dense.weight.std() < 0.03
    import_plm.import_plm(tmp_path / "encoder", tmp_path / "again")
    assert (tmp_path / "again" / "model.pt").read_bytes() == (tmp_path / "plm" / "model.pt").read_bytes()


def test_untrained_head_is_not_distilled(bert_dir, tmp_path):
    body("bert", bert_dir, tmp_path / "encoder")
    import_plm.import_plm(tmp_path / "encoder", tmp_path / "plm")
    (tmp_path / "train.tsv").write_text("The house.\tA house.\tyes\nThe sea.\tA house.\tno\n", encoding="utf-8")
    call(binarize, tmp_path / "plm", tmp_path / "data", "--subset", f"train={tmp_path / 'train.tsv'}")
    sentence = error_of(distill, tmp_path / "plm", tmp_path / "data", "--languages", "fr")
    assert "never trained" in sentence and "train_lm_head.py" in sentence


def test_published_checkpoint_can_be_given_back(bert_dir, bert_plm, bert_state, xlmr_dir, xlmr_plm, xlmr_state):
    """Every number of the published weights is in model.pt: rows in their old places, what is left over beside them."""
    for source, plm_dir, state, names in (
        (bert_dir, bert_plm, bert_state, {"bert.embeddings.word_embeddings.weight": "encoder.embed_tokens.weight", "cls.predictions.bias": "lm_head.bias"}),
        (xlmr_dir, xlmr_plm, xlmr_state, {"roberta.embeddings.word_embeddings.weight": "encoder.embed_tokens.weight", "lm_head.bias": "lm_head.bias"}),
    ):
        tensors = load_file(source / "model.safetensors")
        published = load_published(plm_dir, Description.load(plm_dir))
        for theirs, ours in names.items():
            assert torch.equal(tensors[theirs][published["ids"]], state[ours])
        counted = [*state.values(), *published["rows"].values(), *published["tensors"].values()]
        assert sum(t.numel() for t in counted) == sum(t.numel() for n, t in tensors.items() if "decoder" not in n)
    positions = tensors["roberta.embeddings.position_embeddings.weight"]
    assert torch.equal(torch.cat([published["rows"]["encoder.embed_positions.weight"], state["encoder.embed_positions.weight"]]), positions)


def test_rows_without_piece(xlmr_dir, tmp_path):
    """multilingual-e5: 35 embedding rows more than pieces, and a second token type that XLM-R's tokenizer never gives."""
    config = BertConfig(vocab_size=2502 + 35, hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, max_position_embeddings=40)
    model = randomize(BertForMaskedLM(config), 7)
    model.save_pretrained(tmp_path / "e5")
    shutil.copy(xlmr_dir / "sentencepiece.bpe.model", tmp_path / "e5")
    plm_dir = tmp_path / "plm"
    import_plm.import_plm(tmp_path / "e5", plm_dir)
    plm = loaded(plm_dir)
    theirs, ours = logits_and_features(model, plm)
    for expected, found in zip_equal(theirs, ours):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    rows = load_published(plm_dir, plm.description)["rows"]
    embeddings = model.bert.embeddings
    assert torch.equal(rows["encoder.embed_tokens.weight"], embeddings.word_embeddings.weight[-35:])
    assert torch.equal(rows["lm_head.bias"], model.cls.predictions.bias[-35:])
    assert torch.equal(rows["encoder.embed_segments.weight"], embeddings.token_type_embeddings.weight[1:])
