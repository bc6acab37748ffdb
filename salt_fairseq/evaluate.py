"""Evaluate fine-tuned checkpoints: accuracy and predictions on any subsets, and in the generalized setting.

python -m salt_fairseq.evaluate data/xnli --path checkpoints/checkpoint_best.pt --subsets 'test.*' --out results.json
python -m salt_fairseq.evaluate data/xnli --path salt.1.pt salt.2.pt --generalized test --out matrix.json
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import argparse
import hashlib
import json
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fairseq
import numpy as np
import torch
from omegaconf import OmegaConf
from tqdm import tqdm

import salt_fairseq
from salt_fairseq.checkpoints import Checkpoint, load_checkpoint
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.data.directory import DataDirectory, Examples
from salt_fairseq.data.distinct_pairs import Batches, DistinctPairs
from salt_fairseq.data.selection import generalized_subsets, selected_subsets, subset_by_language
from salt_fairseq.errors import InputError
from salt_fairseq.models.salt_encoder import SaltEncoder
from salt_fairseq.storage.files import check_output, write_json
from salt_fairseq.storage.resumable import Resumable, resuming

CPU_TOKENS, GPU_TOKENS = 2048, 32768
UNSCORED, NOT_FINITE = -1, -2
EARLIER = rb'\{"salt_fairseq":'  # how a file of results begins


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


def load_fitting(path: Path, data: DataDirectory, max_tokens: int) -> Checkpoint:
    """The :class:`Checkpoint` of a file, after checking that it was trained for such data."""
    checkpoint = load_checkpoint(path)
    data.check_vocabulary(checkpoint.model.description, path)
    labels = checkpoint.task.get("labels")
    if checkpoint.classes != len(data.labels) or labels not in (None, data.labels):
        raise InputError(
            f"{path} tells {', '.join(labels) if labels else f'{checkpoint.classes} labels'} apart, but "
            f"{data.path} has {', '.join(data.labels)}: binarize its data with the labels of the training data, "
            "in their order"
        )
    if checkpoint.task.get("pairs", data.is_pairs) != data.is_pairs:
        raise InputError(f"one of {path} and {data.path} is for sentence pairs and the other for single sentences")
    if max_tokens < checkpoint.cfg.task.max_length:
        raise InputError(f"--max-tokens {max_tokens} is less than the --max-length {checkpoint.cfg.task.max_length} of {path}")
    return checkpoint


def load_all_fitting(paths: list[Path], data: DataDirectory, max_tokens: int) -> list[Checkpoint]:
    """All checkpoints, before any of them is used; their files are mapped, so they take no memory yet."""
    resolved = [path.resolve() for path in paths]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise InputError(f"--path names {path} twice")
    return [load_fitting(path, data, max_tokens) for path in paths]


@torch.no_grad()  # under inference_mode, autocast would cast the weights anew for each batch
def score(model: SaltEncoder, batches: Batches, device: str, description: str, resumable: Resumable, name: str) -> np.ndarray:
    """int64 (pairs,): the label that the model gives each distinct pair; ``NOT_FINITE`` where it gives none.

    ``resumable`` keeps under ``name`` what is scored so far; pairs that a killed run has scored are not scored again.
    """
    model.to(device)
    before = resumable.load(name)
    before = torch.empty(0, dtype=torch.int64) if before is None else before
    scored = torch.full((len(batches.order),), UNSCORED, device=device)
    scored[: len(before)] = before.to(device)
    # Inside this context, the model's own one keeps the weights that it casts to bf16 from batch to batch.
    autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=model.cfg.autocast_bf16)
    progress = tqdm(total=batches.padded_tokens, desc=description, unit=" tokens", unit_scale=True, leave=False)
    seen = 0  # progress.n stays 0 where progress bars are turned off (TQDM_DISABLE=1)
    with autocast, progress:
        for start, stop, tokens in batches:
            progress.update(tokens.numel())
            seen += tokens.numel()
            if stop <= len(before):
                continue
            logits, _ = model(tokens)
            finite = torch.isfinite(logits).all(1)
            scored[start:stop] = torch.where(finite, logits.argmax(1), NOT_FINITE)
            if resumable.due():
                resumable.save(name, scored[:stop].cpu())
    predictions = np.full(len(scored), UNSCORED)
    predictions[batches.order] = scored.cpu().numpy()
    if (predictions == UNSCORED).any() or seen != batches.padded_tokens:
        raise RuntimeError("not every example was scored exactly once")
    return predictions


@dataclass
class Evaluation:
    """What every checkpoint is evaluated on, and how; ``dtype`` None is the checkpoint's own."""

    data: DataDirectory
    subsets: dict[str, Examples]
    device: str
    dtype: str | None
    max_tokens: int

    def __post_init__(self) -> None:
        self.pairs = DistinctPairs(self.subsets)
        self.head = self._head()

    def _head(self) -> dict[str, Any]:
        """What the results say before they come to the checkpoints."""
        described = {}
        for name, examples in self.subsets.items():
            stored = zip(self.data.sides, self.data.stored_subsets(name))
            hashes = {side: self.data.meta["subsets"][subset]["sha256"][side] for side, subset in stored}
            described[name] = {"examples": len(examples.targets), "sha256": hashes}
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
            "targets": {name: examples.targets.tolist() for name, examples in self.subsets.items()},
        }

    def resumed(self, checkpoint: Checkpoint, resumable: Resumable) -> tuple[dict[str, Any], str]:
        """The results of a checkpoint, and how fast they were made; those that a killed run finished are not made again."""
        made_with = f"{checkpoint.sha256} {self.dtype} {compact(self.head)}"
        name, start = hashlib.sha256(made_with.encode("utf-8", "backslashreplace")).hexdigest(), time.perf_counter()
        finished = resumable.load(f"{name}.json.pt")
        if finished is not None:
            return json.loads(finished), "finished before"
        results = self._results(checkpoint, resumable, f"{name}.pt")
        resumable.save(f"{name}.json.pt", compact(results))
        seconds = time.perf_counter() - start
        return results, f"{seconds:.1f} s, {len(self.pairs) / seconds:,.0f} distinct pairs/s"

    def _results(self, checkpoint: Checkpoint, resumable: Resumable, name: str) -> dict[str, Any]:
        model, cfg = checkpoint.model, OmegaConf.to_container(checkpoint.cfg)
        if self.dtype is not None:
            model.cfg.autocast_bf16 = self.dtype == "bf16"
        batches = Batches(self.pairs, model.description.join, cfg["task"]["max_length"], self.max_tokens, self.device)
        scored = score(model, batches, self.device, checkpoint.path.name, resumable, name)
        predictions = {subset: scored[numbers] for subset, numbers in self.pairs.number.items()}
        self._check_finite(predictions, checkpoint.path)
        targets = {subset: examples.targets for subset, examples in self.subsets.items()}
        return {
            "plm": model.description.name,
            "seed": cfg["common"]["seed"],
            "updates": checkpoint.updates,
            "dtype": "bf16" if model.cfg.autocast_bf16 else "fp32",
            "task": cfg["task"],
            "model": {key: value for key, value in cfg["model"].items() if key != "plm_description"},
            "accuracy": {subset: 100 * float((predictions[subset] == targets[subset]).mean()) for subset in targets},
            "predictions": {subset: predictions[subset].tolist() for subset in targets},
        }

    def _check_finite(self, predictions: dict[str, np.ndarray], path: Path) -> None:
        """Raise for the first example without a prediction."""
        for name, labels in predictions.items():
            bad = np.flatnonzero(labels == NOT_FINITE)
            if len(bad):
                premises, _ = self.data.stored_subsets(name)
                example = self.data.ids(premises)[self.subsets[name].rows[0][bad[0]]]
                raise InputError(
                    f"{path} gives logits that are not finite, first for example {example} of {name}: train again "
                    "with a smaller learning rate, or try --dtype fp32"
                )


