"""salt train from a file to a classifier, once, on a tiny PLM; what it wrote is what every test here looks at."""

import doctest
import io
import json
import multiprocessing
import shutil
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salt_fairseq import __main__ as salt
from salt_fairseq import api
from salt_fairseq.errors import InputError
from salt_fairseq.pipeline import run, stages
from salt_fairseq.pipeline.settings import read_run_file
from salt_fairseq.storage.files import locked
from support.running import QUICKSTART, read_tsv

pytestmark = pytest.mark.slow

GIVEN = ["--targets", "fr,de", "--updates", "4", "--seeds", "2", "--max-length", "24", "--device", "cpu", "--precision", "fp32"]


def salted(*words):
    """Run ``salt`` in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["salt", *map(str, words)])
        patch.setattr(sys, "excepthook", sys.excepthook)
        salt.main()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with labelled files, whose user's cache is in it."""
    folder = tmp_path_factory.mktemp("home")
    for name, subset, rows in (("train", "train.en", 50), ("fr", "test.fr", 20)):
        lines = (QUICKSTART / f"{subset}.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
        (folder / f"{name}.tsv").write_text("".join(lines[: rows + 1]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def words(home, xlmr_dir):
    return ["train", "--model", xlmr_dir, "--train", "train.tsv", "--test", "fr=fr.tsv", *GIVEN]


@pytest.fixture(scope="module")
def trained(home, words):
    """The folder of a finished run, and what it printed."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", printed)
        salted(*words, "--out", "mine")
    return home / "mine", printed.getvalue()


def test_what_is_written(trained):
    out, _ = trained
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "run.yaml", "report", "work"} <= names
    assert {"table.md", "languages.csv"} <= {path.name for path in (out / "report").iterdir()}
    assert (out / "report" / "table.md").read_text().count("±") > 0  # two seeds
    assert sorted(path.name for path in (out / "work").glob("seed-*")) == ["seed-1.log", "seed-1.pt", "seed-2.log", "seed-2.pt"]
    assert not (out / "work" / "export").exists()


def test_what_is_printed(trained):
    """Every setting with its value, every stage with its number, and no line of hydra's or fairseq's."""
    _, printed = trained
    lines = printed.splitlines()
    assert lines[0].startswith("salt train: SALT, ")
    settings = {line.split()[0]: line.split()[1] for line in lines if line.startswith("--")}
    assert (settings["--batch-size"], settings["--updates"], settings["--thresholds"]) == ("16", "4", "source=25%,50%")
    assert {"--system", "--learning-rate", "--warmup-updates", "--precision", "--device", "--max-length"} <= settings.keys()
    stages = [line for line in lines if line.startswith("[")]
    assert [line.partition("] ")[2] for line in stages] == [
        "import", "binarize", "distill", "fine-tune, seed 1 of 2", "fine-tune, seed 2 of 2", "evaluate", "report", "export"
    ]  # fmt: skip
    assert "fine-tune, seed 1 of 2: update 4 of 4, loss" in printed and "UserWarning" not in printed and "| INFO |" not in printed
    assert all(line.isprintable() for line in lines)


def test_held_out_examples_are_a_tenth_and_share_no_premise(trained):
    """Every row of the file is in exactly one of the two, with its label."""
    out, _ = trained
    parts = [[json.loads(line) for line in (out / "work" / f"{name}.jsonl").open(encoding="utf-8")] for name in ("train", "valid")]
    assert [len(part) for part in parts] == [45, 5]
    assert not {row["sentence1"] for row in parts[0]} & {row["sentence1"] for row in parts[1]}
    rows = {(row["sentence1"], row["sentence2"], row["label"]) for row in read_tsv(out.parent / "train.tsv")}
    assert {(row["sentence1"], row["sentence2"], row["label"]) for part in parts for row in part} == rows


def test_exported_is_the_best_on_valid(trained):
    out, _ = trained
    results = json.loads((out / "work" / "results.json").read_text())["checkpoints"]
    best = max(results, key=lambda result: result["accuracy"]["valid"])  # of equals the first, as max has it
    exported = json.loads((out / "salt_fairseq.json").read_text())
    assert exported["checkpoint_sha256"] == best["sha256"] and exported["seed"] in (1_000_003, 2_000_006)
    card = (out / "README.md").read_text()
    assert f"{best['accuracy']['test.fr']:.2f}" in card and best["accuracy"]["test.en"] == best["accuracy"]["valid"]
    assert card.endswith("\nen was evaluated on the validation data, by which the checkpoint was chosen.\n")


def test_parity_with_salt_predict_and_transformers(trained, tmp_path, monkeypatch):
    """The classifier in Python, transformers' pipeline and salt predict on the checkpoint give the same probabilities."""
    from transformers import pipeline

    out, _ = trained
    rows = [(row["sentence1"], row["sentence2"]) for row in read_tsv(QUICKSTART / "test.de.tsv")[:12]]
    classifier = api.load(out)
    probabilities, answers = classifier.probabilities(rows), classifier.predict(rows)
    assert probabilities.shape == (12, 2) and np.allclose(probabilities.sum(1), 1, atol=1e-6)
    best, _ = run.best_checkpoint(out)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("".join(f"{a}\t{b}\n" for a, b in rows).encode())))
    salted("predict", best, "--out", tmp_path / "answers.tsv", "--device", "cpu")
    predicted = [line.split("\t") for line in (tmp_path / "answers.tsv").read_text().splitlines()]
    assert [label for label, _ in predicted] == answers
    assert np.allclose([float(p) for _, p in predicted], probabilities.max(1), atol=1e-4)
    piped = pipeline("text-classification", str(out), device="cpu")([{"text": a, "text_pair": b} for a, b in rows], truncation=True)
    assert [answer["label"] for answer in piped] == answers
    assert np.allclose([answer["score"] for answer in piped], probabilities.max(1), atol=1e-5)


def test_evaluation_in_python_is_that_of_salt_evaluate(trained):
    out, _ = trained
    best, _ = run.best_checkpoint(out)
    results = json.loads((out / "work" / "results.json").read_text())["checkpoints"]
    expected = next(result for result in results if result["path"] == str(best))["accuracy"]["test.fr"]
    from_file = api.load(out).evaluate(out.parent / "fr.tsv")
    rows = [(row["sentence1"], row["sentence2"], row["label"]) for row in read_tsv(out.parent / "fr.tsv")]
    assert from_file["accuracy"] == pytest.approx(expected) and from_file["examples"] == 20
    assert api.load(out).evaluate(rows) == from_file


def test_finished_runs_do_nothing_again(trained, words, capsys):
    out, _ = trained
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "run.yaml" and path.is_file()}
    salted(*words, "--out", "mine")
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "run.yaml" and path.is_file()}
    assert "[1/" not in capsys.readouterr().out


