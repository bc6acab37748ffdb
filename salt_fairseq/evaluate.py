"""Evaluate fine-tuned checkpoints: accuracy, F1 and predictions on any subsets, and in the generalized setting.

python -m salt_fairseq.evaluate data/xnli --path checkpoints/checkpoint_best.pt --subsets 'test.*' --out results.json
python -m salt_fairseq.evaluate data/xnli --path salt.1.pt salt.2.pt --generalized test --out matrix.json
python -m salt_fairseq.evaluate data/xnli --path checkpoints/checkpoint_1_*.pt --average --out average.json
"""

from __future__ import annotations

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import argparse
import dataclasses
import hashlib
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

import fairseq
import numpy as np
import torch
from omegaconf import OmegaConf

import salt_fairseq
from salt_fairseq.checkpoints import Checkpoint
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.cli.printable import counted, print_line
from salt_fairseq.data.directory import IGNORED, SENTENCES, TOKENS, DataDirectory, Examples, TokenLabels
from salt_fairseq.data.distinct_pairs import Batches
from salt_fairseq.data.selection import selected_subsets
from salt_fairseq.errors import InputError
from salt_fairseq.evaluation import scores
from salt_fairseq.evaluation.entities import are_entity_tags, entity_counts, f1, seqeval
from salt_fairseq.evaluation.fitting import load_all_fitting, load_average, selection
from salt_fairseq.evaluation.scoring import Inputs, Labels, score
from salt_fairseq.evaluation.text import details, doubts, summary
from salt_fairseq.storage.files import check_output, write_json
from salt_fairseq.storage.resumable import Resumable, resuming

CPU_TOKENS, GPU_TOKENS = 2048, 32768
EARLIER = rb'\{"salt_fairseq":'  # how a file of results begins
LOSS_DIGITS = 4  # that do not depend on how examples are batched


def arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory")
    parser.add_argument(
        "--path",
        metavar="CKPT",
        nargs="+",
        action="extend",
        type=Path,
        required=True,
        help="checkpoints that fairseq-train wrote; each is cut to its own --max-length",
    )
    parser.add_argument(
        "--average",
        action="store_true",
        help="score the average of these checkpoints instead of each, as python -m salt_fairseq.average writes it",
    )
    parser.add_argument(
        "--subsets",
        default="test.*",
        help="names and globs, separated by commas; test.en-de has the premises of test.en and the hypotheses of test.de",
    )
    parser.add_argument(
        "--generalized",
        metavar="SPLIT",
        help="also every premise language with every hypothesis language of a split, e.g. test",
    )
    parser.add_argument("--out", metavar="FILE.json", type=Path, required=True, help="results to write")
    add_device(parser)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], help="of matrix products (default: as the checkpoint was trained)")
    parser.add_argument(
        "--max-tokens",
        type=positive,
        help=f"tokens the model reads at once, padding included (default: {CPU_TOKENS} on a CPU, {GPU_TOKENS} on a GPU)",
    )
    args = parser.parse_args()
    check_device(args.device)
    if args.max_tokens is None:
        args.max_tokens = CPU_TOKENS if torch.device(args.device).type == "cpu" else GPU_TOKENS
    return args


