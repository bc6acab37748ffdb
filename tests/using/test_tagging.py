"""Tagging from training to export: against fairseq-validate, seqeval, the file's own tags, and transformers' models."""

import io
import json
import shutil
import sys
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from fairseq.logging import progress_bar
from fairseq_cli import validate as fairseq_validate
from seqeval.metrics import f1_score
from transformers import AutoModelForTokenClassification, PreTrainedTokenizerFast

from preprocess import distill, export_hf, import_plm, show_candidates
from salt_fairseq import api, evaluate, predict
from salt_fairseq.checkpoints import load_checkpoint, load_tokenizer
from salt_fairseq.errors import InputError
from salt_fairseq.predict_tags import Tagger
from salt_fairseq.report import rows, tables
from salt_fairseq.report.results import as_results, read_checkpoints
from salt_fairseq.report.significance import compare
from support.bodies import BODIES, new_model
from support.in_process import call, error_of
from support.running import QUICKSTART, randomize, read_tsv
from support.tagged import binarized, conll, jsonl
from support.training import TOKEN_LABELLING, trained, training

pytestmark = pytest.mark.slow

MAX_LENGTH = 12  # tokens: most sentences are longer


def tagged(name, rows=60):
    """Sentences of the quickstart, in which capitals begin entities; several kinds of tags."""
    sentences = []
    for row in read_tsv(QUICKSTART / f"{name}.tsv")[:rows]:
        words = row["sentence1"].split()
        tags, inside = [], False
        for k, word in enumerate(words):
            tags.append("O" if not word[0].isupper() else ("I-" if inside else "B-") + ("LOC" if len(word) % 2 else "PER"))
            inside = word[0].isupper()
        sentences.append((words, tags))
    return sentences


def tagging_checkpoint(data, plm, directory, *options):
    """A checkpoint after three updates, with a classifier of weights so large that every label is found."""
    words = [*training(data, plm, directory, "--cpu", "--max-length", MAX_LENGTH, *options, updates=3)]
    words[words.index("salt_sentence_pair")] = TOKEN_LABELLING
    trained(words)
    path = directory / "checkpoint_last.pt"
    saved = torch.load(path, weights_only=True)
    weight = saved["model"]["classifier.weight"]
    saved["model"]["classifier.weight"] = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    torch.save(saved, path)
    return path


@pytest.fixture(scope="module")
def made(xlmr_plm, tmp_path_factory):
    """Data with named entities in two languages, candidates, a checkpoint, its results."""
    directory = tmp_path_factory.mktemp("tagging")
    data = binarized(xlmr_plm, directory / "data", conll(tagged("train.en")), "--tags", "conll")
    for subset, name in (("valid", "valid.en"), ("test.en", "test.en"), ("test.fr", "test.fr")):
        binarized(xlmr_plm, directory / "data", conll(tagged(name, 30)), "--tags", "conll", name=subset, subset=subset)
    call(distill, xlmr_plm, data.path, "--languages", "en,fr")
    options = ("--augment", "en,fr", "--thresholds", "50%", "--best-checkpoint-metric", "f1", "--maximize-best-checkpoint-metric")
    path = tagging_checkpoint(data.path, xlmr_plm, directory / "ckpt", *options)
    out = directory / "results.json"
    call(evaluate, data.path, "--path", path, "--subsets", "valid,test.*", "--out", out)
    return SimpleNamespace(data=data, plm=xlmr_plm, path=path, out=out, results=json.loads(out.read_text()), directory=directory)


def predicted(path, text, *options, plm=None):
    """What predict prints for this standard input."""
    out = io.BytesIO()
    stdin, stdout = SimpleNamespace(buffer=io.BytesIO(text.encode())), SimpleNamespace(buffer=out)
    with mock.patch.object(sys, "stdin", stdin), mock.patch.object(sys, "stdout", stdout):
        call(predict, path, *options)
    return out.getvalue().decode()


