"""Exports are what transformers loads: the published weights bit for bit, and the classifier's own logits and labels.

References: the Hugging Face directories that were imported, and the model that fairseq trained, in evaluation mode.
"""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    XLMRobertaForMaskedLM,
    pipeline,
)

from preprocess import export_hf
from preprocess.import_plm import import_plm
from salt_fairseq import evaluate
from salt_fairseq.checkpoints import load_checkpoint
from salt_fairseq.plm import PLM, Description, load_state, pad
from salt_fairseq.storage.files import sha256
from support.classifiers import LABELS, binarized, fine_tuned
from support.in_process import call, error_of
from support.published import loaded
from support.running import QUICKSTART, randomize, read_tsv, run

pytestmark = pytest.mark.slow

INPUTS = [
    ("Oui",),
    ("Tomorrow there will be sunshine all over the north.", "He didn't call on 3 May 1999, did he?"),
    ("Sie hat die Übersetzung «да» nicht gelesen …",),
    ("Nobody (yet) knows why!", "你好, el número es 42; c'est l'été."),
]
MAX_LENGTH = 70
SPELLED = ["one </s> two", "a [SEP] b", "x<pad>y [MASK]", "<mask>"]


@pytest.fixture(scope="module")
def sources(bert_dir, xlmr_dir, tmp_path_factory):
    """Name to a published directory: BERT, XLM-R in fp16, DistilBERT, and a BERT body with XLM-R's tokenizer, whose second
    segment and last embedding rows are unused."""
    directory = tmp_path_factory.mktemp("sources")
    rows = len((bert_dir / "vocab.txt").read_text(encoding="utf-8").splitlines())
    config = DistilBertConfig(vocab_size=rows, dim=48, n_layers=2, n_heads=6, hidden_dim=72, max_position_embeddings=160)
    randomize(DistilBertForMaskedLM(config), 5).save_pretrained(directory / "distilbert")
    shutil.copy(bert_dir / "vocab.txt", directory / "distilbert")
    model = XLMRobertaForMaskedLM.from_pretrained(xlmr_dir)
    config = BertConfig(
        vocab_size=model.config.vocab_size + 35, hidden_size=40, num_hidden_layers=2, num_attention_heads=5, intermediate_size=96, max_position_embeddings=160
    )
    randomize(BertForMaskedLM(config), 6).save_pretrained(directory / "minilm")
    model.half().save_pretrained(directory / "xlmr")
    for name in ("minilm", "xlmr"):
        shutil.copy(xlmr_dir / "sentencepiece.bpe.model", directory / name)
    return {"bert": bert_dir, **{path.name: path for path in directory.iterdir()}}


@pytest.fixture(scope="module")
def plms(sources, tmp_path_factory):
    """Name to the imported PLM directory and its export."""
    found = {}
    for name, source in sources.items():
        directory = tmp_path_factory.mktemp(name)
        import_plm(source, directory / "plm")
        call(export_hf, directory / "plm", directory / "out")
        found[name] = SimpleNamespace(source=source, plm=directory / "plm", out=directory / "out")
    return found


@pytest.fixture(params=["bert", "xlmr", "distilbert", "minilm"])
def plm(request, plms):
    return plms[request.param]


@pytest.fixture(scope="module")
def classifiers(plms, tmp_path_factory):
    """Likewise, with a data directory and a fine-tuned checkpoint; ``out`` is the export of the checkpoint."""
    found = {}
    for name, made in plms.items():
        directory = tmp_path_factory.mktemp(name)
        data = binarized(made.plm, directory / "data")
        path = fine_tuned(data, made.plm, directory / "ckpt", "--max-length", MAX_LENGTH)
        call(export_hf, path, directory / "out")
        found[name] = SimpleNamespace(plm=made.plm, data=data, path=path, out=directory / "out")
    return found


@pytest.fixture(params=["bert", "xlmr", "distilbert", "minilm"])
def classifier(request, classifiers):
    return classifiers[request.param]


def encoded(tokenizer, inputs):
    """``(padded batch for transformers, its mask)``."""
    rows = [tokenizer(*texts) for texts in inputs]
    batch = tokenizer.pad({key: [row[key] for row in rows] for key in rows[0]}, return_tensors="pt")
    return batch, batch["attention_mask"].bool()


