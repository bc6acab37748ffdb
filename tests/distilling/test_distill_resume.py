"""Distilling goes on after a kill; what it stores are the files that fairseq's own writer writes.

References: the files of a run that nothing stopped; fairseq's MMapIndexedDatasetBuilder; sentences compared one by one.
"""

import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDataset, MMapIndexedDatasetBuilder

from preprocess import binarize, distill
from preprocess.distillation.distinct_sentences import DistinctSentences
from salt_fairseq.candidates import open_candidates
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.storage.indexed_data import IndexedSequences, ranges, write_flat, write_indexed
from salt_fairseq.storage.manifest import read_verified, write_manifest
from support.in_process import call, error_of
from support.running import QUICKSTART, ROOT, read_tsv, run
from support.zipped import zip_equal

pytestmark = pytest.mark.slow

SLOW = (
    "import sys, time; from preprocess import distill as d; from salt_fairseq.storage import resumable as r; r.CHECKPOINT_SECONDS = 0\n"
    "search = d.CandidateSearch.__call__\n"
    "d.CandidateSearch.__call__ = lambda s, *a: time.sleep(0.2) or search(s, *a)\nd.main()"
)
OPTIONS = ["--languages", "en,fr", "--keep-shared-words", "--device", "cpu", "--max-tokens", "64"]  # reads two word lists, not eleven


@pytest.fixture
def data(xlmr_plm, tmp_path):
    rows = read_tsv(QUICKSTART / "train.en.tsv")[:60]
    lines = [f"{row['sentence1']}\t{row['sentence2']}\t{i % 2}\n" for i, row in enumerate(rows + rows[:9])]
    (tmp_path / "train.tsv").write_text("".join(lines), encoding="utf-8")
    call(binarize, xlmr_plm, tmp_path / "data", "--subset", f"train={tmp_path / 'train.tsv'}")
    return tmp_path / "data"


def files(data):
    return {p.relative_to(data): p.read_bytes() for p in (data / "candidates").rglob("*") if p.is_file()}


def killed(plm, data, parts):
    """Start distilling, and kill it with SIGKILL as soon as so many parts are saved."""
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(plm), str(data), *OPTIONS],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
    while len(list(unfinished(data).glob("part.*"))) < parts and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (data / "candidates").exists()


def unfinished(data):
    return data / ".candidates.distillation"


@pytest.mark.long
def test_killed_and_repeated(data, xlmr_plm, one_thread, capsys):
    """Killed, then finished by two processes: byte for byte the files of a run in one process that nothing stopped."""
    call(distill, xlmr_plm, data, *OPTIONS)
    whole, tokens = files(data), capsys.readouterr().out.rsplit("distinct, ")[1]
    shutil.rmtree(data / "candidates")
    killed(xlmr_plm, data, parts=3)
    batches = torch.cat([torch.load(p, weights_only=True)["batches"] for p in unfinished(data).glob("part.*")])
    assert 3 <= len(batches.unique()) == len(batches)
    resumed = run("torchrun", "--standalone", "--nproc-per-node", 2, "preprocess/distill.py", xlmr_plm, data, *OPTIONS, OMP_NUM_THREADS="1")
    assert resumed.stdout.rsplit("distinct, ")[1] == tokens and resumed.stdout.count("wrote") == 1
    assert files(data) == whole and not unfinished(data).exists()


def test_lost_results(data, xlmr_plm, monkeypatch):
    """A part that some process saved and another cannot see: nothing is written, and the same command searches for the rest."""
    call(distill, xlmr_plm, data, *OPTIONS)
    whole, search_all = files(data), distill.search_all
    asked = json.loads((data / "candidates" / "fr" / "meta.json").read_text())["candidate_positions"]
    shutil.rmtree(data / "candidates")

    def losing(*words):
        search_all(*words)
        lost = unfinished(data) / "part.000000000003.pt"
        places.append(len(torch.load(lost, weights_only=True)["places"]))
        lost.unlink()

    places = []
    with monkeypatch.context() as patched:
        patched.setattr("salt_fairseq.storage.resumable.CHECKPOINT_SECONDS", 0)
        patched.setattr(distill, "search_all", losing)
        said = error_of(distill, xlmr_plm, data, *OPTIONS)
    assert f"has candidates at {asked - places[0]:,} of {asked:,} positions" in said and not (data / "candidates").exists()
    call(distill, xlmr_plm, data, *OPTIONS)
    assert files(data) == whole
    values = read_verified(data / "candidates" / "fr" / "meta.json", "")
    write_manifest(data / "candidates" / "fr", {**values, "answered_positions": asked - 1})
    with pytest.raises(InputError, match=f"candidates at {asked - 1:,} of {asked:,} positions: make it again"):
        open_candidates(data, "train", "fr")


def test_only_the_rest_is_read(data, xlmr_plm, monkeypatch):
    """Interrupted after seven batches, the second run reads the others."""
    read = []

    class Counting(distill.CandidateSearch):
        def __call__(self, sentences, masks):
            read.extend(tuple(s.tolist()) for s in sentences)
            if len(read) > stop:
                raise KeyboardInterrupt
            return super().__call__(sentences, masks)

    monkeypatch.setattr(distill, "CandidateSearch", Counting)
    monkeypatch.setattr("salt_fairseq.storage.resumable.CHECKPOINT_SECONDS", 0)
    stop = 30
    with pytest.raises(KeyboardInterrupt):
        call(distill, xlmr_plm, data, *OPTIONS)
    first, stop = len(set(read)), 10**9
    call(distill, xlmr_plm, data, *OPTIONS)
    everything = DistinctSentences([DataDirectory(data).sentences("train", side) for side in ("input0", "input1")])
    assert len(set(read)) == len(everything)
    twice = len(read) - len(set(read))  # the batch it was interrupted in, and the one before: on a GPU, that is still running
    assert 0 < twice < first


