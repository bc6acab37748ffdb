"""Binarize labelled sentences or sentence pairs into a data directory, tokenized by the PLM's own tokenizer.

python preprocess/binarize.py plm/xlmr data/xnli --xnli downloads/xnli
python preprocess/binarize.py plm/xlmr data/mine --subset train=train.tsv valid=dev.tsv test.fr=test-fr.tsv
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import argparse
import re
import sys
from pathlib import Path

from preprocess.text.columns import parse_columns
from preprocess.text.data_writer import binarize
from preprocess.text.formats import DELIMITERS
from preprocess.text.labels import parse_labels
from preprocess.text.official_layouts import LAYOUTS, official_files
from preprocess.text.parallel import usable_cores
from preprocess.text.readers import BLANK, OTHER_LANGUAGE, REASONS, UNDECIDED, UNTRANSLATED, Reading
from salt_fairseq.cli.arguments import command_parser, name_value_pairs, positive
from salt_fairseq.cli.printable import print_line
from salt_fairseq.data.subset import LANGUAGE, STORED
from salt_fairseq.errors import InputError


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("plm_dir", metavar="PLM_DIR", type=Path, help="PLM directory, whose tokenizer is used")
    add("data", metavar="DATA", type=Path, help="data directory to write, or to add subsets to")
    for layout, name in (("xnli", "XNLI"), ("pawsx", "PAWS-X"), ("xtreme", "XTREME's data set")):
        add(
            f"--{layout}",
            metavar="DIR",
            type=Path,
            help=f"{name} as published: {LAYOUTS[layout]}; SOURCE is the source language, LANG any; others are left out",
        )
    add(
        "--subset",
        metavar="NAME=FILE",
        nargs="+",
        action="extend",
        default=[],
        help="further subsets (they win over those of the layouts): train, valid, valid.LANG or test.LANG. FILE is TSV or CSV "
        "with a header (id, sentence1, sentence2, label) or without, JSONL or a JSON array (.json) with these keys, Parquet, "
        "Arrow, or a directory of datasets' save_to_disk; all may be compressed (.gz, .xz, .bz2, .zst); - is standard input",
    )
    add("--replace", action="store_true", help="replace subsets that DATA has already")
    add(
        "--labels",
        metavar="A,B,...",
        help="the labels in order (default: entailment, neutral, contradiction; numbers in ascending order; others in the "
        "order in which they appear in train)",
    )
    add(
        "--columns",
        metavar="ROLE=COLUMN,...",
        help="names of the columns or keys: sentence1 (or premise), sentence2 (or hypothesis), label, and if there are id "
        "and language, as in premise=sentence1,hypothesis=sentence2,label=gold; without a header numbers, from 1 (default: "
        "their usual names)",
    )
    add(
        "--missing-label",
        metavar="NAME",
        action="append",
        default=[],
        help="skip rows with this label, as those with -; may be given several times",
    )
    add(
        "--label-names",
        metavar="A,B,...",
        help="names of the labels 0, 1, ... of the files (default: those that Parquet and Arrow files of datasets hold)",
    )
    add(
        "--delimiter",
        choices=DELIMITERS,
        help="what separates columns (default: tab; in .csv comma or semicolon, whichever line 1 has)",
    )
    add(
        "--quoting",
        choices=["csv", "none"],
        help="whether quotation marks around a cell are no part of it (default: csv, but none where tabs separate columns)",
    )
    add("--source-language", default="en", help="language of train and valid")
    add("--workers", metavar="N", type=positive, default=usable_cores(), help="processes, which do not change the result")
    args = parser.parse_args()
    if not re.fullmatch(LANGUAGE, args.source_language):
        raise InputError(f"--source-language {args.source_language!r}: one language code is needed, as in test.LANG")
    return args


def subset_files(args: argparse.Namespace) -> dict[str, Path]:
    """Subset name to path, from all options; ``--subset`` wins over the layouts."""
    form = "NAME=FILE, NAME one of train, valid, valid.LANG, test.LANG,"
    pairs = name_value_pairs("--subset", args.subset, form, STORED)
    files: dict[str, Path] = {}
    for layout in LAYOUTS:
        directory = getattr(args, layout)
        if directory is not None:
            if not directory.is_dir():
                raise InputError(f"--{layout} {directory}: no such directory")
            official, left_out = official_files(layout, directory, args.source_language, pairs)
            files.update(official)
            if left_out:
                names = ", ".join(str(path.relative_to(directory)) for path in left_out)
                print_line(f"--{layout}: left out, by their names no files of the layout in this source language: {names}")
    files.update({name: Path(path) for name, path in pairs.items()})
    if not files:
        raise InputError("nothing to binarize: give --xnli, --pawsx, --xtreme or --subset")
    return files


def main() -> None:
    args = arguments()
    files = subset_files(args)
    reading = Reading(
        columns=parse_columns(args.columns) if args.columns else {},
        quoting=args.quoting,
        missing=frozenset(args.missing_label),
        delimiter=args.delimiter,
        label_names=tuple(parse_labels(args.label_names, "--label-names")) if args.label_names else (),
    )
    meta = binarize(args.plm_dir, args.data, files, args.labels, args.source_language, args.workers, reading, args.replace)
    subsets = {name: meta["subsets"][name] for name in files}
    skipped = {reason: sum(subset["skipped"][reason] for subset in subsets.values()) for reason in REASONS}
    read: dict[str, list[str]] = {}
    for name, subset in subsets.items():
        read.setdefault(f"{subset['format']}, {subset['columns']}", []).append(name)
    kept = [name for name in meta["subsets"] if name not in files]
    print_line(
        f"wrote {args.data}: {len(subsets)} subsets, {sum(subset['examples'] for subset in subsets.values()):,} examples, "
        f"{sum(subset['tokens'] for subset in subsets.values()):,} tokens, labels {', '.join(meta['labels'])}; skipped "
        f"{skipped[UNTRANSLATED]:,} rows without translation (NS) and {skipped[UNDECIDED]:,} without label (-), "
        f"{skipped[BLANK]:,} blank lines, {skipped[OTHER_LANGUAGE]:,} rows of other languages; read "
        + "; ".join(f"{', '.join(names)} as {described}" for described, names in read.items())
        + (f"; kept {', '.join(kept)}" if kept else "")
    )
    if "train" in subsets and (none := [label for label, count in subsets["train"]["examples_by_label"].items() if not count]):
        print_line(f"warning: train has no example of {', '.join(none)}, which cannot be learned", sys.stderr)


if __name__ == "__main__":
    main()
