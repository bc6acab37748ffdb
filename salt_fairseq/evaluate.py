"""Evaluate fine-tuned checkpoints: accuracy and predictions on any subsets, and in the generalized setting.

python -m salt_fairseq.evaluate data/xnli --path checkpoints/checkpoint_best.pt --subsets 'test.*' --out results.json
python -m salt_fairseq.evaluate data/xnli --path salt.1.pt salt.2.pt --generalized test --out matrix.json
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import fnmatch
import hashlib
import json
import platform
import statistics
import time
from pathlib import Path

import fairseq
import numpy as np
import torch
from omegaconf import OmegaConf
from tqdm import tqdm

import salt_fairseq
from salt_fairseq.checkpoints import load_checkpoint
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.data.directory import INPUTS, DataDirectory
from salt_fairseq.data.distinct_pairs import Batches, DistinctPairs
from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import replacing
from salt_fairseq.storage.resumable import resuming

CPU_TOKENS, GPU_TOKENS = 2048, 32768
UNSCORED, NOT_FINITE = -1, -2


def arguments():
    parser = command_parser(__doc__)
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory")
    parser.add_argument(
        "--path",
        metavar="CKPT",
        nargs="+",
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
    parser.add_argument("--out", metavar="FILE.json", type=Path, required=True)
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


def plain_subsets(data, split):
    """Language to the name of its subset, source language first; a split without a language is in the source language."""
    source, found = data.meta["source_language"], {}
    for name in data.meta["subsets"]:
        of_split, _, language = name.partition(".")
        if of_split == split and (language or source) not in found:
            found[language or source] = name
    return dict(sorted(found.items(), key=lambda item: item[0] != source))


def matrix(data, split):
    """The subsets of the generalized setting, row by row; its diagonal are the plain subsets."""
    plain = plain_subsets(data, split)
    if len(plain) < 2 or not data.is_pairs:
        raise InputError(
            f"--generalized {split}: sentence pairs of this split in two languages or more are needed, but "
            f"{data.path} has {', '.join(data.meta['subsets'])}"
        )
    return [plain[a] if a == b else f"{split}.{a}-{b}" for a in plain for b in plain]


def subset_names(data, patterns, generalized):
    """The distinct subsets that names and globs stand for, in their order, then those of the generalized setting."""
    known, names = list(data.meta["subsets"]), []
    for pattern in patterns.split(","):
        found = fnmatch.filter(known, pattern) if any(c in pattern for c in "*?[") else [pattern]
        if not found:
            raise InputError(f"--subsets {pattern} matches no subset of {data.path}, which has {', '.join(known)}")
        for name in found:
            premises, hypotheses = data.parts(name)
            names.append(premises if premises == hypotheses else name)
    return list(dict.fromkeys(names + ([] if generalized is None else matrix(data, generalized))))


def load_fitting(path, data, max_tokens):
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


@torch.no_grad()  # under inference_mode, autocast would cast the weights anew for each batch
def score(model, batches, device, description, resumable, name):
    """int64 (pairs,): the label that the model gives each distinct pair; ``NOT_FINITE`` where it gives none.

    The first pairs may be those that a killed run has scored: ``resumable`` keeps them under ``name``.
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


def check_finite(predictions, path, data, subsets):
    """Raise for the first example without a prediction."""
    for name, found in predictions.items():
        bad = np.flatnonzero(found == NOT_FINITE)
        if len(bad):
            example = data.ids(data.parts(name)[0])[subsets[name][1][0][bad[0]]]
            raise InputError(
                f"{path} gives logits that are not finite, first for example {example} of {name}: train again "
                "with a smaller learning rate, or try --dtype fp32"
            )


def evaluate(checkpoint, data, subsets, pairs, args, resumable, name):
    """What the results say of one checkpoint beside its path and hash; ``resumable`` keeps its state under ``name``."""
    model, cfg = checkpoint.model, OmegaConf.to_container(checkpoint.cfg)
    if args.dtype is not None:
        model.cfg.autocast_bf16 = args.dtype == "bf16"
    batches = Batches(pairs, model.description.join, cfg["task"]["max_length"], args.max_tokens, args.device)
    scored = score(model, batches, args.device, checkpoint.path.name, resumable, f"{name}.pt")
    predictions = {name: scored[pairs.number[name]] for name in subsets}
    check_finite(predictions, checkpoint.path, data, subsets)
    return {
        "plm": model.description.name,
        "seed": cfg["common"]["seed"],
        "updates": checkpoint.updates,
        "dtype": "bf16" if model.cfg.autocast_bf16 else "fp32",
        "task": cfg["task"],
        "model": {key: value for key, value in cfg["model"].items() if key != "plm_description"},
        "accuracy": {name: 100 * float((predictions[name] == subsets[name][2]).mean()) for name in subsets},
        "predictions": {name: predictions[name].tolist() for name in subsets},
    }