def test_weights_are_the_published_ones(plm):
    """Every tensor, also those that the PLM has no use for, bit for bit and in the published precision."""
    published, exported = (load_file(path / "model.safetensors") for path in (plm.source, plm.out))
    if "lm_head.decoder.bias" in exported:  # the same parameter by its other name
        assert torch.equal(exported.pop("lm_head.decoder.bias"), exported["lm_head.bias"])
    assert exported.keys() == published.keys()
    for name, tensor in published.items():
        assert exported[name].dtype == tensor.dtype and torch.equal(exported[name], tensor), name
    old, new = (json.loads((path / "config.json").read_text()) for path in (plm.source, plm.out))
    assert new.pop("torch_dtype") == old["dtype"] and new.pop("position_embedding_type", "absolute") == "absolute"
    assert new.pop("pad_token_id") == AutoTokenizer.from_pretrained(plm.out).pad_token_id
    for option in new.keys() - {"architectures"}:
        assert new[option] == old[option], option
    assert set(new["architectures"]) == {"BertForMaskedLM" if a == "BertForPreTraining" else a for a in old["architectures"]}


@torch.inference_mode()
def test_masked_lm(plm):
    """The logits are the PLM's, with the published ids: alone, and in a padded batch."""
    model, tokenizer, ours = loaded(AutoModelForMaskedLM, plm.out), AutoTokenizer.from_pretrained(plm.out), PLM.load(plm.plm)
    ids = torch.load(plm.plm / "model.pt", weights_only=True)["published"]["ids"]
    for inputs in (INPUTS, INPUTS[1:2]):
        batch, mask = encoded(tokenizer, inputs)
        tokens = pad([ours.encode(*texts) for texts in inputs])
        assert torch.equal(batch["input_ids"][mask], ids[tokens][mask])
        torch.testing.assert_close(model(**batch).logits[:, :, ids][mask], ours.logits(tokens)[mask], atol=1e-4, rtol=0)


def test_tokenizer(plm, sentences):
    """Ids, token types and truncation are those of the source's own tokenizer; special tokens in text are special."""
    # A directory with nothing but sentencepiece.bpe.model does not tell AutoTokenizer that BERT's body has XLM-R's pieces.
    source = plm.source if (plm.source / "vocab.txt").exists() else plm.source.parent / "xlmr"
    theirs, ours = AutoTokenizer.from_pretrained(source), AutoTokenizer.from_pretrained(plm.out)
    for text in sentences[::20] + SPELLED + ["a <mask> b", ""]:
        assert ours(text)["input_ids"] == theirs(text)["input_ids"]
    for a, b in zip(sentences[:60:2], sentences[1:60:2]):
        expected, found = (t(a, b, truncation=True, max_length=33) for t in (theirs, ours))
        assert found["input_ids"] == expected["input_ids"]
        if "token_type_ids" in found:
            assert found["token_type_ids"] == expected["token_type_ids"]
    assert ours.model_max_length == Description.load(plm.plm).architecture.positions
    assert ours.mask_token_id == theirs.mask_token_id and ours.pad_token_id == theirs.pad_token_id


def test_import_of_an_export(plm, sentences, tmp_path):
    import_plm(plm.out, tmp_path / "again")
    first, again = (load_state(d, Description.load(d)) for d in (plm.plm, tmp_path / "again"))
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    assert (plm.plm / "dict.txt").read_bytes() == (tmp_path / "again" / "dict.txt").read_bytes()
    assert PLM.load(plm.plm).tokenizer(sentences[:300]) == PLM.load(tmp_path / "again").tokenizer(sentences[:300])


@torch.inference_mode()
def test_classifier(classifier):
    """The logits are fairseq's in evaluation mode: pairs and single sentences, alone and in a padded batch."""
    model, tokenizer = loaded(AutoModelForSequenceClassification, classifier.out), AutoTokenizer.from_pretrained(classifier.out)
    ours, plm = load_checkpoint(classifier.path).model, PLM.load(classifier.plm)
    for inputs in (INPUTS, [(text,) for text in SPELLED], *([texts] for texts in INPUTS)):
        batch, _ = encoded(tokenizer, inputs)
        expected, _ = ours(pad([plm.encode(*texts) for texts in inputs]))
        assert expected.shape == (len(inputs), 2)
        torch.testing.assert_close(model(**batch).logits, expected, atol=1e-4, rtol=0)
    assert expected.abs().max() > 0.05
    assert model.config.id2label == dict(enumerate(LABELS)) and model.config.label2id == {n: i for i, n in enumerate(LABELS)}
    assert model.config.problem_type == "single_label_classification"
    assert tokenizer.model_max_length == load_checkpoint(classifier.path).cfg.task.max_length


