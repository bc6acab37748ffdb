"""The vector that is classified: the first token's features or the mean of all, in training, in exports, as published.

References: numpy sentence by sentence; transformers' models with the mean worked out around them.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel, DistilBertConfig, DistilBertModel

from preprocess import export_hf, import_plm
from salt_fairseq.checkpoints import load_checkpoint
from salt_fairseq.models.salt_encoder import SaltEncoder, SaltEncoderConfig
from salt_fairseq.modules.encoder import PAD
from salt_fairseq.modules.pooling import normalized_mean
from salt_fairseq.plm import PLM, Description, pad
from support.classifiers import binarized, fine_tuned
from support.in_process import call, error_of
from support.running import randomize

pytestmark = pytest.mark.slow

TEXTS = [
    ("Oui",),
    ("Tomorrow there will be sunshine all over the north.", "He didn't call on 3 May 1999, did he?"),
    ("Nobody (yet) knows why!", "你好, el número es 42; c'est l'été."),
    ("a",),
]


@pytest.mark.parametrize("dtype, tolerance", [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_mean_of_all_tokens_but_padding(dtype, tolerance):
    torch.manual_seed(1)
    tokens = torch.tensor([[0, 5, 6, 2, PAD, PAD], [0, 7, 8, 9, 4, 2], [0, 2, PAD, PAD, PAD, PAD]])
    features = torch.randn(3, 6, 16, dtype=torch.float64).to(dtype)
    found = normalized_mean(features, tokens)
    assert found.dtype == dtype
    for row, vectors, length in zip(found, features.double().numpy(), (4, 6, 2)):
        mean = vectors[:length].mean(0)
        assert np.abs(row.double().numpy() - (mean - mean.mean()) / mean.std()).max() < tolerance


def with_pooling(source, directory, config, kind="sentence_transformers.models.Pooling"):
    """A copy of a Hugging Face directory with the files of sentence-transformers."""
    shutil.copytree(source, directory)
    steps = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": kind},
    ]
    (directory / "modules.json").write_text(json.dumps(steps))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize(
    "config, expected",
    [
        (
            {
                "word_embedding_dimension": 48,
                "pooling_mode_cls_token": False,
                "pooling_mode_mean_tokens": True,
                "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False,
            },
            "mean",
        ),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean"),
        ({"embedding_dimension": 48, "pooling_mode": "mean", "include_prompt": True}, "mean"),
        ({"pooling_mode": ["cls"]}, "first"),
    ],
)
def test_import_reads_how_the_model_was_trained(config, expected, bert_dir, tmp_path):
    import_plm.import_plm(with_pooling(bert_dir, tmp_path / "hf", config), tmp_path / "plm")
    assert Description.load(tmp_path / "plm").pooling == expected


def test_import_without_a_pooling_step(bert_dir, tmp_path):
    source = with_pooling(bert_dir, tmp_path / "hf", {}, kind="sentence_transformers.models.Normalize")
    import_plm.import_plm(source, tmp_path / "plm")
    assert Description.load(tmp_path / "plm").pooling == "first"


@pytest.mark.parametrize(
    "config, said",
    [
        ({"pooling_mode_max_tokens": True}, "sentences are read by max, where the mean or the first token can be"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}, "sentences are read by cls and mean"),
        ({"pooling_mode": "lasttoken"}, "sentences are read by lasttoken"),
        ({}, "sentences are read by no known mode"),
        ([], "cannot be read (AttributeError)"),
    ],
)
def test_ways_of_pooling_that_are_not_there(config, said, bert_dir, tmp_path):
    source = with_pooling(bert_dir, tmp_path / "hf", config)
    assert said in error_of(import_plm, source, tmp_path / "plm")
    assert not (tmp_path / "plm").exists()
    (source / "modules.json").unlink()  # as the sentence says
    call(import_plm, source, tmp_path / "plm")


def test_modules_that_cannot_be_read(bert_dir, tmp_path):
    for content in ("{", "[1]", '[{"type": "Pooling"}]', "{}"):
        source = tmp_path / f"hf{len(content)}"
        shutil.copytree(bert_dir, source)
        (source / "modules.json").write_text(content)
        if content == "{}":
            call(import_plm, source, tmp_path / "plm")
        else:
            assert "modules.json cannot be read" in error_of(import_plm, source, tmp_path / "new")


def model(plm, **options):
    torch.manual_seed(1)
    net = SaltEncoder(SaltEncoderConfig(plm_description=Description.load(plm).to_json(), **options), 3)
    net.load_plm(plm)
    return net


@torch.inference_mode()
def test_the_option_wins_over_the_plm(bert_plm):
    """Logits of the mean against PLM.features; BERT's pooler, which was trained on first tokens, is not its start."""
    plm = PLM.load(bert_plm)
    tokens = pad([plm.encode(*texts) for texts in TEXTS])
    assert model(bert_plm).pooling == "first"
    first, mean = model(bert_plm, pooling="first").eval(), model(bert_plm, pooling="mean").eval()
    assert torch.equal(first(tokens)[0], model(bert_plm).eval()(tokens)[0])
    weights = torch.load(bert_plm / "model.pt", weights_only=True)["model"]["pooler.weight"]
    assert torch.equal(first.pooler.weight, weights) and not torch.equal(mean.pooler.weight, weights)
    for row, texts in zip(mean(tokens)[0], TEXTS):
        vector = plm.features(plm.encode(*texts)[None])[0].mean(0)
        vector = (vector - vector.mean()) / vector.std(unbiased=False)
        torch.testing.assert_close(row, mean.classifier(mean.pooler(vector)), atol=1e-5, rtol=0)


