"""Label and probability for each sentence or pair of standard input (TSV or JSONL), or a tag for each word of sentences.

python -m salt_fairseq.predict checkpoints/checkpoint_best.pt < pairs.tsv
python -m salt_fairseq.predict checkpoints/tagger.pt < words.txt   # a word on each line, and a blank line after each sentence
"""

from __future__ import annotations

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import torch
from tqdm import tqdm

from salt_fairseq.checkpoints import load_checkpoint, load_labels, load_tokenizer
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.cli.printable import counted, print_line, printable
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.data.joining import Joiner
from salt_fairseq.data.sentence_rows import WHERE, Row, read_rows
from salt_fairseq.errors import InputError
from salt_fairseq.inference import InUse, batched_logits
from salt_fairseq.modules.encoder import EOS
from salt_fairseq.predict_tags import Tagger, predict_tags, read_words
from salt_fairseq.storage.files import replacing

STDIN = 0
CHUNK = 10_000  # lines that are sorted by length together, so that a long input never sits in memory
ANSWER = ("prediction", "probability")  # not "label": that may be a column of the input
# How a file of answers begins: an answer, a header, a JSON object.
EARLIER = rb"[^\t\n]*\t[01]\.\d{4}\n|([^\n]*\t)?prediction\tprobability[\t\n]|\{[^\n]*\"prediction\": "
SIGPIPE_STATUS = 141  # exit status of Unix tools whose reader has gone


def arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("checkpoint", metavar="CKPT", type=Path, help="a checkpoint that fairseq-train wrote")
    parser.add_argument("--plm", metavar="DIR", help="PLM directory with the tokenizer (default: the checkpoint's own)")
    parser.add_argument("--data", metavar="DIR", help="data directory with the labels (default: the checkpoint's own)")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write there (default: standard output)")
    parser.add_argument("--probabilities", action="store_true", help="the probabilities of all labels, too; TSV gets a header")
    parser.add_argument(
        "--jsonl", action="store_true", help="write a JSON object per line (default: only if the input is that)"
    )
    add_device(parser)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), help="of matrix products (default: as the checkpoint was trained)")
    parser.add_argument("--max-tokens", type=positive, default=8192, help="tokens the model reads at once, padding included")
    return parser.parse_args()


class Classifier(InUse):
    """A checkpoint in use: sentences to probabilities of labels.

    ``max_length`` is the checkpoint's: longer pairs are cut as in training.
    """

    def encode(self, rows: Sequence[Sequence[str]], lines: Sequence[int] | None = None) -> Iterator[torch.Tensor]:
        """Rows of one or two sentences to LongTensors (T,), truncated, specials included; raises for a sentence without any
        token, naming its line (default: the number of the row, from 1)."""
        flat = iter(self.tokenizer([sentence for row in rows for sentence in row]))
        for number, row in zip(lines or range(1, len(rows) + 1), rows):
            sides = [torch.tensor([*next(flat), EOS]) for _ in row]
            if any(len(side) == 1 for side in sides):
                raise InputError(f"{WHERE}, line {number}: a sentence has no visible character")
            yield Joiner(self.join, len(row), self.max_length)(sides)

    @torch.inference_mode()
    def __call__(
        self, rows: Sequence[Sequence[str]], lines: Sequence[int] | None = None, progress: tqdm | None = None
    ) -> torch.Tensor:
        """Rows of one or two sentences to probabilities FloatTensor (N, classes), in the same order; the bar ``progress`` is
        updated with each batch."""
        tokens = list(self.encode(rows, lines))
        probabilities = torch.empty(len(tokens), self.model.classifier.out_features)
        for batch, logits in batched_logits(self.model, tokens, self.max_tokens):
            probabilities[batch] = logits.softmax(1).cpu()
            if progress is not None:
                progress.update(len(batch))
        return probabilities


@dataclass(frozen=True)
class Answers:
    """How answers are written: lines of ``label TAB probability``, with the further columns of the input before them, or JSON
    objects; with the probabilities of all labels after them if asked for."""

    labels: Sequence[str]
    probabilities: bool = False
    jsonl: bool = False

    def header(self, row: Row) -> str:
        """The header of TSV, where it has one; ``row`` is the first one of the input."""
        if self._is_json(row) or not (row.further or self.probabilities):
            return ""
        return "\t".join([*row.further, *ANSWER, *(map(printable, self.labels) if self.probabilities else ())]) + "\n"

    def line(self, row: Row, probabilities: list[float]) -> str:
        """The answer to ``row``, whose labels have these probabilities."""
        best = max(range(len(self.labels)), key=probabilities.__getitem__)
        if clash := next((name for name in row.further if name in (*ANSWER, "probabilities")), None):
            raise InputError(f"{WHERE}, line {row.line}: {clash} is a column of the input already: rename it")
        if self._is_json(row):
            answer = {**row.further, "prediction": self.labels[best], "probability": round(probabilities[best], 4)}
            if self.probabilities:
                answer["probabilities"] = {label: round(p, 4) for label, p in zip(self.labels, probabilities)}
            return json.dumps(answer, ensure_ascii=False) + "\n"
        cells = [*map(str, row.further.values()), printable(self.labels[best]), f"{probabilities[best]:.4f}"]
        return "\t".join([*cells, *(f"{p:.4f}" for p in (probabilities if self.probabilities else ()))]) + "\n"

    def _is_json(self, row: Row) -> bool:
        return self.jsonl or row.is_json


def predict(classifier: Classifier, rows: Iterator[Row], answers: Answers, out: BinaryIO) -> int:
    """Write the answer to each of ``rows`` to ``out``, in order; returns their number."""
    total = 0
    with progress_bar(desc="predicting", unit=" lines") as progress:
        while chunk := list(islice(rows, CHUNK)):
            probabilities = classifier([row.sentences for row in chunk], [row.line for row in chunk], progress).tolist()
            text = "".join([answers.header(chunk[0]) if total == 0 else "", *map(answers.line, chunk, probabilities)])
            out.write(text.encode("utf-8", "backslashreplace"))
            out.flush()
            total += len(chunk)
    return total


def main() -> None:
    args = arguments()
    check_device(args.device)
    checkpoint = load_checkpoint(args.checkpoint)
    labels, columns = load_labels(checkpoint, args.data)
    in_use = (load_tokenizer(checkpoint, args.plm), args.device, args.dtype, args.max_tokens)
    if checkpoint.has_token_labels and args.probabilities:
        raise InputError(f"--probabilities: {args.checkpoint} tags words, and prints the tags alone; leave it out")
    if sys.stdin is None:
        raise InputError(f"{WHERE} is closed: give it the sentences")

    def write(out: BinaryIO) -> int:
        if checkpoint.has_token_labels:
            return predict_tags(Tagger(checkpoint, *in_use), labels, read_words(sys.stdin.buffer), args.jsonl, out)
        rows, answers = read_rows(sys.stdin.buffer, columns), Answers(labels, args.probabilities, args.jsonl)
        return predict(Classifier(checkpoint, *in_use), rows, answers, out)

    if args.out is None:
        try:
            write(sys.stdout.buffer)
        except BrokenPipeError:  # "| head" has read enough
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(SIGPIPE_STATUS)
    else:
        inputs = [args.checkpoint, STDIN]
        with replacing(args.out, begins=EARLIER, inputs=inputs) as temporary, open(temporary, "wb") as out:
            total = write(out)
        print_line(f"wrote {args.out}: {counted(total, 'sentence' if checkpoint.has_token_labels else 'line')}")


if __name__ == "__main__":
    main()
