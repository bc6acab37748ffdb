"""What cannot be imported ends in one sentence that names the cause, and the output directory is as it was."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from sentencepiece import sentencepiece_model_pb2

from preprocess import import_plm
from support.in_process import error_of
from support.running import run


def edit_config(**changes):
    def damage(source):
        config = {**json.loads((source / "config.json").read_text()), **changes}
        config = {name: value for name, value in config.items() if value is not None}
        (source / "config.json").write_text(json.dumps(config))

    return damage


def edit_tensors(change):
    """``change(name, tensor)`` gives the new tensor, or None to leave it out."""

    def damage(source):
        tensors = load_file(source / "model.safetensors")
        tensors = {name: change(name, tensor.clone()) for name, tensor in tensors.items()}
        save_file({n: t.contiguous() for n, t in tensors.items() if t is not None}, source / "model.safetensors")

    return damage


def replace(name, content):
    def damage(source):
        (source / name).write_bytes(content)

    return damage


def remove(*names):
    def damage(source):
        for name in names:
            (source / name).unlink()

    return damage


def both(*damages):
    return lambda source: [damage(source) for damage in damages]


def poison(value):
    def change(name, tensor):
        if name.endswith("1.output.dense.bias"):
            tensor[7] = value
        return tensor

    return edit_tensors(change)


def cut(part, rows=None, columns=None):
    """Leave out rows and columns of the tensors whose name ends with ``part``."""

    def change(name, tensor):
        if not name.endswith(part):
            return tensor
        return tensor[:rows] if columns is None else tensor[:rows, :columns]

    return edit_tensors(change)


def untie(source):
    tensors = load_file(source / "model.safetensors")
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"] + 1
    save_file(tensors, source / "model.safetensors")


def two_biases(source):
    tensors = load_file(source / "model.safetensors")
    tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"] + 1
    save_file(tensors, source / "model.safetensors")


BERT = {
    "no config": (remove("config.json"), "neither config.json .* nor model.pt"),
    "config is not JSON": (replace("config.json", b"{"), "config.json cannot be read"),
    "config is a list": (replace("config.json", b"[]"), "config.json"),
    "config without sizes": (edit_config(hidden_size=None), "config.json.*hidden_size"),
    "config without numbers": (edit_config(num_hidden_layers="three"), "config.json has no number for num_hidden_layers"),
    "another model": (edit_config(model_type="electra"), "model_type 'electra' is not supported"),
    "untied in config": (edit_config(tie_word_embeddings=False), "tie_word_embeddings is False"),
    "another activation": (edit_config(hidden_act="relu"), "hidden_act is 'relu'"),
    "heads do not divide": (edit_config(num_attention_heads=7), "7 heads of 48 dimensions"),
    "more layers than weights": (edit_config(num_hidden_layers=4), "lack bert.encoder.layer.3"),
    "fewer layers than weights": (edit_config(num_hidden_layers=2), "hold bert.encoder.layer.2.*not expect"),
    "weights of another model": (
        edit_config(model_type="distilbert", dim=48, n_layers=3, n_heads=4, hidden_dim=112),
        "lack embeddings.*of another kind of model",
    ),
    "no weights": (remove("model.safetensors"), "has no weights"),
    "weights cut off": (replace("model.safetensors", b"\x00" * 40), "weights in .* cannot be read"),
    "half an LM head": (edit_tensors(lambda n, t: None if n.startswith("cls.predictions.transform.dense") else t), "lack cls.predictions.transform.dense"),
    "head without bias": (edit_tensors(lambda n, t: None if n == "cls.predictions.bias" else t), "lack cls.predictions.bias"),
    "two biases": (two_biases, "cls.predictions.bias and cls.predictions.decoder.bias that differ"),
    "integers": (edit_tensors(lambda n, t: t.char() if n.endswith("1.output.dense.weight") else t), "as torch.int8: fp32"),
    # state-spaces/mamba#211: an output matrix of its own was replaced with the embeddings
    "untied head": (untie, "not tied to the token embeddings"),
    "NaN": (poison(float("nan")), r"encoder.layers.1.fc2.bias are not finite"),
    "infinity": (poison(float("inf")), r"encoder.layers.1.fc2.bias are not finite"),
    "narrow matrix": (cut("1.output.dense.weight", columns=111), "do not fit config.json"),
    "narrow query": (cut("0.attention.self.query.weight", rows=47), "0.attention.self.* differ in shape"),
    "narrow key": (cut("0.attention.self.key.weight", columns=47), "0.attention.self.* differ in shape"),
    "short embedding": (cut("word_embeddings.weight", rows=900), "900 rows of embeddings.word_embeddings, where config.json's vocab_size is 2"),
    # EuroEval/EuroEval#52: a tokenizer with more pieces than embeddings ended in an IndexError
    "short embedding and config": (
        both(edit_config(vocab_size=900), cut("word_embeddings.weight", rows=900)),
        "rows; tokenizer and weights do not belong together",
    ),
    "other positions": (edit_config(max_position_embeddings=512), "160 rows .* max_position_embeddings is 512"),
    "scalar embedding": (
        edit_tensors(lambda n, t: t.sum() if n.endswith("word_embeddings.weight") else t),
        "word_embeddings in the shape \\(\\), which is no matrix",
    ),
    "eps is text": (edit_config(layer_norm_eps="small"), "config.json.*layer_norm_eps"),
    "flat matrix": (
        edit_tensors(lambda n, t: t.flatten() if n.endswith("position_embeddings.weight") else t),
        "position_embeddings in the shape .*, which is no matrix",
    ),
    "short bias": (cut("cls.predictions.bias", rows=900), "do not belong together"),
    "scalar bias": (edit_tensors(lambda n, t: t.sum() if n == "cls.predictions.bias" else t), "do not belong together"),
    "no tokenizer": (remove("tokenizer.json", "vocab.txt"), "has no tokenizer"),
    "damaged tokenizer": (replace("tokenizer.json", b'{"model":'), "tokenizer.json cannot be read"),
    "options of another kind": (replace("tokenizer_config.json", b'{"do_lower_case": "yes"}'), "tokenizer_config.json: do_lower_case is .yes., and true"),
    # huggingface/tokenizers#566: a tokenizer.json that the library refuses to load
    "not a tokenizer": (replace("tokenizer.json", b'{"version": "1.0"}'), "tokenizer.json cannot be read"),
    "vocabulary without specials": (both(remove("tokenizer.json"), replace("vocab.txt", b"[UNK]\na\nb\n")), "vocab.txt cannot be read"),
}


def edit_pieces(change):
    """``change`` edits the SentencePiece model."""

    def damage(source):
        model = sentencepiece_model_pb2.ModelProto.FromString((source / "sentencepiece.bpe.model").read_bytes())
        change(model)
        (source / "sentencepiece.bpe.model").write_bytes(model.SerializeToString())

    return damage


def set_charsmap(model):
    model.normalizer_spec.precompiled_charsmap = b"\xff" * 40


def set_kind(model):
    model.trainer_spec.model_type = model.trainer_spec.BPE


XLMR = {
    "damaged normalization": (edit_pieces(set_charsmap), "sentencepiece.bpe.model cannot be read"),
    "byte pair encoding": (edit_pieces(set_kind), "no SentencePiece unigram"),
    "pieces of another model": (edit_pieces(lambda model: model.pieces.pop(0)), "no SentencePiece unigram that begins with <unk>"),
    # transformers would count positions from another token than the padding, and give that token none of its own
    "another padding": (edit_config(pad_token_id=0), "pad_token_id is 0, where the tokenizer's padding has the id 1"),
    # microsoft/OmniParser#34: to safetensors, a pointer of Git LFS has a header that is too large
    "LFS pointer": (replace("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS pointer"),
    "damaged SentencePiece": (replace("sentencepiece.bpe.model", b"\xff" * 50), "sentencepiece.bpe.model cannot be read"),
}


@pytest.mark.parametrize("case", [*BERT, *XLMR])
def test_damaged_source(case, bert_dir, xlmr_dir, tmp_path):
    damage, message = {**BERT, **XLMR}[case]
    shutil.copytree(bert_dir if case in BERT else xlmr_dir, tmp_path / "source")
    damage(tmp_path / "source")
    sentence = error_of(import_plm, tmp_path / "source", tmp_path / "out" / "plm")
    assert re.search(message, sentence), sentence
    assert not list(tmp_path.glob("out/*")) and not list(tmp_path.glob("out/.*"))


def test_missing_directory(tmp_path):
    """As a user types it: exit code 1 and one line."""
    done = run("python", "preprocess/import_plm.py", tmp_path / "absent", tmp_path / "plm", check=False, HF_HUB_OFFLINE="1")
    assert done.returncode == 1 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and str(tmp_path / "absent") in line and "neither a directory nor" in line


def test_unreadable_text_to_trim_to(bert_dir, tmp_path):
    (tmp_path / "latin1.txt").write_bytes("été".encode("latin-1"))
    (tmp_path / "text.xz").write_bytes(b"not xz")
    for name in ("absent.txt", "latin1.txt", "text.xz"):
        sentence = error_of(import_plm, bert_dir, tmp_path / "plm", "--trim-to", tmp_path / name)
        assert str(tmp_path / name) in sentence and "UTF-8" in sentence


def test_output_that_is_not_ours(bert_dir, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    (tmp_path / "notes").write_text("a file")
    assert "choose another output" in error_of(import_plm, bert_dir, tmp_path / "thesis")
    assert "choose another output" in error_of(import_plm, bert_dir, tmp_path / "notes")
    assert "choose another output" in error_of(import_plm, bert_dir, tmp_path / "notes" / "plm")
    assert [p.name for p in sorted(tmp_path.rglob("*"))] == ["notes", "thesis", "chapter1.tex"]


def test_failed_import_leaves_the_old_one(bert_dir, bert_plm, tmp_path):
    shutil.copytree(bert_dir, tmp_path / "source")
    shutil.copytree(bert_plm, tmp_path / "plm")
    poison(float("nan"))(tmp_path / "source")
    before = {p.name: p.read_bytes() for p in (tmp_path / "plm").iterdir()}
    error_of(import_plm, tmp_path / "source", tmp_path / "plm")
    assert {p.name: p.read_bytes() for p in (tmp_path / "plm").iterdir()} == before


def test_output_through_a_link(bert_dir, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for _ in range(2):  # anew, and over an import
        import_plm.import_plm(bert_dir, tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "disk" / "plm.json").is_file()
    assert torch.load(tmp_path / "link" / "model.pt", weights_only=True)["model"]