@pytest.mark.parametrize("name", ["bert", "xlmr"])
def test_pipeline_gives_the_labels_of_evaluate(name, classifiers, tmp_path):
    """On pairs of which some are cut to the length that the checkpoint was trained with."""
    made, out = classifiers[name], tmp_path / "results.json"
    call(evaluate, made.data, "--path", made.path, "--out", out)
    results = json.loads(out.read_text(encoding="utf-8"))
    expected = [results["labels"][k] for k in results["checkpoints"][0]["predictions"]["test.fr"]]
    pairs = [{"text": row["sentence1"], "text_pair": row["sentence2"]} for row in read_tsv(QUICKSTART / "test.fr.tsv")[:48]]
    answers = pipeline("text-classification", str(made.out), batch_size=8)(pairs, truncation=True)
    assert [answer["label"] for answer in answers] == expected and set(expected) == set(LABELS)
    tokenizer = AutoTokenizer.from_pretrained(made.out)
    assert 0 < sum(len(tokenizer(**pair)["input_ids"]) > MAX_LENGTH for pair in pairs) < 48
    call(export_hf, made.path, tmp_path / "again", "--results", out)
    accuracy = 100 * sum(a == LABELS[int(r["label"])] for a, r in zip(expected, read_tsv(QUICKSTART / "test.fr.tsv"))) / 48
    card = (tmp_path / "again" / "README.md").read_text(encoding="utf-8")
    assert f"| fr | {accuracy:.2f} |\n| average without en | {accuracy:.2f} |" in card


def test_command_line_and_model_card(classifiers, tmp_path):
    made, results, out = classifiers["bert"], tmp_path / "results.json", tmp_path / "out"
    other = {"path": "b.pt", "sha256": "0" * 64, "accuracy": {"test.fr": 1.0}}
    ours = {"path": "a.pt", "sha256": sha256(made.path), "accuracy": {"test.fr": 61.25, "test.en": 70.0, "test.de": 58.75, "test.en-de": 50.0, "valid": 40.0}}
    results.write_text(json.dumps({"labels": LABELS, "checkpoints": [other, ours]}))
    saved = torch.load(made.path, weights_only=True)
    done = run("python", "preprocess/export_hf.py", made.path, out, "--results", results)
    pieces = len(PLM.load(made.plm).tokenizer.pieces)
    assert done.stdout == (f"wrote {out}: BertForSequenceClassification, {pieces:,} pieces, labels other, paraphrase, from {made.path}\n")
    _, head, card = (out / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "language": ["de", "en", "fr"],
        "tags": ["salt_fairseq"],
    }
    for line in (
        "| base model | `bert0` |",
        "| data | data |",
        "| augmentation | none |",
        "| seed | 100003 |",
        "| updates | 2 |",
        "| learning rate | 0.001 |",
        "| batch size | 32 |",
        "| tokens of an example, at most | 70 |",
        "| en | 70.00 |\n| de | 58.75 |\n| fr | 61.25 |\n| average without en | 60.00 |",
    ):
        assert f"{line}\n" in card, line
    assert "50.0" not in card and "thresholds" not in card and str(tmp_path) not in card
    provenance = json.loads((out / "salt_fairseq.json").read_text(encoding="utf-8"))
    assert (provenance["checkpoint_sha256"], provenance["updates"], provenance["seed"]) == (sha256(made.path), 2, 100003)
    modes = {path.stat().st_mode for path in out.iterdir()}
    assert len(modes) == 1  # whoever may read one file may read the weights
    saved["cfg"]["task"] |= {"augment": "fr,de", "thresholds": "25%", "no_original": True}
    saved["cfg"]["model"] |= {"mixup": "fixed", "mixup_ratio": 0.25, "freeze_embeddings": True}
    torch.save(saved, tmp_path / "salt.pt")
    call(export_hf, tmp_path / "salt.pt", out)  # again into the same directory
    card = (out / "README.md").read_text(encoding="utf-8")
    for line in (
        "| languages of augmentation | fr, de |",
        "| thresholds | `25%` |",
        "| embedding mixup | fixed 0.25 |",
        "| unchanged instances | left out |",
        "| token embeddings | frozen |",
    ):
        assert f"{line}\n" in card, line
    assert "Accuracy" not in card


