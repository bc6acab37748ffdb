"""Fine-tuned checkpoints that find each label often, made in seconds by fairseq-train in this process."""

import sys
from pathlib import Path
from unittest import mock

import torch
from fairseq_cli import train

from preprocess import binarize
from salt_fairseq.checkpoints import load_checkpoint, load_labels
from salt_fairseq.plm import PLM
from support.in_process import call
from support.running import QUICKSTART, read_tsv
from support.training import training

LABELS = ["other", "paraphrase"]  # of the quickstart's 0 and 1


def binarized(plm, data, pairs=True, rows=48, labels=LABELS):
    """A data directory with ``train`` and ``test.fr``, their labels renamed, of pairs or of first sentences alone."""
    files = []
    for subset, source in (("train", "train.en"), ("test.fr", "test.fr")):
        path = Path(data).parent / f"{Path(data).name}.{subset}.tsv"
        lines = [[row["sentence1"], *([row["sentence2"]] if pairs else []), labels[int(row["label"])]] for row in read_tsv(QUICKSTART / f"{source}.tsv")[:rows]]
        path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
        files.append(f"{subset}={path}")
    call(binarize, plm, data, "--labels", ",".join(labels), "--subset", *files)
    return data


def fine_tuned(data, plm, directory, *options, seed=1):
    """Path of a checkpoint after two updates, with a random classifier that is scaled to the features it sees."""
    words = training(data, plm, directory, "--disable-validation", "--cpu", *options, updates=2)
    with mock.patch.object(sys, "argv", ["fairseq-train", *map(str, words)]):
        train.cli_main()
    path = Path(directory) / "checkpoint_last.pt"
    saved, checkpoint, encoder = torch.load(path, weights_only=True), load_checkpoint(path), PLM.load(plm)
    model, sides = checkpoint.model, ("sentence1", "sentence2")[: load_labels(checkpoint)[1]]
    with torch.inference_mode():
        tokens = [encoder.encode(*(row[s] for s in sides))[None] for row in read_tsv(QUICKSTART / "test.fr.tsv")[:40]]
        features = torch.cat([model.pooler(model.encoder(t)[:, 0]) for t in tokens])
    weight = torch.randn(len(model.classifier.weight), features.shape[1], generator=torch.Generator().manual_seed(seed))
    logits = features @ weight.T
    saved["model"] |= {"classifier.weight": weight / logits.std(0)[:, None], "classifier.bias": -logits.mean(0) / logits.std(0)}
    torch.save(saved, path)
    return path