@dataclasses.dataclass
class Evaluation:
    """What every checkpoint is evaluated on, and how; ``dtype`` None is the checkpoint's own."""

    data: DataDirectory
    subsets: dict[str, Examples]
    device: str
    dtype: str | None
    max_tokens: int

    def __post_init__(self) -> None:
        self.has_token_labels = self.data.has_token_labels
        self.entity_tags = self.has_token_labels and are_entity_tags(self.data.labels)
        if self.entity_tags:
            seqeval()  # raises now where it is missing
        self.head = self._head()
        self._inputs: dict[int, Inputs] = {}  # by the greatest length, of one checkpoint after another

    def inputs(self, checkpoint: Checkpoint) -> Inputs:
        """What the checkpoint reads of the subsets; the same for checkpoints of one PLM's vocabulary and greatest length."""
        longest = checkpoint.cfg.task.max_length if self.has_token_labels else 0
        if longest not in self._inputs:
            join = checkpoint.model.description.join
            self._inputs = {longest: Inputs(self.subsets, join, longest, self.has_token_labels)}
        return self._inputs[longest]

    def _head(self) -> dict[str, Any]:
        """What the results say before they come to the checkpoints."""
        described = {}
        for name, examples in self.subsets.items():
            stored = zip(self.data.sides, self.data.stored_subsets(name))
            hashes = {side: self.data.meta["subsets"][subset]["sha256"][side] for side, subset in stored}
            described[name] = {"examples": len(examples.rows[0]), "sha256": hashes}
        versions = {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "fairseq": fairseq.__version__,
            "numpy": np.__version__,
        }
        return {
            "salt_fairseq": salt_fairseq.__version__,
            "versions": versions,
            "device": self.device,
            "max_tokens": self.max_tokens,
            "data": {"path": str(self.data.path), "source_language": self.data.meta["source_language"], "subsets": described},
            "labels": self.data.labels,
            "labelled": TOKENS if self.has_token_labels else SENTENCES,
            "measure": "f1" if self.entity_tags else "accuracy",
            "targets": {name: _listed(examples.targets) for name, examples in self.subsets.items()},
        }

    def resumed(self, checkpoint: Checkpoint, resumable: Resumable) -> tuple[dict[str, Any], str]:
        """The results of a checkpoint, and how fast they were made; those that a killed run finished are not made again."""
        made_with = f"{checkpoint.sha256} {self.dtype} {compact(self.head)}"
        name, start = hashlib.sha256(made_with.encode("utf-8", "backslashreplace")).hexdigest(), time.perf_counter()
        finished = resumable.load(f"{name}.json.pt")
        if finished is not None:
            return json.loads(finished), "finished before"
        results = self._results(checkpoint, resumable, f"{name}.logits.pt")
        resumable.save(f"{name}.json.pt", compact(results))
        seconds = time.perf_counter() - start
        distinct = len(self.inputs(checkpoint).pairs)
        return (
            results,
            f"{seconds:.1f} s, {distinct / seconds:,.0f} distinct {'sentences' if self.has_token_labels else 'pairs'}/s",
        )

    def _results(self, checkpoint: Checkpoint, resumable: Resumable, name: str) -> dict[str, Any]:
        model, cfg = checkpoint.model, OmegaConf.to_container(checkpoint.cfg)
        if self.dtype is not None:
            model.cfg.autocast_bf16 = self.dtype == "bf16"
        inputs = self.inputs(checkpoint)
        batches = Batches(inputs.pairs, model.description.join, cfg["task"]["max_length"], self.max_tokens, self.device)
        scored, first = score(
            model, batches, self.device, checkpoint.path.name, resumable, name, has_token_labels=self.has_token_labels
        )
        logits = {subset: scored[first[labels.numbers] + labels.places] for subset, labels in inputs.labels.items()}
        self._check_finite(logits, inputs, checkpoint.path)
        targets = {subset: labels.targets for subset, labels in inputs.labels.items()}
        predictions = {subset: values.argmax(axis=1) for subset, values in logits.items()}
        confusion = {
            subset: scores.confusion_matrix(targets[subset], predictions[subset], scored.shape[1]) for subset in targets
        }
        listed = {subset: self._by_example(predictions[subset], inputs.labels[subset]) for subset in targets}
        return {
            "plm": model.description.name,
            "seed": cfg["common"]["seed"],
            "updates": checkpoint.updates,
            "selection": selection(checkpoint),
            "dtype": "bf16" if model.cfg.autocast_bf16 else "fp32",
            "task": cfg["task"],
            "model": {key: value for key, value in cfg["model"].items() if key != "plm_description"},
            **({"f1": {subset: self._entity_f1(subset, listed[subset]) for subset in targets}} if self.entity_tags else {}),
            "accuracy": {subset: scores.accuracy(confusion[subset]) for subset in targets},
            "macro_f1": {subset: scores.macro_f1(confusion[subset]) for subset in targets},
            "loss": {subset: round(scores.cross_entropy(logits[subset], targets[subset]), LOSS_DIGITS) for subset in targets},
            "confusion": {subset: confusion[subset].tolist() for subset in targets},
            "predictions": listed,
        }

    def _by_example(self, predictions: np.ndarray, labels: Labels) -> list:
        """The numbers of the predicted labels, in a list for each example where its tokens are labelled."""
        if not self.has_token_labels:
            return predictions.tolist()
        ends = np.searchsorted(labels.examples, np.arange(1, labels.examples[-1] + 1))
        return [part.tolist() for part in np.split(predictions, ends)]

    def _entity_f1(self, subset: str, predictions: list[list[int]]) -> float:
        names, targets = self.data.labels, self.head["targets"][subset]
        return f1(*entity_counts(*([[names[i] for i in row] for row in rows] for rows in (targets, predictions))))

    def _check_finite(self, logits: dict[str, np.ndarray], inputs: Inputs, path: Path) -> None:
        """Raise for the first example without a prediction."""
        for name, values in logits.items():
            bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
            if len(bad):
                premises, _ = self.data.stored_subsets(name)
                example = self.data.ids(premises)[self.subsets[name].rows[0][inputs.labels[name].examples[bad[0]]]]
                raise InputError(
                    f"{path} gives logits that are not finite, first for example {example} of {name}: train again "
                    "with a smaller learning rate, or try --dtype fp32"
                )


