"""The pieces of the benchmark harness on cases whose result is known; the benchmarks themselves are no tests."""

import sys

import harness
import numpy as np
import pytest
import torch

from support.running import ROOT, run

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


@pytest.mark.parametrize("case", ["distill", "binarize"])
def test_real_text_is_asked_for(case):
    done = run("python", f"tests/benchmarks/{case}.py", check=False, PYTHONPATH=str(ROOT))
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1 and line.startswith("error: --text FILE is missing: name a file of real sentence pairs")
