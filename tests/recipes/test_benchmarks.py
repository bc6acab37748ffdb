"""The pieces of the benchmark harness on cases whose result is known; the benchmarks themselves are no tests."""

import dataclasses
import json
import shutil
import sys
from argparse import Namespace

import accuracy
import harness
import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from salt_fairseq.models.salt_encoder import PoolingChoice, SaltEncoder, SaltEncoderConfig
from salt_fairseq.models.salt_tagger import SaltTagger
from salt_fairseq.plm import PLM, Description, pad
from salt_fairseq.storage.files import sha256
from support.in_process import call, error_of
from support.running import ROOT, randomize, run
from support.tiny_plm import tiny_plm

pytestmark = pytest.mark.slow


def test_time_and_memory_of_a_process():
    code = "import time; block = bytearray(300 << 20); time.sleep(0.3)"
    found = harness.measured([sys.executable, "-c", code])
    assert found["seconds"] > 0.3 > found["cpu_seconds"] - 0.3 and 300 < found["peak_mib"] < 400


def test_what_a_child_reports_counts():
    code = "import harness; print('noise'); harness.result(seconds=2.5, pairs=7)"
    path = f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests' / 'benchmarks')!r}]; "
    found = harness.in_turn({"a": [sys.executable, "-c", path + code]}, 2)
    assert [run["seconds"] for run in found["a"]] == [2.5, 2.5] and found["a"][0]["pairs"] == 7


def test_failures_show_what_was_printed():
    with pytest.raises(RuntimeError, match="no such thing"):
        harness.measured([sys.executable, "-c", "raise SystemExit('no such thing')"])


def test_ratios():
    runs = {
        "ours": [{"seconds": s, "cpu_seconds": 1.0, "peak_mib": 10.0} for s in (1.0, 2.0, 9.0)],
        "theirs": [{"seconds": s, "cpu_seconds": 4.0, "peak_mib": 99.0} for s in (6.0, 5.0, 7.0)],
    }
    assert harness.medians(runs["ours"])["seconds"] == 2.0
    *_, ours, theirs = harness.table(runs, "ours").splitlines()
    assert ours.split() == ["ours", "2.000", "1.00x", "1.000", "1.00x", "10"]
    assert theirs.split() == ["theirs", "6.000", "3.00x", "4.000", "4.00x", "99"]


def test_matmul_rate_is_that_of_a_product():
    rate = harness.matmul_rate("cpu", torch.float32, size=256)
    a = torch.from_numpy(np.random.default_rng(1).random((256, 256), dtype=np.float32))
    clock = harness.Clock()
    for _ in range(200):
        a @ a
    assert 0.05 < rate / (200 * 2 * 256**3 / clock.read()["seconds"]) < 20


@pytest.mark.parametrize("case", ["distill", pytest.param("binarize", marks=pytest.mark.long)])
def test_real_text_is_asked_for(case):
    done = run("python", f"tests/benchmarks/{case}.py", check=False, PYTHONPATH=str(ROOT))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: --text FILE is missing: name a file of real sentence pairs")


def with_head_layer(plm, out):
    """The PLM with a top layer of its LM head's own."""
    shutil.copytree(plm, out)
    saved, description = torch.load(out / "model.pt", weights_only=True), Description.load(out)
    top = f"encoder.layers.{description.architecture.layers - 1}."
    own = {name.replace(top, "lm_head.layers.0."): torch.randn_like(tensor) for name, tensor in saved["model"].items() if name.startswith(top)}
    torch.save({**saved, "model": {**saved["model"], **own}}, out / "model.pt")
    arch = dataclasses.replace(description.architecture, head_layers=1)
    dataclasses.replace(description, architecture=arch, sha256={**description.sha256, "model.pt": sha256(out / "model.pt")}).save(out)
    return out


