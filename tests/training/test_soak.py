"""Epochs of training, and cycles of distilling, training and evaluating: memory, open files, processes and shared memory stay flat.

SALT_SOAK_MINUTES=60 repeats the cycles for an hour.
"""

import gc
import multiprocessing
import os
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import pytest

from preprocess import distill
from salt_fairseq import evaluate
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairTask
from support.in_process import call
from support.running import run
from support.training import trained, training

pytestmark = pytest.mark.long

MINUTES = float(os.environ.get("SALT_SOAK_MINUTES", 0))
WARM_UP = 3  # cycles until caches are full
GROWTH = 32 << 20  # bytes that the allocator may take and give back


def held():
    """Resident bytes, open files, child processes, and torch's shared-memory segments on this machine."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return resident, len(os.listdir("/proc/self/fd")), len(children), len(list(Path("/dev/shm").glob("torch_*")))


def flat(seen):
    first, last = seen[WARM_UP - 1], seen[-1]
    print(f"{len(seen)} times: resident {first[0] >> 20} then {last[0] >> 20} MiB, at most {max(seen)[0] >> 20} MiB; open files {first[1]} then {last[1]}")
    # Fewer is well: what was left behind before may be closed meanwhile.
    return last[0] - first[0] < GROWTH and all(now <= before for now, before in zip(last[1:], first[1:]))


def held_in_epochs(words):
    """What fairseq-train holds when each epoch begins."""
    multiprocessing.set_start_method("fork", force=True)  # of its workers: a spawned process would spawn them, too
    seen = []
    with mock.patch.object(SaltSentencePairTask, "begin_epoch", lambda *unused: seen.append(held())):
        trained(words)
    return seen


def test_epochs(bert_data, bert_plm, tmp_path):
    """Each epoch has new batches and new worker processes. In a process of its own: what other tests left open comes and goes."""
    words = training(
        bert_data,
        bert_plm,
        tmp_path,
        "--augment",
        "en,fr",
        "--one-stream",
        "--num-workers",
        2,
        "--max-epoch",
        6,
        "--disable-validation",
        "--no-save",
        updates=0,
    )
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        seen = process.submit(held_in_epochs, words).result()
    assert len(seen) == 6 and flat(seen)


@pytest.mark.skipif(not MINUTES, reason="an hour is too long for every run of the tests: set SALT_SOAK_MINUTES=60")
def test_cycles(bert_data, bert_plm, tmp_path):
    data, end, seen = shutil.copytree(bert_data, tmp_path / "data"), time.monotonic() + 60 * MINUTES, []
    while len(seen) < WARM_UP + 1 or time.monotonic() < end:
        work = tmp_path / "work"
        call(distill, bert_plm, data, "--languages", "en,fr")
        run("fairseq-train", *training(data, bert_plm, work, "--augment", "en,fr", "--seed", len(seen) + 1))
        call(evaluate, data, "--path", work / "checkpoint_best.pt", "--generalized", "test", "--out", work / "out.json")
        shutil.rmtree(work)
        assert [path.name for path in tmp_path.iterdir()] == ["data"]
        seen.append(held())
    assert flat(seen) and not multiprocessing.active_children()