def test_scores_are_seqevals_of_what_predict_prints(made):
    """Every word of every sentence has a tag, long ones too; entity F1 and accuracy follow from the tags that predict prints."""
    entry = made.results["checkpoints"][0]
    assert made.results["measure"] == "f1" and made.results["labelled"] == "tokens"
    for subset, name in (("test.en", "test.en"), ("test.fr", "test.fr")):
        sentences = tagged(name, 30)
        lines = [line.split("\t") for line in predicted(made.path, conll(sentences)).splitlines()]
        assert [row[:2] for row in lines if row != [""]] == [[w, t] for words, tags in sentences for w, t in zip(words, tags)]
        text = [[row[2] for row in block] for block in _blocks(lines)]
        gold = [tags for _, tags in sentences]
        assert list(map(len, text)) == list(map(len, gold)) and max(map(len, text)) > MAX_LENGTH - 2
        assert entry["f1"][subset] == pytest.approx(100 * f1_score(gold, text), abs=1e-9) and entry["f1"][subset] > 1
        flat = [(a, b) for g, t in zip(gold, text) for a, b in zip(g, t)]
        assert entry["accuracy"][subset] == pytest.approx(100 * sum(a == b for a, b in flat) / len(flat))
        assert [[made.data.labels[i] for i in row] for row in entry["predictions"][subset]] == text
        assert len({tag for row in text for tag in row}) > 3
    lines = [json.loads(line) for line in predicted(made.path, jsonl(sentences, "words", "gold")).splitlines()]
    assert [line["prediction"] for line in lines] == text and lines[0]["gold"] == gold[0] and lines[0]["id"] == "7"
    assert [json.loads(line)["prediction"] for line in predicted(made.path, '{"tokens":["Paris"]}\n').splitlines()] != []
    assert predicted(made.path, conll([(w, w) for w, _ in sentences]), "--jsonl").count('"prediction": ') == 30


def test_words_without_a_tag_do_not_move_the_cuts(made, tmp_path):
    """Every other tag is missing: the other words of long sentences have the predictions that they have with all tags."""
    sentences = [(words, ["_" if k % 2 else tag for k, tag in enumerate(tags)]) for words, tags in tagged("test.en", 30)]
    some = shutil.copytree(made.data.path, tmp_path / "data")
    binarized(made.plm, some, conll(sentences), "--tags", "conll", "--missing-label", "_", name="some", subset="test.some")
    call(evaluate, some, "--path", made.path, "--subsets", "test.some", "--out", tmp_path / "some.json")
    (entry,) = json.loads((tmp_path / "some.json").read_text())["checkpoints"]
    whole = made.results["checkpoints"][0]["predictions"]["test.en"]
    assert entry["predictions"]["test.some"] == [row[::2] for row in whole] and max(map(len, whole)) > MAX_LENGTH


def _blocks(rows):
    blocks = [[]]
    for row in rows:
        if row == [""]:
            blocks.append([])
        else:
            blocks[-1].append(row)
    return [block for block in blocks if block]


def test_fairseq_validate_scores_the_same_words(made):
    """With a length that no sentence exceeds, entity F1 and accuracy are evaluate's, batch sizes whatever they are."""
    saved = torch.load(made.path, weights_only=True)
    saved["cfg"]["task"]["max_length"] = 128
    path = made.directory / "long.pt"
    torch.save(saved, path)
    call(evaluate, made.data.path, "--path", path, "--subsets", "test.*", "--out", made.directory / "long.json")
    (entry,) = json.loads((made.directory / "long.json").read_text())["checkpoints"]
    options = ("--task", "salt_token_labelling", "--user-dir", "salt_fairseq", "--cpu", "--batch-size", 7, "--path", path, "--log-format", "simple")
    with mock.patch.object(progress_bar.SimpleProgressBar, "print") as printed:
        call(fairseq_validate, made.data.path, *options, "--valid-subset", "test.en,test.fr")
    logged = {each.kwargs["tag"]: each.args[0] for each in printed.call_args_list}
    for subset in ("test.en", "test.fr"):
        values = [logged[subset][name] for name in ("f1", "accuracy", "examples")]
        assert values == [pytest.approx(entry["f1"][subset], abs=0.01), pytest.approx(entry["accuracy"][subset], abs=0.01), 30]


