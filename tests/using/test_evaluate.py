"""``python -m salt_fairseq.evaluate`` against fairseq-validate, one example at a time, and itself interrupted."""

import json
import shutil
from unittest import mock

import numpy as np
import pytest
import torch

from salt_fairseq import evaluate
from salt_fairseq.models.salt_encoder import SaltEncoder
from salt_fairseq.storage.resumable import Resumable
from support.edited import edited
from support.in_process import call
from support.running import QUICKSTART, read_tsv, run
from support.scored import MAX_LENGTH, counted_rows, loop, opened, results
from support.training import validate
from support.zipped import zip_equal

pytestmark = pytest.mark.slow

LANGUAGES = ["en", "fr", "de", "ru"]


def labels_of(language):
    return [int(row["label"]) for row in read_tsv(QUICKSTART / f"test.{language}.tsv")]


def test_command_line(xlmr_data, checkpoints, tmp_path):
    """As typed: accuracies are those of fairseq-validate, predictions those of a loop over single examples."""
    out, names = tmp_path / "new" / "results.json", ["test.en", "test.fr", "test.en-de"]
    done = run("python", "-m", "salt_fairseq.evaluate", xlmr_data, "--path", *checkpoints, "--out", out, "--subsets", "test.en-en,test.f*,test.en-de")
    written = results(out)
    assert list(out.parent.iterdir()) == [out]
    assert written["labels"] == ["0", "1"] and written["data"]["source_language"] == "en"
    meta = json.loads((xlmr_data / "meta.json").read_text())["subsets"]
    assert written["data"]["subsets"] == {
        "test.en": {"examples": 120, "sha256": meta["test.en"]["sha256"]},
        "test.fr": {"examples": 120, "sha256": meta["test.fr"]["sha256"]},
        "test.en-de": {"examples": 120, "sha256": {"input0": meta["test.en"]["sha256"]["input0"], "input1": meta["test.de"]["sha256"]["input1"]}},
    }
    assert written["targets"] == {name: labels_of(name[5:7]) for name in names}
    validated = validate(xlmr_data, checkpoints[1], names, "--max-length", MAX_LENGTH, "--batch-size", 9)
    for path, seed, one in zip_equal(checkpoints, (11, 12), written["checkpoints"]):
        assert (one["path"], one["seed"], one["updates"], one["dtype"]) == (str(path), seed, 2, "fp32")
        assert one["task"]["max_length"] == MAX_LENGTH and one["model"]["mixup"] == "instance"
        assert "plm_description" not in one["model"] and one["plm"] == "xlmr0"
        for name in names:
            assert one["predictions"][name] == loop(path, xlmr_data, name).argmax(1).tolist()
            assert 10 < sum(one["predictions"][name]) < 110
            right = np.mean(np.equal(one["predictions"][name], written["targets"][name]))
            assert one["accuracy"][name] == pytest.approx(100 * right, abs=1e-9)
            if seed == 12:
                assert round(one["accuracy"][name], 2) == validated[name]["accuracy"]
        accuracy = one["accuracy"]
        # German and Russian are missing, so there is no average.
        assert f"{path}: {'; '.join(f'{name} {accuracy[name]:.2f}' for name in names)} (" in done.stdout
    assert written["checkpoints"][0]["predictions"] != written["checkpoints"][1]["predictions"]
    assert done.stdout.splitlines()[-1] == f"wrote {out}: 2 checkpoints, 3 subsets"


def test_generalized_scores_each_distinct_pair_once(xlmr_data, checkpoints, tmp_path, capsys):
    """All pairs of languages, two of which have equal sentences; in many batches or few."""
    data = shutil.copytree(xlmr_data, tmp_path / "data")
    for file in data.rglob("test.en.*"):
        shutil.copy(file, file.with_name(file.name.replace("test.en", "test.xx")))
    with edited(data / "meta.json") as meta:
        meta["subsets"]["test.xx"] = meta["subsets"]["test.en"]
    for max_tokens in (MAX_LENGTH, 2000):
        with counted_rows() as rows:
            call(
                evaluate,
                data,
                "--path",
                checkpoints[0],
                "--generalized",
                "test",
                "--subsets",
                "test.fr,test.fr-fr",
                "--max-tokens",
                max_tokens,
                "--out",
                tmp_path / f"{max_tokens}.json",
            )
        assert sum(rows) == 16 * 120
    few, many = results(tmp_path / "2000.json"), results(tmp_path / "40.json")
    assert few["checkpoints"] == many["checkpoints"]
    accuracy, predictions = (few["checkpoints"][0][key] for key in ("accuracy", "predictions"))
    languages = [*LANGUAGES, "xx"]
    matrix = [f"test.{a}" if a == b else f"test.{a}-{b}" for a in languages for b in languages]
    assert sorted(accuracy) == sorted(predictions) == sorted(matrix) and list(accuracy)[0] == "test.fr"
    for name in ("test.ru-en", "test.de", "test.fr-ru"):
        assert predictions[name] == loop(checkpoints[0], xlmr_data, name).argmax(1).tolist()
    assert predictions["test.ru-en"] == predictions["test.ru-xx"] and predictions["test.en"] == predictions["test.xx-en"]
    line = [line for line in capsys.readouterr().out.splitlines() if "pairs of languages" in line][0]
    assert f"; 25 pairs of languages {np.mean(list(accuracy.values())):.2f} (" in line
    plain = [accuracy[f"test.{language}"] for language in languages]
    assert f"without en {np.mean(plain[1:]):.2f}, with en {np.mean(plain):.2f}" in line


