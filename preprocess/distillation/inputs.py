"""The PLM directory and the data directory of a command, opened together."""

from __future__ import annotations

import argparse
from pathlib import Path

from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description
from salt_fairseq.tokenizer import Tokenizer

TRAINING = "train"  # the split that is augmented, alone


def add_inputs(parser: argparse.ArgumentParser, data_help: str = "data directory with candidates") -> None:
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path, help="PLM directory whose vocabulary the data has")
    parser.add_argument("data", metavar="DATA", type=Path, help=data_help)


def add_subset(parser: argparse.ArgumentParser) -> None:
    """The option of commands that take the training data of one source language, for :func:`training_subset`."""
    parser.add_argument("--subset", help="training data of one of several source languages, e.g. train.en (default: train)")


def open_inputs(args: argparse.Namespace) -> tuple[DataDirectory, Description, Tokenizer]:
    """The data directory, and description and tokenizer of the PLM. Raises unless the data has training sets in its
    vocabulary."""
    data, description = DataDirectory(args.data), Description.load(args.plm_dir)
    data.check_vocabulary(description, args.plm_dir)
    for subset in data.parts(TRAINING):
        if subset not in data.meta["subsets"]:
            raise InputError(f"{args.data} has no subset {subset!r}: binarize one with --subset {subset}=FILE")
    return data, description, Tokenizer.load(args.plm_dir, description.tokenizer)


def training_subset(data: DataDirectory, name: str | None) -> str:
    """The training subset that ``--subset`` names; without a name the only one."""
    subsets = data.parts(TRAINING)
    if name is None and len(subsets) > 1:
        raise InputError(f"{data.path} has training data in several source languages: name one with --subset {subsets[0]}")
    if name not in (None, *subsets):
        raise InputError(f"--subset {name}: the training data of {data.path} are {', '.join(subsets)}")
    return name or subsets[0]
