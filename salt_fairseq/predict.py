"""Label and probability for each line ``sentence1 TAB sentence2`` (or ``sentence``) of standard input.

python -m salt_fairseq.predict checkpoints/checkpoint_best.pt < pairs.tsv
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from tqdm import tqdm

from salt_fairseq.checkpoints import Checkpoint, load_checkpoint, load_labels, load_tokenizer
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.data.joining import Joiner
from salt_fairseq.data.token_batches import token_batches
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import EOS
from salt_fairseq.plm import pad
from salt_fairseq.storage.files import replacing
from salt_fairseq.storage.text_lines import text_lines
from salt_fairseq.tokenizer import Tokenizer

STDIN = 0
CHUNK = 10_000  # lines that are sorted by length together, so that a long input never sits in memory
EARLIER = rb"[^\t\n]*\t[01]\.\d{4}\n"  # how a file of answers begins
SIGPIPE_STATUS = 141  # exit status of Unix tools whose reader has gone


def arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="a checkpoint that fairseq-train wrote")
    parser.add_argument("--plm", metavar="DIR", help="PLM directory with the tokenizer (default: the checkpoint's own)")
    parser.add_argument("--data", metavar="DIR", help="data directory with the labels (default: the checkpoint's own)")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write there (default: standard output)")
    add_device(parser)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), help="of matrix products (default: as the checkpoint was trained)")
    parser.add_argument("--max-tokens", type=positive, default=8192, help="tokens the model reads at once, padding included")
    return parser.parse_args()


class Classifier:
    """A checkpoint in use: sentences to probabilities of labels.

    ``max_length`` is the checkpoint's: longer pairs are cut as in training.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        device: str = "cpu",
        dtype: str | None = None,
        max_tokens: int = 8192,
    ):
        self.model, self.tokenizer, self.max_tokens = checkpoint.model.to(device), tokenizer, max_tokens
        if dtype is not None:
            self.model.cfg.autocast_bf16 = dtype == "bf16"
        self.max_length, self.join = checkpoint.cfg.task.max_length, checkpoint.model.description.join

    def encode(self, rows: Sequence[Sequence[str]], first_line: int = 1) -> Iterator[torch.Tensor]:
        """Rows of one or two sentences to LongTensors (T,), truncated, specials included; raises for a sentence without any
        token, counting lines from ``first_line``."""
        flat = iter(self.tokenizer([sentence for row in rows for sentence in row]))
        for number, row in enumerate(rows, first_line):
            sides = [torch.tensor([*next(flat), EOS]) for _ in row]
            if any(len(side) == 1 for side in sides):
                raise InputError(f"standard input, line {number}: a sentence has no visible character")
            yield Joiner(self.join, len(row), self.max_length)(sides)

    @torch.inference_mode()
    def __call__(self, rows: Sequence[Sequence[str]], first_line: int = 1, progress: tqdm | None = None) -> torch.Tensor:
        """Rows of one or two sentences to probabilities FloatTensor (N, classes), in the same order; the bar ``progress`` is
        updated with each batch."""
        tokens = list(self.encode(rows, first_line))
        sizes = np.array([len(ids) for ids in tokens])
        order = np.argsort(-sizes, kind="stable")
        probabilities = torch.empty(len(tokens), self.model.classifier.out_features)
        device = next(self.model.parameters()).device
        for start, stop in token_batches(sizes[order], self.max_tokens):
            batch = order[start:stop]
            logits, _ = self.model(pad([tokens[i] for i in batch]).to(device))
            probabilities[batch] = logits.float().softmax(1).cpu()
            if progress is not None:
                progress.update(len(batch))
        return probabilities


def read_rows(file: BinaryIO, columns: int) -> Iterator[list[str]]:
    """The sentences of each line of a binary file, ``columns`` strings; errors name the line."""
    needed = "sentence1 TAB sentence2 is needed" if columns == 2 else "one sentence is needed"
    for number, text in text_lines(file, "standard input"):
        row = [cell.strip() for cell in text.split("\t")]
        if len(row) != columns and text.strip():
            raise InputError(f"standard input, line {number}: {len(row)} column{'s'[: len(row) != 1]}, but {needed}")
        if "" in row:
            what = f"sentence{row.index('') + 1}" if len(row) > 1 else "the line"
            raise InputError(f"standard input, line {number}: {what} is empty, but {needed}")
        yield row


def predict(classifier: Classifier, rows: Iterator[list[str]], labels: Sequence[str], out: BinaryIO) -> int:
    """Write ``label TAB probability`` for each of ``rows`` to ``out``, in order; returns their number."""
    total = 0
    with tqdm(desc="predicting", unit=" lines", disable=None) as progress:
        while chunk := list(islice(rows, CHUNK)):
            best = classifier(chunk, total + 1, progress).max(1)
            answers = zip(best.indices.tolist(), best.values.tolist())
            out.write("".join(f"{labels[k]}\t{probability:.4f}\n" for k, probability in answers).encode())
            out.flush()
            total += len(chunk)
    return total


def main() -> None:
    args = arguments()
    check_device(args.device)
    checkpoint = load_checkpoint(args.checkpoint)
    labels, columns = load_labels(checkpoint, args.data)
    classifier = Classifier(checkpoint, load_tokenizer(checkpoint, args.plm), args.device, args.dtype, args.max_tokens)
    rows = read_rows(sys.stdin.buffer, columns)
    if args.out is None:
        try:
            predict(classifier, rows, labels, sys.stdout.buffer)
        except BrokenPipeError:  # "| head" has read enough
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(SIGPIPE_STATUS)
    else:
        inputs = [args.checkpoint, STDIN]
        with replacing(args.out, begins=EARLIER, inputs=inputs) as temporary, open(temporary, "wb") as out:
            total = predict(classifier, rows, labels, out)
        print(f"wrote {args.out}: {total:,} lines")


if __name__ == "__main__":
    main()
