"""Binarize labelled sentences or sentence pairs into a data directory, tokenized by the PLM's own tokenizer.

python preprocess/binarize.py plm/xlmr data/xnli --xnli downloads/xnli
python preprocess/binarize.py plm/xlmr data/mine --subset train=train.tsv valid=dev.tsv test.fr=test-fr.tsv
python preprocess/binarize.py plm/xlmr data/pos --tags detect --subset train=en.conllu test.fr=fr.conllu
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
from preprocess.text.official_layouts import LAYOUTS, MISSING_LABELS, NAMES, QUOTING, TAGGED, official_files
from preprocess.text.parallel import usable_cores
from preprocess.text.readers import BLANK, OTHER_LANGUAGE, REASONS, UNDECIDED, UNTRANSLATED, Reading
from preprocess.text.tagged_formats import LAYOUTS as TAG_LAYOUTS
from preprocess.text.tagged_formats import parse_columns as parse_tag_columns
from preprocess.text.tagged_sentences import UNTAGGED
from salt_fairseq.cli.arguments import command_parser, name_value_pairs, positive
from salt_fairseq.cli.printable import counted, print_line
from salt_fairseq.data.subset import LANGUAGE, STORED, source_languages, source_subsets
from salt_fairseq.errors import InputError


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("plm_dir", metavar="PLM_DIR", type=Path, help="PLM directory, whose tokenizer is used")
    add("data", metavar="DATA", type=Path, help="data directory to write, or to add subsets to")
    for layout, name in NAMES.items():
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
    add(
        "--tags",
        choices=("detect", *TAG_LAYOUTS),
        help="the subsets have a tag for each word (named entities, parts of speech): conll, a word and in the last column its "
        "tag on each line, and a blank line after each sentence; panx, the same with words as in en:Rome; conllu, Universal "
        "Dependencies' FORM and UPOS; json, objects with lists of tokens and tags; detect, whichever of these it is",
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
        "their usual names). With --tags: token and tag",
    )
    add(
        "--missing-label",
        metavar="NAME",
        action="append",
        default=[],
        help="skip rows with this label, as those with -; may be given several times. Words with this tag are read, but "
        "neither trained on nor scored",
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
    add(
        "--source-language",
        metavar="LANG[,LANG...]",
        default="en",
        help="language of train and valid; of several, the training sets are train.LANG (and valid.LANG) for each of them",
    )
    add("--languages", metavar="LANG,...", help="of the layouts, read only these and the source languages (default: all)")
    add("--workers", metavar="N", type=positive, default=usable_cores(), help="processes, which do not change the result")
    args = parser.parse_args()
    sources = source_languages(args.source_language)
    if not all(re.fullmatch(LANGUAGE, language) for language in sources) or len(set(sources)) < len(sources):
        raise InputError(
            f"--source-language {args.source_language!r}: one language code is needed, as in test.LANG, or several, as in en,de"
        )
    layouts = [layout for layout in LAYOUTS if getattr(args, layout)]
    tagged, others = ([layout for layout in layouts if (layout in TAGGED) == is_tagged] for is_tagged in (True, False))
    if tagged:
        args.tags = args.tags or "detect"
    if others and args.tags:
        raise InputError(
            f"--{others[0]} with {f'--{tagged[0]}' if tagged else '--tags'}: it has one label for each example; leave one out"
        )
    for option in ("delimiter", "quoting"):
        if args.tags and getattr(args, option):
            raise InputError(f"--{option} with tags for words: no layout of theirs has quotation marks; leave it out")
    args.missing_label += [label for layout in layouts for label in MISSING_LABELS.get(layout, ())]
    args.quoting = args.quoting or next((QUOTING[layout] for layout in layouts if layout in QUOTING), None)
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
            languages = args.languages.split(",") if args.languages else ()
            official, left_out = official_files(layout, directory, args.source_language, pairs, languages)
            files.update(official)
            if left_out:
                names = ", ".join(str(path.relative_to(directory)) for path in left_out)
                print_line(f"--{layout}: left out, by their names no files of the layout in this source language: {names}")
    files.update({name: Path(path) for name, path in pairs.items()})
    sources = source_languages(args.source_language)
    for name in {"train", "valid"} & files.keys() if len(sources) > 1 else ():
        raise InputError(
            f"--subset {name}={files[name]}: the source languages are {', '.join(sources)}: name that of the file, as in "
            f"--subset {name}.{sources[0]}={files[name]}"
        )
    if not files:
        raise InputError(f"nothing to binarize: give {', '.join(f'--{layout}' for layout in LAYOUTS)} or --subset")
    return files


def main() -> None:
    args = arguments()
    files = subset_files(args)
    reading = Reading(
        columns=(parse_tag_columns if args.tags else parse_columns)(args.columns) if args.columns else {},
        quoting=args.quoting,
        missing=frozenset(args.missing_label),
        delimiter=args.delimiter,
        label_names=tuple(parse_labels(args.label_names, "--label-names")) if args.label_names else (),
        tags=args.tags,
    )
    sources = source_languages(args.source_language)
    meta = binarize(args.plm_dir, args.data, files, args.labels, args.source_language, args.workers, reading, args.replace)
    subsets = {name: meta["subsets"][name] for name in files}
    skipped = {reason: sum(subset["skipped"].get(reason, 0) for subset in subsets.values()) for reason in REASONS}
    count = sum(subset["examples"] for subset in subsets.values())
    if args.tags:
        untagged = sum(subset["skipped"].get(UNTAGGED, 0) for subset in subsets.values())
        left_out = f"{counted(untagged, 'sentence')} without tags"
        words = sum(subset["words"] for subset in subsets.values())
        examples = f"{counted(count, 'sentence')}, {counted(words, 'word')} with tags"
    else:
        left_out = (
            f"{counted(skipped[UNTRANSLATED], 'row')} without translation (NS) and {skipped[UNDECIDED]:,} without label (-), "
            f"{counted(skipped[BLANK], 'blank line')}, {counted(skipped[OTHER_LANGUAGE], 'row')} of other languages"
        )
        examples = counted(count, "example")
    read: dict[str, list[str]] = {}
    for name, subset in subsets.items():
        read.setdefault(f"{subset['format']}, {subset['columns']}", []).append(name)
    kept = [name for name in meta["subsets"] if name not in files]
    print_line(
        f"wrote {args.data}: {counted(len(subsets), 'subset')}, {examples}, "
        f"{sum(subset['tokens'] for subset in subsets.values()):,} tokens, labels {', '.join(meta['labels'])}; skipped "
        f"{left_out}; read "
        + "; ".join(f"{', '.join(names)} as {described}" for described, names in read.items())
        + (f"; kept {', '.join(kept)}" if kept else "")
    )
    training = [name for name in source_subsets("train", sources) if name in meta["subsets"]]
    counts = [meta["subsets"][name].get("examples_by_label", {}) for name in training]  # older versions did not count
    if all(counts) and (none := [label for label in meta["labels"] if counts and not any(each[label] for each in counts)]):
        print_line(f"warning: train has no example of {', '.join(none)}, which cannot be learned", sys.stderr)
    if args.tags and all(map(str.isdecimal, meta["labels"])):
        print_line(
            "warning: the tags are numbers, of which accuracy is measured: if they stand for entities, name them with "
            "--label-names A,B,...",
            sys.stderr,
        )


if __name__ == "__main__":
    main()