def summary(accuracy: dict[str, float], data: DataDirectory, generalized: str | None) -> str:
    """The averages over all languages of a split, in words; else each accuracy."""
    source, parts = data.meta["source_language"], []
    for split in ("valid", "test"):
        names = subset_by_language(data, split)
        scored = {language: accuracy[name] for language, name in names.items() if name in accuracy}
        others = [value for language, value in scored.items() if language != source]
        if others and len(scored) == len(names):  # an average over only a part of the languages would mislead
            with_source = f", with {source} {statistics.fmean(scored.values()):.2f}" if source in scored else ""
            parts.append(f"{split} avg. without {source} {statistics.fmean(others):.2f}{with_source}")
    if generalized:
        cells = [accuracy[name] for name in generalized_subsets(data, generalized)]
        parts.append(f"{len(cells)} pairs of languages {statistics.fmean(cells):.2f}")
    return "; ".join(parts or [f"{name} {value:.2f}" for name, value in accuracy.items()])


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def evaluate_all(args: argparse.Namespace, resumable: Resumable) -> None:
    """Evaluate every checkpoint and write the results of all."""
    data = DataDirectory(args.data)
    names = selected_subsets(data, args.subsets, args.generalized)
    checkpoints = load_all_fitting(args.path, data, args.max_tokens)
    evaluation = Evaluation(data, {name: data.load(name) for name in names}, args.device, args.dtype, args.max_tokens)
    examples = sum(map(len, evaluation.pairs.number.values()))
    print(f"{len(names):,} subsets, {examples:,} examples, {len(evaluation.pairs):,} distinct", flush=True)
    results = []
    while checkpoints:
        checkpoint = checkpoints.pop(0)  # so that its memory is free afterwards
        result, speed = evaluation.resumed(checkpoint, resumable)
        print(f"{checkpoint.path}: {summary(result['accuracy'], data, args.generalized)} ({speed})", flush=True)
        results.append({"path": str(checkpoint.path), "sha256": checkpoint.sha256, **result})
    write_json(args.out, {**evaluation.head, "checkpoints": results}, compact=True)
    print(f"wrote {args.out}: {len(results):,} checkpoints, {len(names):,} subsets")


def main() -> None:
    args = arguments()
    check_output(args.out, args.path, begins=EARLIER)
    with resuming(args.out, {}, "evaluation") as resumable:
        evaluate_all(args, resumable)


if __name__ == "__main__":
    main()
