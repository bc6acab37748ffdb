"""The whole chain with ModernBERT's, DeBERTa-v3's and XLM-R XL's bodies: import, binarize, distill, train, evaluate, export.

References: transformers' classifiers of the exported directories.
"""

import json

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from preprocess import distill, export_hf, import_plm, train_lm_head
from salt_fairseq import evaluate
from salt_fairseq.candidates import open_candidates
from salt_fairseq.checkpoints import load_checkpoint
from salt_fairseq.plm import PLM, load_published, pad
from support.bodies import BODIES, new_model
from support.classifiers import binarized, fine_tuned
from support.in_process import call
from support.running import randomize

pytestmark = pytest.mark.long

TEXTS = [("Oui",), ("Tomorrow there will be sunshine all over the north.", "He didn't call on 3 May 1999, did he?"), ("a 漢字", "b")]


@pytest.fixture(scope="module", params=BODIES)
def chain(request, sentences, tmp_path_factory):
    """PLM directory, data directory; candidates only where the PLM is a masked LM as published."""
    directory = tmp_path_factory.mktemp(request.param)
    source = directory / "hf"
    source.mkdir()
    pieces = {"modernbert": 2000, "deberta-v2": 1200, "xlm-roberta-xl": 2000}[request.param]
    randomize(new_model(request.param, sentences[:1500], source, pieces), 1).save_pretrained(source)
    call(import_plm, source, directory / "plm")
    binarized(directory / "plm", directory / "data")
    if request.param != "deberta-v2":
        call(distill, directory / "plm", directory / "data", "--languages", "fr")
    return request.param, directory


def test_candidates_are_words_at_words(chain):
    body, directory = chain
    if body != "deberta-v2":
        candidates, tokenizer = open_candidates(directory / "data", "train", "fr", "input0"), PLM.load(directory / "plm").tokenizer
        ids = torch.cat([ids[torch.isfinite(log_probs)] for ids, log_probs in (candidates[i] for i in range(len(candidates)))])
        assert len(ids) > 100 and all(tokenizer.starts_word[i] and tokenizer.has_letter[i] for i in ids.tolist())


def test_trained_lm_head(chain, sentences, tmp_path):
    """Layers of its own among the encoder's: exported as one stack, transformers' logits; a body's published heads are gone."""
    body, directory = chain
    (tmp_path / "text").write_text("\n".join(sentences[:40]), encoding="utf-8")
    options = ("--text", tmp_path / "text", "--held-out", 4, "--steps", 2, "--max-tokens", 128, "--layers", 2, "--device", "cpu")
    call(train_lm_head, directory / "plm", tmp_path / "trained", *options, "--fresh-head")
    plm = PLM.load(tmp_path / "trained")
    assert plm.description.body == body and len(plm.lm_head.layers) == 2
    call(export_hf, tmp_path / "trained", tmp_path / "out")
    net, tokenizer = AutoModelForMaskedLM.from_pretrained(tmp_path / "out").eval(), AutoTokenizer.from_pretrained(tmp_path / "out")
    inputs, ids = tokenizer(*sentences[:2], return_tensors="pt"), load_published(tmp_path / "trained", plm.description)["ids"]
    with torch.inference_mode():
        torch.testing.assert_close(net(**inputs).logits[0][:, ids], plm.logits(plm.encode(*sentences[:2])[None])[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_classifier(chain, pooling, tmp_path):
    """Logits of transformers' model, from its own tokenizer, alone and padded: those of the checkpoint."""
    body, directory = chain
    more = ("--augment", "fr") if body != "deberta-v2" else ()
    path = fine_tuned(directory / "data", directory / "plm", tmp_path / "ckpt", "--pooling", pooling, *more)
    call(evaluate, directory / "data", "--path", path, "--subsets", "test.fr", "--out", tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text())["checkpoints"][0]["accuracy"]["test.fr"] > 0
    call(export_hf, path, tmp_path / "out")
    net, tokenizer = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval(), AutoTokenizer.from_pretrained(tmp_path / "out")
    ours, plm = load_checkpoint(path).model, PLM.load(directory / "plm")
    assert ours.pooling == pooling
    with torch.inference_mode():
        for inputs in (TEXTS, TEXTS[1:2]):
            expected, _ = ours(pad([plm.encode(*texts) for texts in inputs]))
            rows = [tokenizer(*texts) for texts in inputs]
            batch = tokenizer.pad({key: [row[key] for row in rows] for key in rows[0]}, return_tensors="pt")
            torch.testing.assert_close(net(**batch).logits, expected, atol=1e-4, rtol=0)
    if body == "modernbert":
        assert net.config.classifier_pooling == {"first": "cls", "mean": "mean"}[pooling]
    else:  # the mean is one more layer
        assert net.config.num_hidden_layers == plm.description.architecture.layers + (pooling == "mean")
