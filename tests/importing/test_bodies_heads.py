"""The heads with which models of these bodies are published: where a classifier starts, and what is no masked-LM head."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from preprocess import binarize, distill, export_hf, import_plm
from preprocess.exporters import hf_model
from salt_fairseq.errors import InputError
from salt_fairseq.models.salt_encoder import SaltEncoder, SaltEncoderConfig
from salt_fairseq.plm import PLM, Description, load_published, load_state
from support.bodies import batches, made, published_inputs, randomized
from support.in_process import call, error_of

pytestmark = pytest.mark.slow


def classifier(world, pooling, seed=3):
    torch.manual_seed(seed)
    net = SaltEncoder(SaltEncoderConfig(plm_description=world.plm.description.to_json(), pooling=pooling), 3)
    net.load_plm(world.plm_dir)
    return net.eval()


def test_classifier_starts_from_the_published_head(world):
    net, fresh = classifier(world, "first"), classifier(world, "first", seed=4)
    if world.kind == "modernbert":
        for pooling in ("first", "mean"):
            net = classifier(world, pooling)
            assert torch.equal(net.pooler.weight, world.model.head.dense.weight)
            assert torch.equal(net.pooler.layer_norm.weight, world.model.head.norm.weight)
    else:  # which is no part of the PLM
        assert not torch.equal(net.pooler.weight, fresh.pooler.weight)


def test_fp16_is_refused_where_it_overflows(world):
    net = classifier(world, "first")
    if world.kind != "deberta-v2":
        assert net.half().classifier.weight.dtype == torch.float16
    else:
        with pytest.raises(InputError, match="exceed the largest number of fp16.*--autocast-bf16"):
            net.half()


def test_replaced_token_detection_is_no_lm_head(sentences, tmp_path, capsys):
    """mDeBERTa as published: the head is kept for an export, an LM head has to be trained before distilling."""
    world = made("deberta-v2", tmp_path, sentences[:300])
    tensors = load_file(world.source / "model.safetensors")
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("cls.")}
    tensors |= {"mask_predictions.dense.weight": torch.ones(48, 48), "lm_predictions.lm_head.bias": torch.ones(9)}
    save_file(tensors, world.source / "model.safetensors")
    call(import_plm, world.source, tmp_path / "rtd")
    assert "without a masked-LM head" in capsys.readouterr().err
    assert Description.load(tmp_path / "rtd").lm_head == "untrained"
    (tmp_path / "train.tsv").write_text("The house.\tA house.\tyes\nThe sea.\tA house.\tno\n", encoding="utf-8")
    call(binarize, tmp_path / "rtd", tmp_path / "data", "--subset", f"train={tmp_path / 'train.tsv'}")
    assert "train it with preprocess/train_lm_head.py" in error_of(distill, tmp_path / "rtd", tmp_path / "data", "--languages", "fr")
    call(export_hf, tmp_path / "rtd", tmp_path / "out")
    exported = load_file(tmp_path / "out" / "model.safetensors")
    assert exported.keys() == tensors.keys() and all(torch.equal(exported[name], tensors[name]) for name in tensors)


def test_fine_tuned_classifiers_are_no_lm_head(world, sentences, tmp_path, capsys):
    """ModernBERT's classifiers have a dense layer and a LayerNorm named as the LM head's."""
    model = randomized(AutoModelForSequenceClassification.from_config(world.model.config), seed=5)
    shutil.copytree(world.source, tmp_path / "tuned", ignore=shutil.ignore_patterns("*.safetensors"))
    model.save_pretrained(tmp_path / "tuned")
    call(import_plm, tmp_path / "tuned", tmp_path / "plm")
    assert "without a masked-LM head" in capsys.readouterr().err
    plm, tokens = PLM.load(tmp_path / "plm"), list(batches(world.plm, sentences))[2]
    at = tokens != 1
    with torch.no_grad():
        expected = model.base_model(**published_inputs(world, tokens)).last_hidden_state
    torch.testing.assert_close(plm.features(tokens)[at], expected[at], atol=1e-4, rtol=0)
    call(export_hf, tmp_path / "plm", tmp_path / "out")
    exported, tensors = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "tuned"))
    assert exported.keys() == tensors.keys() and all(torch.equal(exported[name], tensors[name]) for name in tensors)
    # A head that was trained afterwards takes the place of the classifier's layers of the same names.
    description = replace(Description.load(tmp_path / "plm"), lm_head="trained")
    state = load_state(tmp_path / "plm", description)
    weights = hf_model.tensors(state, description, load_published(tmp_path / "plm", description))
    (dense,) = hf_model.layout_of(description, False).published("lm_head.dense", "")
    assert torch.equal(weights[f"{dense}.weight"], state["lm_head.dense.weight"])