def test_report_names_the_measure(made):
    read = read_checkpoints({"SALT": [str(made.out)]})
    results = as_results(read, read.systems)
    comparisons = compare(results, "SALT")
    text = tables.languages(results, "SALT", comparisons).markdown()
    value = made.results["checkpoints"][0]["f1"]["test.fr"]
    assert "Entity F1 in percent" in text and "ccuracy" not in text and f"{value:.1f}" in text
    assert rows.languages(results, comparisons)[1]["f1"] == pytest.approx(value)


def test_tasks_refuse_each_others_data(made, xlmr_data, checkpoints):
    words = training(made.data.path, made.plm, made.directory / "no", "--cpu")
    with pytest.raises(InputError, match="has a label for each token, and --task salt_sentence_pair needs one for each sentence or pair"):
        trained(words)
    words = training(xlmr_data, made.plm, made.directory / "no", "--cpu")
    words[words.index("salt_sentence_pair")] = TOKEN_LABELLING
    with pytest.raises(InputError, match="has a label for each sentence or pair, and --task salt_token_labelling needs one for each token"):
        trained(words)
    for data, path in ((made.data.path, checkpoints[0]), (xlmr_data, made.path)):
        message = error_of(evaluate, data, "--path", path, "--out", made.directory / "no.json")
        assert "is for labels of tokens and the other for those of sentences or pairs" in message
    assert "two languages and sentence pairs" in error_of(
        evaluate, made.data.path, "--path", made.path, "--subsets", "test.en-fr", "--out", made.directory / "no.json"
    )


@pytest.mark.parametrize(
    "text, said",
    [
        ("She lives\n", "line 1: the line has blanks"),
        ("1\tShe" + "\t_" * 8 + "\n", "line 1: CoNLL-U numbers its words"),
        ("She\n\tO\n", "line 2: the word is empty"),
        ("She\rlives\r", r"standard input has carriage returns \(CR\) alone as line ends"),
        ('{"tokens": ["a"]}\n{"text": "a"}\n', "line 2: a JSON object with a list of words"),
        ('{"tokens": ["a"], "prediction": 1}\n', "line 1: prediction is a key of the input already"),
    ],
)
def test_input_that_cannot_be_tagged(text, said, made):
    with pytest.raises(InputError, match=said):
        predicted(made.path, text)


SYSTEMS = {"RS-ADV": ["--perturbation", "adversarial", "--ascent-steps", 1], "consistency": ["--augment", "fr", "--consistency", 0.5, "--one-stream"]}


@pytest.mark.parametrize("system", SYSTEMS)
def test_systems(system, made, tmp_path):
    """The other systems train on tagged words; with one and the same seed, their parameters differ."""
    words = training(made.data.path, made.plm, tmp_path, "--cpu", "--disable-validation", "--max-length", MAX_LENGTH, *SYSTEMS[system], updates=1)
    words[words.index("salt_sentence_pair")] = TOKEN_LABELLING
    trained(words)
    state = load_checkpoint(tmp_path / "checkpoint_last.pt").model.state_dict()
    SEEN.setdefault(system, state["classifier.weight"])
    assert all(torch.isfinite(tensor).all() for tensor in state.values())
    assert not any(torch.equal(SEEN[system], other) for name, other in SEEN.items() if name != system)


SEEN = {}


