"""Binarize labelled sentences or sentence pairs into a data directory, tokenized by the PLM's own tokenizer.

python preprocess/binarize.py plm/xlmr data/xnli --xnli downloads/xnli
python preprocess/binarize.py plm/xlmr data/mine --subset train=train.tsv valid=dev.tsv test.fr=test-fr.tsv
"""

from salt_fairseq.errors import InputError  # first: an interrupt while the rest loads ends in one line, too

# isort: split
import datetime
import os
import re
import shutil
from pathlib import Path

import torch
from tqdm import tqdm

from preprocess.text import blocks
from preprocess.text.parallel import in_order, usable_cores
from preprocess.text.readers import TextFile, official_files
from preprocess.text.subset_writer import BadText, SubsetWriter, piece_of
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.data.directory import INPUTS, SUBSET
from salt_fairseq.plm import Description
from salt_fairseq.storage.files import replacing
from salt_fairseq.storage.indexed_data import best_fitting_int_dtype
from salt_fairseq.storage.manifest import write_manifest
from salt_fairseq.storage.resumable import Remembered, resuming
from salt_fairseq.tokenizer import Tokenizer

NLI_LABELS = ["entailment", "neutral", "contradiction"]


def arguments():
    parser = command_parser(__doc__)
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path)
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory to write")
    parser.add_argument(
        "--xnli",
        metavar="DIR",
        type=Path,
        help="official XNLI: a folder with xnli.dev.tsv, xnli.test.tsv and multinli.train.en.tsv in it, however deep",
    )
    parser.add_argument(
        "--pawsx",
        metavar="DIR",
        type=Path,
        help="official PAWS-X: x-final, with LANG/dev_2k.tsv, LANG/test_2k.tsv and en/train.tsv in it",
    )
    parser.add_argument(
        "--xtreme",
        metavar="DIR",
        type=Path,
        help="XTREME's layout: train-en.tsv, dev-LANG.tsv, test-LANG.tsv, without header: sentence1, sentence2, label",
    )
    parser.add_argument(
        "--subset",
        metavar="NAME=FILE",
        nargs="+",
        default=[],
        help="further subsets (they win over "
        "those of the layouts): train, valid, valid.LANG or test.LANG; TSV with a header (id, "
        "sentence1, sentence2, label) or without, or JSONL with these keys",
    )
    parser.add_argument(
        "--labels",
        metavar="A,B,...",
        help="the labels in their order (default: the data set's own: "
        "entailment, neutral, contradiction; numbers ascending; else as they appear in train)",
    )
    parser.add_argument("--source-language", default="en", help="language of train and valid")
    parser.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        default=usable_cores(),
        help="processes that read and tokenize; the result is the same with any number of them",
    )
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


def given_labels(text):
    """The names of ``--labels``."""
    names = text.split(",")
    if len(set(names)) < len(names) or "" in names:
        raise InputError(f"--labels {text}: a label is empty or stands there twice; give each once, A,B,...")
    return names


def label_order(found):
    """Names of labels in the data set's own order, given in that of their first examples."""
    if set(found) <= set(NLI_LABELS):
        return NLI_LABELS
    return sorted(found, key=int) if all(re.fullmatch(r"-?\d{1,18}", label) for label in found) else list(found)


def binarize(plm_dir, data, files, labels=None, source_language="en", workers=1):
    """Write the data directory ``data``; returns its ``meta.json`` value."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there are processes for that, and threads are not forked
    description = Description.load(plm_dir)
    tokenizer = Tokenizer.load(plm_dir, description.tokenizer)
    labels = None if labels is None else given_labels(labels)
    texts = {path: TextFile.open(path) for path in dict.fromkeys(files.values())}
    languages = {name: name.partition(".")[2] or source_language for name in files}
    tasks = [(texts[path], block, languages[name]) for name, path in files.items() for block in texts[path].blocks]
    size = sum(block.size for _, block, _ in tasks)
    settings = {
        "PLM": description.sha256["tokenizer.json"],
        "labels": labels,
        "source language": source_language,
        "files": [[name, texts[path].sha256] for name, path in files.items()],
        "size of blocks": blocks.BLOCK,
    }
    dtype = best_fitting_int_dtype(description.architecture.vocabulary)
    workers = min(workers, max(1, size // blocks.BLOCK))
    # Processes begin before the lock is taken: each holds what was open then, and would keep it locked after a SIGKILL.
    with (
        in_order(lambda task: piece_of(*task, tokenizer), tasks, workers) as results,
        replacing(data, marker="meta.json") as directory,
        resuming(data, settings, "binarization") as resumable,
    ):
        remembered = Remembered(resumable)
        pieces = remembered.pieces(lambda first: map(as_tensors, results(first)))
        subsets = {name: SubsetWriter(directory, name, texts[path], languages[name], dtype) for name, path in files.items()}
        first = subsets.get("train", next(iter(subsets.values())))
        try:
            with tqdm(total=size, desc="binarizing", unit="B", unit_scale=True) as progress:
                for name, subset in subsets.items():
                    write(subset, pieces, labels, progress)
                    if subset.is_pairs != next(iter(subsets.values())).is_pairs:
                        raise BadText(f"{files[name]}: some subsets are sentence pairs, others single sentences")
            labels = labels or label_order(first.counts)
            entries = {name: subset.write_labels(labels) for name, subset in subsets.items()}
        except BadText:
            remembered.forget()
            raise
        for side in INPUTS[: 1 + first.is_pairs]:
            shutil.copy(Path(plm_dir) / "dict.txt", directory / side / "dict.txt")
        lines = "".join(f"{label} {first.counts[label]}\n" for label in labels)
        (directory / "label" / "dict.txt").write_text(lines, encoding="utf-8")
        meta = {
            "source_language": source_language,
            "labels": labels,
            "plm": {
                "name": description.name,
                "special_tokens": description.special_tokens,
                "vocabulary_sha256": description.vocabulary_sha256,
            },
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "subsets": entries,
        }
        write_manifest(directory, meta)
    return meta


def as_tensors(piece):
    """A piece as it can be saved."""
    facts, arrays = piece
    return facts, [torch.from_numpy(array) for array in arrays]


def write(subset, pieces, labels, progress):
    """Write the pieces of one subset, the next ones of all, and see that its labels are among ``labels``, if given."""
    with subset:
        for block in subset.file.blocks:
            facts, arrays = next(pieces)
            subset.add(facts, [array.numpy() for array in arrays])
            if labels:
                subset.check_labels(labels)
            progress.update(block.size)


def main():
    args = arguments()
    meta = binarize(args.plm_dir, args.data, subset_files(args), args.labels, args.source_language, args.workers)
    subsets = meta["subsets"].values()
    skipped = {reason: sum(s["skipped"][reason] for s in subsets) for reason in ("NS", "-")}
    print(
        f"wrote {args.data}: {len(subsets)} subsets, {sum(s['examples'] for s in subsets):,} examples, "
        f"{sum(s['tokens'] for s in subsets):,} tokens, labels {', '.join(meta['labels'])}; skipped "
        f"{skipped['NS']:,} rows without translation (NS) and {skipped['-']:,} without label (-)"
    )


if __name__ == "__main__":
    main()
