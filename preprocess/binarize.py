"""Binarize labelled sentences or sentence pairs into a data directory, tokenized by the PLM's own tokenizer.

    python preprocess/binarize.py plm/xlmr data/xnli --xnli downloads/xnli
    python preprocess/binarize.py plm/xlmr data/mine --subset train=train.tsv valid=dev.tsv test.fr=test-fr.tsv
"""

from salt_fairseq.errors import InputError  # first: an interrupt while the rest loads ends in one line, too

# isort: split
import datetime
import itertools
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from preprocess.readers import official_files, read
from salt_fairseq.command_line import command_parser
from salt_fairseq.data_directory import FIRST_LABEL, INPUTS, SUBSET
from salt_fairseq.files import replacing, sha256
from salt_fairseq.indexed_data import best_fitting_int_dtype, write_flat
from salt_fairseq.manifest import write_manifest
from salt_fairseq.modules.encoder import EOS
from salt_fairseq.plm import Description
from salt_fairseq.resumable import Remembered, resuming
from salt_fairseq.tokenizer import Tokenizer

NLI_LABELS = ["entailment", "neutral", "contradiction"]
BATCH = 2000  # sentences tokenized at once


def arguments():
    parser = command_parser(__doc__)
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path)
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory to write")
    parser.add_argument("--xnli", metavar="DIR", type=Path, help="official XNLI: a folder with xnli.dev.tsv, "
                        "xnli.test.tsv and multinli.train.en.tsv in it, however deep")
    parser.add_argument("--pawsx", metavar="DIR", type=Path, help="official PAWS-X: x-final, with LANG/dev_2k.tsv, "
                        "LANG/test_2k.tsv and en/train.tsv in it")
    parser.add_argument("--xtreme", metavar="DIR", type=Path, help="XTREME's layout: train-en.tsv, dev-LANG.tsv, "
                        "test-LANG.tsv, without header: sentence1, sentence2, label")
    parser.add_argument("--subset", metavar="NAME=FILE", nargs="+", default=[], help="further subsets (they win over "
                        "those of the layouts): train, valid, valid.LANG or test.LANG; TSV with a header (id, "
                        "sentence1, sentence2, label) or without, or JSONL with these keys")
    parser.add_argument("--labels", metavar="A,B,...", help="the labels in their order (default: the data set's own: "
                        "entailment, neutral, contradiction; numbers ascending; else as they appear in train)")
    parser.add_argument("--source-language", default="en", help="language of train and valid")
    args = parser.parse_args()
    if not re.fullmatch(r"\w+", args.source_language):
        raise InputError(f"--source-language {args.source_language!r}: the name of one language is needed, as in test.LANG")
    return args


def subset_files(args):
    """Subset name to path, from all options."""
    files, given = {}, set()
    for layout in ("xnli", "pawsx", "xtreme"):
        directory = getattr(args, layout)
        if directory is not None:
            if not directory.is_dir():
                raise InputError(f"--{layout} {directory}: no such directory")
            files.update(official_files(layout, directory))
    for pair in args.subset:
        name, equals, path = pair.partition("=")
        if not equals or not SUBSET.fullmatch(name):
            raise InputError(f"--subset {pair}: NAME=FILE is needed, NAME one of train, valid, valid.LANG, test.LANG")
        if name in given:
            raise InputError(f"--subset {pair}: {name} is given twice, also as {files[name]}; leave one of them out")
        given.add(name)
        files[name] = Path(path)
    if not files:
        raise InputError("nothing to binarize: give --xnli, --pawsx, --xtreme or --subset")
    return files


def label_order(given, subsets):
    """The names of the labels in the data set's own order."""
    if given is not None:
        names = given.split(",")
        if len(set(names)) < len(names) or "" in names:
            raise InputError(f"--labels {given}: a label is empty or stands there twice; give each once, A,B,...")
        return names
    name = "train" if "train" in subsets else next(iter(subsets))
    found = list(dict.fromkeys(example.label for example in subsets[name][0]))
    if set(found) <= set(NLI_LABELS):
        return NLI_LABELS
    return sorted(found, key=int) if all(re.fullmatch(r"-?\d{1,18}", label) for label in found) else found


def tokenized(examples, attribute, path, tokenizer):
    """``(sizes, ids)``, int32 tensors, of the sentences of examples, eos included.

    Among them, each distinct sentence is tokenized once: premises stand there several times, one after the other.
    """
    sentences = [getattr(example, attribute) for example in examples]
    distinct = list(dict.fromkeys(sentences))
    ids_of = dict(zip(distinct, tokenizer(distinct)))
    found = [ids_of[sentence] for sentence in sentences]
    if not all(found):
        raise InputError(f"{path}, line {examples[found.index([])].line}: the sentence has no visible character")
    sizes = np.fromiter(map(len, found), np.int32, len(found)) + 1
    ids = np.full(sizes.sum(), EOS, np.int32)
    inside = np.ones(len(ids), dtype=bool)
    inside[np.cumsum(sizes) - 1] = False
    ids[inside] = np.fromiter(itertools.chain.from_iterable(found), np.int32, len(ids) - len(found))
    return torch.from_numpy(sizes), torch.from_numpy(ids)