@pytest.fixture(scope="module", params=["bert", "xlmr", "distilbert", "embedded"])
def made(request, bert_dir, xlmr_dir, tmp_path_factory):
    """PLM directory, fine-tuned checkpoint that reads the mean, and its export."""
    directory, source = tmp_path_factory.mktemp(request.param), {"bert": bert_dir, "xlmr": xlmr_dir}.get(request.param)
    if request.param in ("distilbert", "embedded"):  # a BERT body with XLM-R's vocabulary, as e5 has it
        source, rows = directory / "hf", len((bert_dir / "vocab.txt").read_text(encoding="utf-8").splitlines())
        if request.param == "distilbert":
            config = DistilBertConfig(vocab_size=rows, dim=48, n_layers=2, n_heads=6, hidden_dim=72, max_position_embeddings=160)
            randomize(DistilBertModel(config), 5).save_pretrained(source)
            shutil.copy(bert_dir / "vocab.txt", source)
        else:
            config = BertConfig(vocab_size=2502, hidden_size=40, num_hidden_layers=2, num_attention_heads=5, intermediate_size=96, max_position_embeddings=160)
            randomize(BertModel(config, add_pooling_layer=False), 6).save_pretrained(source)
            shutil.copy(xlmr_dir / "sentencepiece.bpe.model", source)
    import_plm.import_plm(source, directory / "plm")
    path = fine_tuned(binarized(directory / "plm", directory / "data"), directory / "plm", directory / "ckpt", "--pooling", "mean")
    call(export_hf, path, directory / "out")
    return directory / "plm", path, directory / "out"


@torch.inference_mode()
def test_export_of_the_mean(made):
    """Loaded by transformers without code of ours: the same logits, alone and in a padded batch, and nearly so in fp16."""
    plm, path, out = made
    net, tokenizer = AutoModelForSequenceClassification.from_pretrained(out).eval(), AutoTokenizer.from_pretrained(out)
    ours, plm = load_checkpoint(path).model, PLM.load(plm)
    assert ours.pooling == "mean" and net.config.num_hidden_layers == plm.description.architecture.layers + 1
    for inputs in (TEXTS, TEXTS[:1], TEXTS[1:2]):
        expected, _ = ours(pad([plm.encode(*texts) for texts in inputs]))
        rows = [tokenizer(*texts) for texts in inputs]
        batch = tokenizer.pad({key: [row[key] for row in rows] for key in rows[0]}, return_tensors="pt")
        torch.testing.assert_close(net(**batch).logits, expected, atol=1e-4, rtol=0)
        half = net.half()(**batch).logits.float()
        torch.testing.assert_close(half, expected, atol=0.05 * float(expected.abs().max()), rtol=0)
        net = net.float()
        net.load_state_dict(AutoModelForSequenceClassification.from_pretrained(out).state_dict())
    assert "the mean of all tokens" in (out / "README.md").read_text(encoding="utf-8")
    assert json.loads((out / "salt_fairseq.json").read_text())["model"]["pooling"] == "mean"