@pytest.mark.long
def test_killed_after_a_stage_and_repeated_from_the_stored_file(trained, capsys):
    """A run that lacks its second training and all that follows makes the same weights again, told by run.yaml alone."""
    out, _ = trained
    saved = torch.load(out / "work" / "seed-2.pt", weights_only=True)["model"]
    weights = (out / "model.safetensors").read_bytes()
    shutil.copytree(out, copy := out.with_name("copy"))
    for name in ("work/seed-2.pt", "work/results.json", "report/table.md", "salt_fairseq.json", "model.safetensors"):
        (copy / name).unlink()
    text = (copy / "run.yaml").read_text(encoding="utf-8").replace(str(out), str(copy))
    (copy / "run.yaml").write_text(text, encoding="utf-8")
    salted("train", "--config", copy / "run.yaml")
    printed = capsys.readouterr().out
    assert "fine-tune, seed 2 of 2" in printed and "] binarize" not in printed and "fine-tune, seed 1 of 2" not in printed
    again = torch.load(copy / "work" / "seed-2.pt", weights_only=True)["model"]
    assert saved.keys() == again.keys() and all(torch.equal(saved[name], again[name]) for name in saved)
    assert (copy / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    "more, said",
    [
        (["--updates", "5"], "mine was begun with other settings: --updates 4 (now 5)"),
        (["--system", "vanilla"], "--system SALT (now vanilla), --thresholds source=25%,50% (now not given)"),
        (["--train", "fr.tsv"], "the content of --train"),
    ],
)
def test_other_settings_in_the_same_directory_are_refused(trained, words, more, said):
    out, _ = trained
    before = (out / "run.yaml").read_bytes()
    with pytest.raises(InputError) as error:
        salted(*words, "--out", "mine", *more)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert (out / "run.yaml").read_bytes() == before


