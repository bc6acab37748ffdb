"""What a training's output becomes on a terminal and elsewhere."""

import io
import sys

import pytest

from salt_fairseq.errors import InputError
from salt_fairseq.pipeline import estimate, fine_tuning
from salt_fairseq.pipeline.fine_tuning import Progress, fine_tune
from salt_fairseq.pipeline.plm_cache import Shape

STEP = '{"epoch": 1, "update": 0.1, "loss": "1.0986", "num_updates": "%d", "lr": "1e-05"}\n'
VALID = '{"epoch": 1, "valid_loss": "1.0", "valid_accuracy": "41.66", "valid_num_updates": "4"}\n'
STREAM = "code-switching to fr: 50.0% of candidate tokens substituted\n"


@pytest.mark.parametrize("prefix", ["", "[2026-11-26 03:38:19,860][train_inner][INFO] - "])
def test_lines_where_there_is_no_terminal(prefix, monkeypatch, capsys):
    """One line for many updates within 30 seconds, and a last one; what is left follows from the updates of this process."""
    now = [0.0]
    monkeypatch.setattr(fine_tuning.time, "monotonic", lambda: now[0])
    progress = Progress("fine-tune", 20)
    now[0] = 100.0
    for line in (STREAM, STEP % 2, "noise\n", '{"epoch": 1, "train_loss": "1.0"}\n', "{}\n", "{ModuleList\n", VALID, STEP % 4):
        progress.read(prefix + line)
        now[0] += 5
    progress.close()
    assert capsys.readouterr().out.splitlines() == [
        "fine-tune: starting",
        "  code-switching to fr: 50.0% of candidate tokens substituted",
        "fine-tune: update 2 of 20, loss 1.099",
        "fine-tune: update 4 of 20, loss 1.099, accuracy on valid 41.7 %, 4 min left",  # 2 in 30 s, 16 to come
        "fine-tune: update 4 of 20, loss 1.099, accuracy on valid 41.7 %, 5 min left",
    ]


def failing(tmp_path, monkeypatch, code):
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\n{code}\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(InputError) as error:
        fine_tune(["a=b"], 4, tmp_path / "log", "fine-tune")
    return str(error.value)


def test_a_failed_training_says_its_error_and_where_its_output_is(tmp_path, monkeypatch):
    said = failing(tmp_path, monkeypatch, "echo begin; echo 'error: the loss is not finite'; echo end; exit 1")
    assert said == f"fine-tune failed: the loss is not finite (its output is in {tmp_path / 'log'})"
    assert (tmp_path / "log").read_text() == "begin\nerror: the loss is not finite\nend\n"
    assert "ended with exit code 3" in failing(tmp_path, monkeypatch, "exit 3")


def test_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    progress = Progress("fine-tune", 20)
    progress.read(STEP % 15)
    progress.close()
    assert "15/20" in sys.stderr.getvalue() and "loss=1.099" in sys.stderr.getvalue()


def test_operations_by_hand():
    """1 layer of 2 dimensions and a feed-forward of 4 has 4 x 2 x 2 + 2 x 2 x 4 = 32 weights, and 64 operations a token."""
    shape = Shape(dim=2, layers=1, ffn_dim=4, vocabulary=10)
    work = estimate.Work(tokens=5, train=3, evaluated=7, read=11, validated=2, languages=1, seeds=2)
    forward = 64 * 5
    expected = {"distill": 3 * (forward + 2 * 20 * 5), "train": 2 * (3 * 11 + 2) * forward, "evaluate": 2 * 7 * forward}
    assert estimate.operations(work, shape) == expected
    # The imported PLM, three checkpoints with both moments, one of each seed, the export; 3 x 5 candidates of 8 bytes.
    assert estimate.disk(work, shape, frozen=False, is_imported=False) == 4 * 52 * (1 + 2 + 1) + 3 * 4 * 3 * 52 + 120
    assert estimate.disk(work, shape, frozen=True, is_imported=True) == 4 * 52 * 3 + 3 * 4 * (52 + 2 * 32) + 120


@pytest.mark.parametrize("seconds, shown", [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (7200, "2.0 h"), (2e6, "23.1 days")])
def test_durations(seconds, shown):
    assert estimate.duration(seconds) == shown