@pytest.fixture(scope="module", params=["bert", "xlmr", *BODIES])
def exported(request, sentences, made, tmp_path_factory):
    """A tagger of each body, and its export."""
    directory = tmp_path_factory.mktemp(f"exported-{request.param}")
    if request.param == "xlmr":
        plm, path = made.plm, made.path
    else:
        if request.param == "bert":
            plm = request.getfixturevalue("bert_plm")
        else:
            source, plm = directory / "hf", directory / "plm"
            source.mkdir()
            randomize(new_model(request.param, sentences[:300], source, num_hidden_layers=2), 3).save_pretrained(source)
            call(import_plm, source, plm)
        data = binarized(plm, directory / "data", conll(tagged("train.en", 20)), "--tags", "conll")
        path = tagging_checkpoint(data.path, plm, directory / "ckpt", "--disable-validation")
    call(export_hf, path, directory / "out")
    return SimpleNamespace(body=request.param, plm=plm, path=path, out=directory / "out")


def test_export(exported):
    """transformers' class for token classification gives the logits of the checkpoint at each word's first piece, from its own
    tokenizer; weights are equal bit by bit, and the labels are named."""
    net, report = AutoModelForTokenClassification.from_pretrained(exported.out, output_loading_info=True, dtype=torch.float32)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    checkpoint = load_checkpoint(exported.path)
    checkpoint.cfg.task.max_length = 128
    assert list(net.config.id2label.values()) == checkpoint.task["labels"] and net.config.architectures[0].endswith("ForTokenClassification")
    assert torch.equal(net.classifier.weight, checkpoint.model.classifier.weight)
    fast = PreTrainedTokenizerFast.from_pretrained(exported.out)
    words = [words[:9] for words, _ in tagged("test.fr", 6)]
    tagger = Tagger(checkpoint, load_tokenizer(checkpoint))
    inputs = fast(words, is_split_into_words=True, padding=True, return_tensors="pt")
    if exported.body == "modernbert":  # its tokenizer marks words by blanks, so running text is what it reads
        inputs = fast([" ".join(row) for row in words], padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = net.eval()(**inputs).logits
    labels = []
    for row, encoding in zip(logits, inputs.encodings):
        starts = _word_starts(encoding, exported.body)
        labels.append(row[starts].argmax(-1).tolist())
    assert labels == tagger(words) and len({i for row in labels for i in row}) > 1
    with torch.inference_mode():
        pieces = tagger.tokenizer.pieces_of_words(words[:1])[0]
        own, _ = checkpoint.model(torch.tensor([[0, *(i for word in pieces for i in word), 2]]))
    length = own.shape[1]
    torch.testing.assert_close(logits[0, :length], own[0], atol=1e-5, rtol=1e-5)
    card = (exported.out / "README.md").read_text()
    assert "pipeline_tag: token-classification" in card and "Classifies words as `B-LOC`" in card and "license" not in card


def _word_starts(encoding, body):
    if body != "modernbert":
        ids = encoding.word_ids
        return [k for k, word in enumerate(ids) if word is not None and (k == 0 or ids[k - 1] != word)]
    return [k for k, piece in enumerate(encoding.tokens) if k == 1 or piece.startswith("▁")]


def test_python_interface_is_for_sentences(exported):
    if exported.body == "xlmr":
        with pytest.raises(InputError, match="tags words: load it with transformers' AutoModelForTokenClassification"):
            api.load(exported.out)


def test_model_card_has_entity_f1(made):
    call(export_hf, made.path, made.directory / "card", "--results", made.out)
    card = (made.directory / "card" / "README.md").read_text()
    assert "## Entity F1 (%)" in card and f"| fr | {made.results['checkpoints'][0]['f1']['test.fr']:.2f} |" in card
    shutil.rmtree(made.directory / "card")


def test_candidates_are_shown(made, capsys):
    """With the tags of the words above, and on the page, which has no labels of examples."""
    page = made.directory / "page.html"
    call(show_candidates, made.plm, made.data.path, "--languages", "fr", "--thresholds", "50%", "--sentences", 1, "--html", page)
    heading = capsys.readouterr().out.splitlines()[0]
    assert heading == "1, sentence 1, " + " ".join(tagged("train.en", 1)[0][1]) and page.is_file()
