"""Sentences with tags for their words in every layout that is read, and data directories of them."""

import json

from preprocess import binarize
from salt_fairseq.data.directory import DataDirectory
from support.in_process import call

SENTENCES = [  # of words that tiny_plm.py's vocabularies divide in one, two and three pieces, and one that they lack
    (["The", "houseboats", "sleeps", "."], ["O", "B-MISC", "O", "O"]),
    (["big", "peniche", "Hausboot", ",", "漢", "cat"], ["B-LOC", "I-LOC", "E-LOC", "O", "S-PER", "O"]),
    (["chat"], ["S-PER"]),
    (["the", "big", "cat"] * 3, ["O"] * 9),
]


def conll(sentences=SENTENCES, separator="\t", between=(), prefix=""):
    return "".join("".join(separator.join([prefix + w, *between, t]) + "\n" for w, t in zip(*s)) + "\n" for s in sentences)


def conllu(sentences=SENTENCES):
    """With comments, a multiword token over the first two words and an empty node after the last one."""
    blocks = []
    for words, tags in sentences:
        lines = [f"{i}\t{w}\tlemma\t{t}\tXPOS\t_\t0\troot\t_\t_" for i, (w, t) in enumerate(zip(words, tags), 1)]
        lines.insert(0, f"1-{min(2, len(words))}\tdu\t_\t_\t_\t_\t_\t_\t_\t_")
        blocks.append("\n".join(["# sent_id = 1", "# text = du", *lines, f"{len(words)}.1\tellipsis\tlemma\tVERB\t_\t_\t_\t_\t_\t_"]))
    return "\n\n".join(blocks) + "\n"


def jsonl(sentences=SENTENCES, token="tokens", tag="ner_tags", names=None):
    return "".join(json.dumps({"id": "7", token: w, tag: [names.index(t) for t in ts] if names else ts}) + "\n" for w, ts in sentences)


def binarized(plm, data, text, *options, name="train.txt", subset="train"):
    """The data directory, written from this text in a file of that name."""
    path = data.parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    call(binarize, plm, data, "--workers", 1, *options, "--subset", f"{subset}={path}")
    return DataDirectory(data)


def stored(data, subset="train"):
    """``[(ids, labels)]`` of the sentences of a subset, labels by name, None where a token has none."""
    examples = data.load(subset)
    labels = [[None if i < 0 else data.labels[i] for i in examples.targets[k].tolist()] for k in range(len(examples.targets))]
    return [(examples.inputs[0][k].tolist(), row) for k, row in enumerate(labels)]