@torch.inference_mode()
@pytest.mark.parametrize("name", ["bert", "xlmr"])
def test_trimmed_plm(name, sources, sentences, tmp_path):
    """The published ids of a part of the vocabulary mean nothing: the pieces keep their order, without gaps."""
    (tmp_path / "text.txt").write_text("".join(f"{s}\n" for s in sentences[:40]), encoding="utf-8")
    import_plm(sources[name], tmp_path / "plm", [tmp_path / "text.txt"])
    call(export_hf, tmp_path / "plm", tmp_path / "out")
    ours, theirs = PLM.load(tmp_path / "plm"), loaded(AutoModelForMaskedLM, tmp_path / "out")
    whole, part = (AutoTokenizer.from_pretrained(path) for path in (sources[name], tmp_path / "out"))
    assert part.get_vocab().keys() == set(ours.tokenizer.pieces) and len(part) < len(whole)
    number = whole.get_vocab()
    kept = [number[piece] for piece in sorted(part.get_vocab(), key=part.get_vocab().get)]
    assert kept == sorted(kept)
    batch, mask = encoded(part, list(zip(sentences[:6], sentences[6:12])))
    place = [part.get_vocab()[piece] for piece in ours.tokenizer.pieces]
    expected = ours.logits(pad([ours.encode(a, b) for a, b in zip(sentences[:6], sentences[6:12])]))
    torch.testing.assert_close(theirs(**batch).logits[:, :, place][mask], expected[mask], atol=1e-4, rtol=0)


def test_errors(classifiers, plms, tmp_path, labelled_otherwise):
    made, out = classifiers["bert"], tmp_path / "out"
    assert error_of(export_hf, tmp_path / "no", out).startswith(f"{tmp_path / 'no'} does not exist")
    assert error_of(export_hf, tmp_path, out).startswith(f"{tmp_path} is a directory: name a checkpoint in it")
    assert error_of(export_hf, made.plm, out, "--data", made.data) == (f"--data is for checkpoints, and {made.plm} is a PLM directory: leave it out")
    assert "has the vocabulary of xlmr, but" in error_of(export_hf, made.path, out, "--plm", plms["xlmr"].plm)
    results = tmp_path / "results.json"
    results.write_text('{"checkpoints": [{"sha256": "1", "accuracy": {}}]}')
    assert error_of(export_hf, made.path, out, "--results", results).startswith(
        f"{results} has no results of this checkpoint (SHA-256 {sha256(made.path)[:12]}…)"
    )
    for content in ("[]", '{"checkpoints": [1]}', '{"labels": []}'):
        results.write_text(content)
        assert "is not a file of python -m salt_fairseq.evaluate" in error_of(export_hf, made.path, out, "--results", results)
    for directory, labels in labelled_otherwise(made.plm, tmp_path).items():
        sentence = f"{made.path} tells other, paraphrase apart, but {directory} has the labels {labels}: name the data directory that it was "
        assert error_of(export_hf, made.path, out, "--data", directory) == f"{sentence}trained on with --data"
    for accuracy in ("NaN", "Infinity", "-5", "100.5", "true", '"61"', "null", "1e400"):
        results.write_text(f'{{"checkpoints": [{{"sha256": "{sha256(made.path)}", "accuracy": {{"test.fr": 50, "test.de": {accuracy}}}}}]}}')
        sentence = error_of(export_hf, made.path, out, "--results", results)
        assert sentence.startswith(f"{results} has the accuracy ") and sentence.endswith(" on test.de, which is no percentage: evaluate again")
    assert not out.exists()
    published = plms["bert"].source  # looks like an export, and is somebody's only copy
    assert "holds no salt_fairseq.json: choose another output directory" in error_of(export_hf, made.path, published)
