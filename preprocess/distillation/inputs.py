"""The PLM directory and the data directory of a command, opened together."""

import argparse
from pathlib import Path

from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description
from salt_fairseq.tokenizer import Tokenizer

SUBSET = "train"  # the only one that is augmented


def add_inputs(parser: argparse.ArgumentParser, data_help: str = "data directory with candidates") -> None:
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path, help="PLM directory whose vocabulary the data has")
    parser.add_argument("data", metavar="DATA", type=Path, help=data_help)


def open_inputs(args: argparse.Namespace) -> tuple[DataDirectory, Description, Tokenizer]:
    """The data directory, and description and tokenizer of the PLM. Raises unless the data has a training set in its
    vocabulary."""
    data, description = DataDirectory(args.data), Description.load(args.plm_dir)
    data.check_vocabulary(description, args.plm_dir)
    if SUBSET not in data.meta["subsets"]:
        raise InputError(f"{args.data} has no subset {SUBSET!r}: binarize one with --subset {SUBSET}=FILE")
    return data, description, Tokenizer.load(args.plm_dir, description.tokenizer)