@pytest.mark.parametrize("due, left", [(False, 480), (True, 360)])
def test_resumed(xlmr_data, checkpoints, tmp_path, capsys, due, left):
    """Interrupted in the second checkpoint, run again: nothing that was saved is scored again, the file is equal in every
    byte, and so are the averages on the screen to those of the file. ``due``: after each batch, it is time to save."""
    words = [xlmr_data, "--path", *checkpoints, "--subsets", "test.*", "--max-tokens", 60 * MAX_LENGTH, "--out"]
    whole, out = tmp_path / "whole.json", tmp_path / "out.json"
    call(evaluate, *words, whole)
    printed = capsys.readouterr().out
    for path, one in zip_equal(checkpoints, results(whole)["checkpoints"]):
        others = np.mean([one["accuracy"][f"test.{language}"] for language in ("fr", "de", "ru")])
        assert f"{path}: test avg. without en {others:.2f}, with en {np.mean(list(one['accuracy'].values())):.2f} (" in printed
    forward, scored = SaltEncoder.forward, []

    def interrupted(self, src_tokens):
        scored.append(len(src_tokens))
        if sum(scored) > 600:
            raise KeyboardInterrupt
        return forward(self, src_tokens)

    with mock.patch.object(SaltEncoder, "forward", interrupted), pytest.raises(KeyboardInterrupt):
        with mock.patch.object(Resumable, "due", lambda self: due):
            call(evaluate, *words, out)
    assert not out.exists() and (tmp_path / ".out.json.evaluation").is_dir()
    capsys.readouterr()
    with counted_rows() as rows:
        call(evaluate, *words, out)
    assert left - 60 < sum(rows) <= left and "(finished before)" in capsys.readouterr().out
    assert out.read_bytes() == whole.read_bytes() and sorted(tmp_path.iterdir()) == [out, whole]


def test_other_options_do_not_resume(xlmr_data, checkpoints, tmp_path):
    """What was scored on other subsets or in another precision is not taken for the result."""
    out = tmp_path / "out.json"
    for more in (["--subsets", "test.fr"], ["--subsets", "test.de"], ["--subsets", "test.de", "--dtype", "bf16"]):
        with mock.patch.object(Resumable, "remove"), counted_rows() as rows:
            call(evaluate, xlmr_data, "--path", checkpoints[0], "--out", out, *more)
        assert sum(rows) == 120
    assert results(out)["checkpoints"][0]["dtype"] == "bf16" and list(results(out)["targets"]) == ["test.de"]


def test_precision(xlmr_data, checkpoints, tmp_path):
    """bf16 by default where the checkpoint was trained in it, and as the model computes in it; fp32 if asked for."""
    state = torch.load(checkpoints[0], weights_only=True)
    state["cfg"]["model"]["autocast_bf16"] = True
    torch.save(state, tmp_path / "bf16.pt")
    words = [xlmr_data, "--path", tmp_path / "bf16.pt", "--subsets", "test.fr", "--out"]
    model, dataset = opened(tmp_path / "bf16.pt", xlmr_data, "test.fr")
    order = sorted(range(120), key=lambda i: -len(dataset[i]["tokens"]))
    with torch.inference_mode():
        items = dataset.collater([dataset[i] for i in order])
        logits, _ = model(**items["net_input"])
    assert logits.dtype == torch.bfloat16
    bf16 = dict(zip(order, logits.argmax(1).tolist()))
    fp32 = loop(tmp_path / "bf16.pt", xlmr_data, "test.fr").argmax(1).tolist()
    for more, dtype, expected in (([], "bf16", [bf16[i] for i in range(120)]), (["--dtype", "fp32"], "fp32", fp32)):
        call(evaluate, *words, tmp_path / "out.json", "--max-tokens", 120 * MAX_LENGTH, *more)
        written = results(tmp_path / "out.json")["checkpoints"][0]
        assert written["dtype"] == dtype and written["predictions"]["test.fr"] == expected
        assert written["model"]["autocast_bf16"] is True