def test_other_options_do_not_resume(data, xlmr_plm, monkeypatch):
    def interrupted_in(batch):
        batches, search = itertools.count(1), distill.CandidateSearch.__call__

        def call_or_stop(*args):
            if next(batches) == batch:
                raise KeyboardInterrupt
            return search(*args)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(distill.CandidateSearch, "__call__", call_or_stop)
            patched.setattr("salt_fairseq.storage.resumable.CHECKPOINT_SECONDS", 0)
            call(distill, xlmr_plm, data, *OPTIONS)

    interrupted_in(batch=1)
    assert not unfinished(data).exists(), "nothing was saved, so any options may follow"
    interrupted_in(batch=4)
    message = error_of(distill, xlmr_plm, data, *OPTIONS, "--positions", "tokens")
    assert str(unfinished(data)) in message and "begun with another positions:" in message
    other = data.parent / "other.tsv"
    header, *rows = (data.parent / "train.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
    other.write_text("".join([header, *rows[::-1]]), encoding="utf-8")
    call(binarize, xlmr_plm, data, "--replace", "--subset", f"train={other}")
    assert not unfinished(data).exists(), "binarizing other texts leaves nothing that was made from the old data"


def test_distinct_sentences(data):
    """Numbers, lengths and tokens against a dictionary of all sentences."""
    inputs = [DataDirectory(data).sentences("train", side) for side in ("input0", "input1")]
    found, numbers = {}, []
    for stored in inputs:
        numbers.append([found.setdefault(tuple(stored[i].tolist()), len(found)) for i in range(len(stored))])
    distinct = DistinctSentences(inputs)
    assert len(distinct) == len(found) < sum(map(len, inputs))
    assert [of.tolist() for of in distinct.numbers] == numbers
    assert distinct.lengths.tolist() == [len(sentence) for sentence in found]
    which = np.array([5, 3, len(found) - 1, 0])
    sentences = list(found)
    assert distinct.tokens(which).tolist() == [id for k in which for id in sentences[k]]
    batches = list(distinct.batches(100, 64))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(found)))
    assert all(len(b) == 1 or len(b) * (distinct.lengths[b].max() + 1) <= 64 for b in batches)


def test_repeated_sentences_are_stored_once(data, xlmr_plm):
    """A side's files hold the tokens of its distinct sentences, and fairseq reads every sentence from them."""
    call(distill, xlmr_plm, data, *OPTIONS)
    for side in ("input0", "input1"):
        prefix, stored = data / "candidates" / "fr" / side / "train", DataDirectory(data).sentences("train", side)
        sentences, candidates = [tuple(s.tolist()) for s in stored], open_candidates(data, "train", "fr", side)
        distinct = set(sentences)
        assert len(distinct) < len(sentences) == 69
        tokens = sum(map(len, distinct))
        assert prefix.with_suffix(".bin").stat().st_size == 2 * tokens and len(np.load(f"{prefix}.log_probs.npy")) == tokens
        theirs = MMapIndexedDataset(str(prefix))
        assert [theirs[i].tolist() for i in range(69)] == [ids.tolist() for ids, _ in candidates]
        of = {}
        for sentence, (ids, log_probs) in zip_equal(sentences, candidates):
            assert of.setdefault(sentence, (ids.tolist(), log_probs.tolist())) == (ids.tolist(), log_probs.tolist())
            assert len(ids) == len(log_probs) == len(sentence)
        assert np.array_equal(np.concatenate(list(candidates.log_probs())), np.concatenate([p for _, p in candidates]))


def test_blocks_are_sorted_apart(data, monkeypatch):
    monkeypatch.setattr("preprocess.distillation.distinct_sentences.BLOCK", 25)
    distinct = DistinctSentences([DataDirectory(data).sentences("train", "input0")])
    order = np.concatenate(list(distinct.batches(100, 64)))
    for start in range(0, len(order), 25):
        block = order[start : start + 25]
        assert sorted(block.tolist()) == list(range(start, min(start + 25, len(order))))
        assert (np.diff(distinct.lengths[block]) <= 0).all()


def test_ranges():
    assert ranges(np.array([7, 0, 3]), np.array([2, 0, 3])).tolist() == [7, 8, 3, 4, 5]
    assert ranges(np.array([], dtype=int), np.array([], dtype=int)).tolist() == []


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
def test_flat_writer(tmp_path, dtype):
    """The files of fairseq's own builder, byte for byte."""
    sentences = [[5, 6, 60000], [7], [], [8, 9]]
    builder = MMapIndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence, dtype=torch.int64))
    builder.finalize(str(tmp_path / "theirs.idx"))
    chunks = [(np.array([3, 1]), np.array([5, 6, 60000, 7])), (np.array([0, 2]), np.array([8, 9]))]
    assert write_flat(tmp_path / "ours", chunks, dtype) == 6
    assert write_indexed(tmp_path / "one_by_one", sentences, dtype) == 6
    for name, suffix in itertools.product(("ours", "one_by_one"), (".bin", ".idx")):
        assert (tmp_path / f"{name}{suffix}").read_bytes() == (tmp_path / f"theirs{suffix}").read_bytes()
    assert [stored.tolist() for stored in pickle.loads(pickle.dumps(IndexedSequences(tmp_path / "theirs")))] == sentences
    with pytest.raises(RuntimeError):
        write_flat(tmp_path / "short", [(np.array([3]), np.array([1]))], dtype)