def summary(accuracy, data, generalized):
    """The averages over all languages of a split, in words; else each accuracy."""
    source, parts = data.meta["source_language"], []
    for split in ("valid", "test"):
        scored = {language: accuracy[name] for language, name in plain_subsets(data, split).items() if name in accuracy}
        others = [value for language, value in scored.items() if language != source]
        if others and len(scored) == len(plain_subsets(data, split)):  # an average of some of them would mislead
            with_source = f", with {source} {statistics.fmean(scored.values()):.2f}" if source in scored else ""
            parts.append(f"{split} avg. without {source} {statistics.fmean(others):.2f}{with_source}")
    if generalized:
        cells = [accuracy[name] for name in matrix(data, generalized)]
        parts.append(f"{len(cells)} pairs of languages {statistics.fmean(cells):.2f}")
    return "; ".join(parts or [f"{name} {value:.2f}" for name, value in accuracy.items()])


def header(data, subsets, args):
    """What the results say before they come to the checkpoints."""
    described = {}
    for name, (_, _, targets) in subsets.items():
        hashes = {
            side: data.meta["subsets"][part]["sha256"][side]
            for side, part in zip(INPUTS if data.is_pairs else INPUTS[:1], data.parts(name))
        }
        described[name] = {"examples": len(targets), "sha256": hashes}
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fairseq": fairseq.__version__,
        "numpy": np.__version__,
    }
    return {
        "salt_fairseq": salt_fairseq.__version__,
        "versions": versions,
        "device": args.device,
        "max_tokens": args.max_tokens,
        "data": {"path": str(args.data), "source_language": data.meta["source_language"], "subsets": described},
        "labels": data.labels,
        "targets": {name: targets.tolist() for name, (_, _, targets) in subsets.items()},
    }


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def joined(*objects):
    """One JSON object of the members of several, in order."""
    return "{" + ",".join(text[1:-1] for text in objects) + "}"


def main():
    args = arguments()
    if args.out.is_dir():
        raise InputError(f"--out {args.out} is a directory: name a file")
    with resuming(args.out, {}, "evaluation") as resumable:
        evaluate_all(args, resumable)


def evaluate_all(args, resumable):
    """Evaluate each checkpoint that a killed run has not, and write the results of all."""
    data = DataDirectory(args.data)
    resolved = [path.resolve() for path in args.path]
    twice = [path for path in args.path if resolved.count(path.resolve()) > 1]
    if twice:
        raise InputError(f"--path names {twice[0]} twice")
    names = subset_names(data, args.subsets, args.generalized)
    checkpoints = [load_fitting(path, data, args.max_tokens) for path in args.path]  # mapped files: no memory yet
    subsets = {name: data.load(name) for name in names}
    pairs = DistinctPairs(subsets)
    head = compact(header(data, subsets, args))
    records = []
    print(f"{len(subsets):,} subsets, {sum(map(len, pairs.number.values())):,} examples, {len(pairs):,} distinct", flush=True)
    while checkpoints:
        checkpoint = checkpoints.pop(0)  # so that its memory is free afterwards
        made_with = hashlib.sha256(f"{checkpoint.sha256} {args.dtype} {head}".encode()).hexdigest()
        record, start, speed = f"{made_with}.json.pt", time.perf_counter(), "finished before"
        found = resumable.load(record)
        if found is None:
            found = compact(evaluate(checkpoint, data, subsets, pairs, args, resumable, made_with))
            resumable.save(record, found)
            seconds = time.perf_counter() - start
            speed = f"{seconds:.1f} s, {len(pairs) / seconds:,.0f} distinct pairs/s"
        print(f"{checkpoint.path}: {summary(json.loads(found)['accuracy'], data, args.generalized)} ({speed})", flush=True)
        records.append((compact({"path": str(checkpoint.path), "sha256": checkpoint.sha256}), record))
    with replacing(args.out) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(f'{head[:-1]},"checkpoints":[\n')
        for i, (identity, record) in enumerate(records):
            file.write((",\n" if i else "") + joined(identity, resumable.load(record)))
        file.write("\n]}\n")
    print(f"wrote {args.out}: {len(records):,} checkpoints, {len(subsets):,} subsets")


if __name__ == "__main__":
    main()