@pytest.mark.parametrize("tags", [None, "conllu"])
@pytest.mark.parametrize("kind", ["bert", "xlmr"])
def test_both_sides_of_accuracy_start_from_one_function(kind, tags, request, tmp_path):
    import with_transformers

    plm_dir = with_head_layer(request.getfixturevalue(f"{kind}_plm"), tmp_path / "plm")
    with_transformers.export_encoder(plm_dir, tmp_path / "hf")
    plm, tokenizer = PLM.load(plm_dir), AutoTokenizer.from_pretrained(tmp_path / "hf")
    cfg = SaltEncoderConfig(plm_description=plm.description.to_json(), pooling=PoolingChoice.plm if tags else PoolingChoice.mean, freeze_embeddings=True)
    ours = (SaltTagger if tags else SaltEncoder)(cfg, 5)
    ours.load_plm(plm_dir)
    theirs = with_transformers.model_of(Namespace(tags=tags, pooling="mean", plm=plm_dir, freeze_embeddings=True), tmp_path / "hf", 5).eval()
    layers = [(ours.classifier, theirs.classifier)] if tags else [(ours.pooler, theirs.dense), (ours.classifier, theirs.classifier)]
    for own, other in layers:
        randomize(own, 1)
        other.load_state_dict(own.state_dict())
    pairs = [("The weather was fine.", "It rained."), ("Der Zug nach Norden war wieder zu spät.", "Warum?")]
    batch = tokenizer(*map(list, zip(*pairs)), padding=True, return_tensors="pt")
    logits = theirs(**batch)["logits"]
    read = batch["attention_mask"].bool() if tags else slice(None)
    torch.testing.assert_close(ours.eval()(pad([plm.encode(*pair) for pair in pairs]))[0][read], logits[read], atol=1e-5, rtol=1e-5)
    assert logits[read].std() > 0.1
    assert not ours.encoder.embed_tokens.weight.requires_grad and not theirs.get_input_embeddings().weight.requires_grad


def test_words_are_labelled_at_their_first_pieces(tmp_path):
    import with_transformers

    with_transformers.export_encoder(tiny_plm(tmp_path / "plm"), tmp_path / "hf")
    encoded = with_transformers.encoded_words(AutoTokenizer.from_pretrained(tmp_path / "hf"), ["the", "houseboats", "sleeps"], [5, 6, 7])
    assert encoded["labels"] == [-100, 5, 6, -100, -100, 7, -100]


def test_runs_of_several_calls_count_together(tmp_path, capsys):
    options = ["--plm", "plm", "--subset", "train=a", "test.en=b", "--rounds", 0, "--work", tmp_path]
    runs = {"salt_fairseq": (1.0, 2.0, 3.0), "Trainer": (2.0, 4.0, 6.0)}
    files = []
    for name, averages in runs.items():
        with_options = {"plm": "plm", "subset": "['train=a', 'test.en=b']", "tags": "None", "pooling": "plm", "freeze_embeddings": "False", "dtype": "bf16"}
        with_options |= {"optimizer": "adam", "batch_size": "32", "updates": "378", "warmup": "23", "lr": "5e-05"}
        listed = [{"seed": i, "accuracy": {"test.en": average}, "average": average} for i, average in enumerate(averages, 1)]
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps({"options": with_options, "runs": {name: listed}}))
    call(accuracy, *options, "--results", *files)
    assert capsys.readouterr().out.splitlines()[1:] == ["salt_fairseq: 2.0 ± 1.0 (1.0, 2.0, 3.0)", "Trainer: 4.0 ± 2.0 (2.0, 4.0, 6.0)", "Welch's p: 0.22"]
    found = json.loads((tmp_path / "accuracy.json").read_text())
    assert [found["sides"]["Trainer"][key] for key in ("seeds", "mean", "sd", "by_subset")] == [3, 4.0, 2.0, {"test.en": 4.0}]
    message = error_of(accuracy, *options, "--results", *files, "--lr", "1e-4", "--dtype", "fp32")
    assert message == f"--results {files[0]}: these runs had another --dtype, --lr"
