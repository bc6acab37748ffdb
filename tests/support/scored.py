"""Checkpoints that differ in what they predict, and what they predict one example at a time."""

import json
import shutil
import sys
from contextlib import contextmanager
from unittest import mock

import torch
from fairseq_cli import train

from salt_fairseq.checkpoints import load_checkpoint
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.sentence_pair_dataset import SentencePairDataset
from salt_fairseq.models.salt_encoder import SaltEncoder
from support.training import training

MAX_LENGTH = 40  # many pairs of the quickstart are longer
SEEDS = (11, 12)


def opened(path, data, name):
    """The model of a checkpoint and the examples of a subset."""
    model = load_checkpoint(path).model
    return model, SentencePairDataset(DataDirectory(data).load(name), model.description.join, MAX_LENGTH)


def loop(path, data, name):
    """Logits of one example after the other, in fp32: FloatTensor (N, classes)."""
    model, dataset = opened(path, data, name)
    model.cfg.autocast_bf16 = False
    with torch.inference_mode():
        return torch.cat([model(dataset[i]["tokens"][None])[0] for i in range(len(dataset))])


def sharpened(path, data, seed, to):
    """The checkpoint with a classifier that finds each of its labels often, whatever few updates have taught it."""
    state = torch.load(path, weights_only=True)
    generator = torch.Generator().manual_seed(seed)
    state["model"]["classifier.weight"] = torch.randn(state["model"]["classifier.weight"].shape, generator=generator)
    state["cfg"]["common"]["seed"] = seed
    torch.save(state, to)
    logits = loop(to, data, "test.en")
    scale = 1 / logits.std(0)
    state["model"]["classifier.weight"] *= scale[:, None]
    state["model"]["classifier.bias"] = -logits.mean(0) * scale
    torch.save(state, to)
    return to


def two_checkpoints(data, plm, directory):
    """Write those of :func:`checkpoints_in`, trained by fairseq-train on a copy of the PLM that is gone afterwards."""
    plm = shutil.copytree(plm, directory / "plm")
    words = training(data, plm, directory, "--disable-validation", "--max-length", MAX_LENGTH, updates=2)
    with mock.patch.object(sys, "argv", ["fairseq-train", *map(str, words)]):
        train.cli_main()
    shutil.rmtree(plm)
    for seed, path in zip(SEEDS, checkpoints_in(directory)):
        sharpened(directory / "checkpoint_last.pt", data, seed, path)


def checkpoints_in(directory):
    return [directory / f"{seed}.pt" for seed in SEEDS]


def results(path):
    return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def counted_rows():
    """The number of rows of each call of the model, as a list that grows."""
    rows, forward = [], SaltEncoder.forward

    def counting(self, src_tokens, *args):
        rows.append(len(src_tokens))
        return forward(self, src_tokens, *args)

    with mock.patch.object(SaltEncoder, "forward", counting):
        yield rows
