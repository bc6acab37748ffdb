"""Exports as ONNX files that onnxruntime runs, and to the hub, which a fake stands for.

References: the logits of the checkpoint that was exported.
"""

import json
import shutil
import sys
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, BertModel

from preprocess import export_hf
from preprocess.exporters import onnx_file
from preprocess.import_plm import import_plm
from salt_fairseq.checkpoints import load_checkpoint
from salt_fairseq.plm import PLM, pad
from support.classifiers import binarized, fine_tuned
from support.in_process import call, error_of
from support.running import randomize

pytestmark = pytest.mark.slow

BATCHES = [[("Oui",)], [("Tomorrow there will be sunshine.", "He didn't call, did he?"), ("Nobody (yet) knows why!", "No."), ("é", "y por qué no " * 9)]]


@pytest.fixture(scope="module")
def made(bert_dir, tmp_path_factory):
    """A classifier of pairs, whose tokenizer numbers the sentences; each layer would cost the exporter two seconds."""
    directory = tmp_path_factory.mktemp("onnx")
    randomize(BertForMaskedLM(BertConfig.from_pretrained(bert_dir, num_hidden_layers=1)), 1).save_pretrained(directory / "source")
    shutil.copy(bert_dir / "vocab.txt", directory / "source")
    import_plm(directory / "source", directory / "plm")
    binarized(directory / "plm", directory / "data", rows=32)
    return SimpleNamespace(plm=directory / "plm", path=fine_tuned(directory / "data", directory / "plm", directory / "checkpoints"))


def test_onnx(made, tmp_path, capfd, monkeypatch):
    """Logits of the checkpoint for other batch sizes and lengths than it was exported with; a file that gives others is not
    published."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    out = tmp_path / "out"
    call(export_hf, made.path, out, "--onnx")
    assert "arning" not in "".join(capfd.readouterr())
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1
    session = onnxruntime.InferenceSession(out / "model.onnx")
    assert {value.name: value.shape for value in session.get_inputs()} == dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), ["batch", "length"])
    assert [(value.name, value.shape) for value in session.get_outputs()] == [("logits", ["batch", 2])]
    tokenizer, model, plm = AutoTokenizer.from_pretrained(out), load_checkpoint(made.path).model, PLM.load(made.plm)
    for texts in BATCHES:
        rows = [tokenizer(*pair) for pair in texts]
        (logits,) = session.run(None, dict(tokenizer.pad({name: [row[name] for row in rows] for name in rows[0]}, return_tensors="np")))
        with torch.inference_mode():
            expected, _ = model(pad([plm.encode(*pair) for pair in texts]))
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4, rtol=0)
    written = (out / "model.onnx").stat().st_mtime_ns

    def export_another(model, example, path):
        shutil.copy(out / "model.onnx", path)
        model.classifier.bias.data += 0.01

    monkeypatch.setattr(onnx_file, "_export", export_another)
    sentence = error_of(export_hf, made.path, tmp_path / "other", "--onnx")
    assert sentence.startswith("onnxruntime's logits of the exported model differ from PyTorch's by 0.01, and nothing was written")
    error_of(export_hf, made.path, out, "--onnx")
    assert not (tmp_path / "other").exists() and (out / "model.onnx").stat().st_mtime_ns == written
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_refusals_of_onnx(made, bert_dir, tmp_path, monkeypatch):
    BertModel.from_pretrained(bert_dir).save_pretrained(tmp_path / "source")
    shutil.copy(bert_dir / "vocab.txt", tmp_path / "source")
    import_plm(tmp_path / "source", tmp_path / "plm")
    monkeypatch.setattr(onnx_file, "PACKAGES", ["transformers"])
    assert (
        error_of(export_hf, tmp_path / "plm", tmp_path / "out", "--onnx")
        == "--onnx is for classifiers and masked LMs, and BertModel gives no logits: leave it out"
    )

    def refuse(*args, **kwargs):
        raise torch.onnx.OnnxExporterError("Failed to convert\nlong explanation")

    monkeypatch.setattr(torch.onnx, "export", refuse)
    assert error_of(export_hf, made.path, tmp_path / "out", "--onnx") == (
        f"PyTorch {torch.__version__} cannot export BertForSequenceClassification to ONNX (OnnxExporterError: Failed to convert): leave --onnx out"
    )
    monkeypatch.setattr(onnx_file, "PACKAGES", ["onnxscript"])
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert error_of(export_hf, made.path, tmp_path / "out", "--onnx") == "--onnx needs the package onnxscript: pip install 'salt_fairseq[onnx]'"
    assert not (tmp_path / "out").exists()


class Hub:
    """Stands for ``HfApi``: the repositories, with privacy and names of files, are in ``repositories``."""

    repositories: dict = {}

    def create_repo(self, repo_id, *, private, exist_ok):
        assert exist_ok
        self.repositories.setdefault(repo_id, (private, []))
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.repositories[repo_id][1].extend(sorted(path.name for path in folder_path.iterdir()))


def test_push_to_hub(made, tmp_path, monkeypatch, capsys):
    """All files of the local directory, once it is complete, whose card names the repository."""
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "repositories", {})
    for source, out, repository, *private in ((made.path, "a", "me/a-1", "--private"), (made.plm, "b", "me/b")):
        call(export_hf, source, tmp_path / out, "--push-to-hub", repository, *private)
        assert capsys.readouterr().out.endswith(f"\nuploaded it to https://huggingface.co/{repository}\n")
        assert Hub.repositories[repository] == (bool(private), sorted(path.name for path in (tmp_path / out).iterdir()))
        assert f', "{repository}")\n' in (tmp_path / out / "README.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "a" / "config.json").read_text())["architectures"] == ["BertForSequenceClassification"]


def test_refusals_of_the_hub(made, tmp_path, monkeypatch):
    """Before anything is written, or with the directory left for another attempt."""
    out = tmp_path / "out"
    for name in ("classifier", "a/b/c", "me/a--b", "me/", "me/ü"):
        assert error_of(export_hf, made.path, out, "--push-to-hub", name) == f"--push-to-hub {name} is not a name on the Hugging Face hub: give USER/NAME"
    assert error_of(export_hf, made.path, out, "--private") == "--private is for --push-to-hub: give both, or neither"
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "huggingface_hub.utils", None)
        assert error_of(export_hf, made.path, out, "--push-to-hub", "me/a") == (
            "--push-to-hub needs the package huggingface_hub: pip install 'salt_fairseq[hub]'"
        )
    assert not out.exists()

    def refuse(self, repo_id, **kwargs):
        raise huggingface_hub.errors.LocalTokenNotFoundError("Token is required.\nMore of it.")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    assert error_of(export_hf, made.path, out, "--push-to-hub", "me/a") == (
        f"{out} is complete, but was not uploaded to me/a (LocalTokenNotFoundError: Token is required.): log in with hf auth login, "
        f"check the network, and run hf upload me/a {out}"
    )
    assert (out / "model.safetensors").is_file()