def test_dry_run_writes_nothing(home, words, capsys):
    before = set(home.rglob("*"))
    salted(*words, "--out", "other", "--dry-run")
    printed = capsys.readouterr().out
    assert set(home.rglob("*")) == before
    commands = [line.split()[:2] for line in printed.partition("commands:\n")[2].splitlines()]
    assert [a if a.startswith("fairseq") else b for a, b in commands] == [
        "import", "binarize", "distill", "fairseq-hydra-train", "fairseq-hydra-train", "evaluate", "report", "export"
    ]  # fmt: skip
    assert "about " in printed and " of disk" in printed


def test_docstring_example(trained):
    """As printed, but for the settings of the finished run, with which it goes on."""
    out, _ = trained
    source = read_run_file(out / "run.yaml")[0]
    more = "seeds=2, updates=4, max_length=24, device='cpu', precision='fp32', test={'fr': 'fr.tsv'}"
    text = api.__doc__.replace('model="embedded"', f"model={source['model']!r}, {more}").replace('out="my-classifier"', 'out="mine"')
    text = text.replace("SALT, embedded, into my-classifier", f"SALT, {source['model']}, into mine")
    example = doctest.DocTestParser().get_doctest(text.replace("'other', 'paraphrase'", "'0', '1'"), {}, "api", None, None)
    failures = io.StringIO()
    ran = doctest.DocTestRunner().run(example, out=failures.write)
    assert ran.failed == 0 and ran.attempted >= 5, failures.getvalue()
    assert not (out.parent / "published" / "work").exists()


def test_stored_settings_are_complete(trained):
    """Nothing that was chosen is left to be chosen again."""
    out, _ = trained
    settings, checksums = read_run_file(out / "run.yaml")
    assert settings["updates"] == 4 and settings["batch_size"] == 16 and settings["targets"] == ["fr", "de"]
    assert settings["train"] == str(out.parent / "train.tsv") and Path(settings["out"]) == out
    assert {"learning_rate", "warmup_updates", "validation_interval", "one_stream", "freeze_embeddings"} <= settings.keys()
    assert set(checksums) == {"--train", "--test fr", "--model"}


def test_another_run_imports_the_same_plm(tmp_path, monkeypatch):
    """The second waits for the first one's import and goes on with it, instead of an error about a path it did not name."""
    plm_dir = tmp_path / "cache" / "plm"
    stage = stages.Stage("import", ("source", str(plm_dir)), plm_dir / "plm.json")
    monkeypatch.setattr(run, "call", lambda *words: pytest.fail("imported again"))

    def importing():
        with locked(plm_dir):
            begun.set()
            time.sleep(0.5)
            plm_dir.mkdir()
            stage.made.touch()

    begun = multiprocessing.get_context("fork").Event()
    first = multiprocessing.get_context("fork").Process(target=importing)
    first.start()
    begun.wait(30)
    run._do(stage, SimpleNamespace(settings=SimpleNamespace(out="unused")), plm_dir)
    assert stage.is_done
    first.join()