def write_subset(directory, name, examples, path, labels, tokenizer, dtype, made, progress):
    """Write one subset; returns its entry of ``meta.json``. ``made`` remembers what a killed run had tokenized."""

    def pieces(attribute):
        for start in range(0, len(examples), BATCH):
            some = examples[start : start + BATCH]
            sizes, ids = made(lambda: tokenized(some, attribute, path, tokenizer))
            yield sizes.numpy(), ids.numpy()
            progress.update(len(some))

    sides = [side for side, sentence in zip(INPUTS, (examples[0].sentence1, examples[0].sentence2)) if sentence is not None]
    tokens = 0
    for side, attribute in zip(sides, ("sentence1", "sentence2")):
        tokens += write_flat(directory / side / name, pieces(attribute), dtype)
    numbers = {label: i + FIRST_LABEL for i, label in enumerate(labels)}
    for example in examples:
        if example.label not in numbers:
            raise InputError(f"{path}, line {example.line}: label {example.label!r} is none of {', '.join(labels)}")
    targets = np.array([numbers[example.label] for example in examples])
    write_flat(directory / "label" / name, [(np.ones_like(targets), targets)], np.uint16)
    (directory / "id" / f"{name}.txt").write_text("".join(f"{e.id}\n" for e in examples), encoding="utf-8")
    return {"examples": len(examples), "tokens": tokens,
            "sha256": {side: sha256(directory / side / f"{name}.bin") for side in sides}}


def binarize(plm_dir, data, files, labels=None, source_language="en"):
    """Write the data directory ``data``; returns its ``meta.json`` value."""
    description = Description.load(plm_dir)
    tokenizer = Tokenizer.load(plm_dir, description.tokenizer)
    subsets = {name: read(path, name.partition(".")[2] or source_language) for name, path in files.items()}
    pairs = {name: examples[0].sentence2 is not None for name, (examples, _) in subsets.items()}
    if len(set(pairs.values())) > 1:
        odd = [n for n in pairs if pairs[n] != pairs[next(iter(pairs))]][0]
        raise InputError(f"{files[odd]}: some subsets are sentence pairs, others single sentences")
    labels = label_order(labels, subsets)
    dtype = best_fitting_int_dtype(description.architecture.vocabulary)
    meta = {
        "source_language": source_language,
        "labels": labels,
        "plm": {"name": description.name, "special_tokens": description.special_tokens,
                "vocabulary_sha256": description.vocabulary_sha256},
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "subsets": {},
    }
    sides = INPUTS if any(pairs.values()) else INPUTS[:1]
    settings = {"PLM": description.sha256["tokenizer.json"], "files": {name: sha256(path) for name, path in files.items()},
                "labels": labels, "source language": source_language}
    with replacing(data, marker="meta.json") as directory, resuming(data, settings, "binarization") as resumable:
        made = Remembered(resumable)
        for part in (*sides, "label", "id"):
            (directory / part).mkdir(parents=True)
        for side in sides:
            shutil.copy(Path(plm_dir) / "dict.txt", directory / side / "dict.txt")
        sentences = sum(len(examples) for examples, _ in subsets.values()) * len(sides)
        with tqdm(total=sentences, desc="binarizing", unit=" sentences") as progress:
            for name, (examples, skipped) in subsets.items():
                entry = write_subset(directory, name, examples, files[name], labels, tokenizer, dtype, made, progress)
                meta["subsets"][name] = {"file": str(files[name]), "skipped": skipped, **entry}
        first = subsets["train" if "train" in subsets else next(iter(subsets))][0]
        counts = Counter(example.label for example in first)
        lines = "".join(f"{label} {counts[label]}\n" for label in labels)
        (directory / "label" / "dict.txt").write_text(lines, encoding="utf-8")
        write_manifest(directory, meta)
    return meta


def main():
    args = arguments()
    meta = binarize(args.plm_dir, args.data, subset_files(args), args.labels, args.source_language)
    subsets = meta["subsets"].values()
    skipped = {reason: sum(s["skipped"][reason] for s in subsets) for reason in ("NS", "-")}
    print(f"wrote {args.data}: {len(subsets)} subsets, {sum(s['examples'] for s in subsets):,} examples, "
          f"{sum(s['tokens'] for s in subsets):,} tokens, labels {', '.join(meta['labels'])}; skipped "
          f"{skipped['NS']:,} rows without translation (NS) and {skipped['-']:,} without label (-)")


if __name__ == "__main__":
    main()