def _listed(targets: np.ndarray | TokenLabels) -> list:
    """Label numbers, in a list for each example where its tokens are labelled."""
    if not isinstance(targets, TokenLabels):
        return targets.tolist()
    return [row[row.ne(IGNORED)].tolist() for row in (targets[i] for i in range(len(targets)))]


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def evaluate_all(args: argparse.Namespace, resumable: Resumable) -> None:
    """Evaluate every checkpoint and write the results of all."""
    data = DataDirectory(args.data)
    names = selected_subsets(data, args.subsets, args.generalized)
    if args.average:
        checkpoints = [load_average(args.path, data, args.max_tokens)]
    else:
        checkpoints = load_all_fitting(args.path, data, args.max_tokens)
    evaluation = Evaluation(data, {name: data.load(name) for name in names}, args.device, args.dtype, args.max_tokens)
    examples = sum(len(subset.rows[0]) for subset in evaluation.subsets.values())
    distinct = len(evaluation.inputs(checkpoints[0]).pairs)
    print_line(f"{counted(len(names), 'subset')}, {counted(examples, 'example')}, {distinct:,} distinct")
    results = []
    while checkpoints:
        checkpoint = checkpoints.pop(0)  # so that its memory is free afterwards
        result, speed = evaluation.resumed(checkpoint, resumable)
        print_line(f"{checkpoint.path}: {summary(result, evaluation.head['measure'], data, args.generalized)} ({speed})")
        for line in details(result, data.labels):
            print_line(f"  {line}")
        for doubt in doubts(result):
            print_line(f"warning: {checkpoint.path}: {doubt}", sys.stderr)
        results.append({"path": str(checkpoint.path), "sha256": checkpoint.sha256, **result})
    write_json(args.out, {**evaluation.head, "checkpoints": results}, compact=True)
    print_line(f"wrote {args.out}: {counted(len(results), 'checkpoint')}, {counted(len(names), 'subset')}")


def main() -> None:
    args = arguments()
    check_output(args.out, args.path, begins=EARLIER)
    with resuming(args.out, {}, "evaluation") as resumable:
        evaluate_all(args, resumable)


if __name__ == "__main__":
    main()
