"""Exports of PLMs that the released ones are not: more segments, no head."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM, BertModel

from preprocess import export_hf
from preprocess.import_plm import import_plm
from salt_fairseq.plm import PLM
from support.in_process import call
from support.published import loaded

pytestmark = pytest.mark.slow

PAIR = ("Tomorrow there will be sunshine all over the north.", "He didn't call on 3 May 1999, did he?")


@torch.inference_mode()
def test_three_segments(bert_dir, tmp_path):
    """The second sentence has the second segment, however many more the body has."""
    theirs = BertForMaskedLM.from_pretrained(bert_dir, type_vocab_size=3, ignore_mismatched_sizes=True).eval()
    theirs.bert.embeddings.token_type_embeddings.weight.normal_(generator=torch.Generator().manual_seed(1))
    theirs.save_pretrained(tmp_path / "source")
    shutil.copy(bert_dir / "vocab.txt", tmp_path / "source")
    import_plm(tmp_path / "source", tmp_path / "plm")
    call(export_hf, tmp_path / "plm", tmp_path / "out")
    source, exported = (AutoTokenizer.from_pretrained(tmp_path / d)(*PAIR, return_tensors="pt") for d in ("source", "out"))
    assert exported["token_type_ids"].unique().tolist() == [0, 1]
    expected = theirs(**source).logits
    torch.testing.assert_close(loaded(AutoModelForMaskedLM, tmp_path / "out")(**exported).logits, expected, atol=1e-4, rtol=0)
    plm, ids = PLM.load(tmp_path / "plm"), torch.load(tmp_path / "plm" / "model.pt", weights_only=True)["published"]["ids"]
    torch.testing.assert_close(plm.logits(plm.encode(*PAIR)[None]), expected[:, :, ids], atol=1e-4, rtol=0)


def test_encoder_without_head(bert_dir, tmp_path):
    """As a sentence encoder is published: no head that nobody trained comes out."""
    BertModel.from_pretrained(bert_dir).save_pretrained(tmp_path / "source")
    shutil.copy(bert_dir / "vocab.txt", tmp_path / "source")
    import_plm(tmp_path / "source", tmp_path / "plm")
    call(export_hf, tmp_path / "plm", tmp_path / "out")
    published, exported = (load_file(tmp_path / d / "model.safetensors") for d in ("source", "out"))
    assert exported.keys() == published.keys() and all(torch.equal(exported[name], published[name]) for name in published)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["architectures"] == ["BertModel"]
    assert "feature-extraction" in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
