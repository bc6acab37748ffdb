"""Evaluate fine-tuned checkpoints: accuracy and predictions on any subsets, and in the generalized setting.

    python -m salt_fairseq.evaluate data/xnli --path checkpoints/*/checkpoint_best.pt --out results.json
    python -m salt_fairseq.evaluate data/xnli --path salt.pt --generalized test --out matrix.json
"""

import argparse
import fnmatch
import hashlib
import json
import platform
import shutil
import statistics
import time
from pathlib import Path

import fairseq
import numpy as np
import torch
from fairseq.models import MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY, setup_task
from omegaconf import OmegaConf
from tqdm import tqdm

import salt_fairseq
from salt_fairseq.data_directory import DataDirectory
from salt_fairseq.distinct_pairs import Batches, DistinctPairs
from salt_fairseq.errors import InputError
from salt_fairseq.files import replacing, sha256
from salt_fairseq.models.salt_encoder import SaltEncoder
from salt_fairseq.plm import Description
from salt_fairseq.tasks.salt_sentence_pair import SaltSentencePairTask

MAX_TOKENS = {"cpu": 2048, "cuda": 32768}
UNSCORED, NOT_FINITE = -1, -2


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory")
    parser.add_argument("--path", metavar="CHECKPOINT", nargs="+", type=Path, required=True, help="fine-tuned checkpoints")
    parser.add_argument("--subsets", default="test.*", help="names and globs, separated by commas; test.en-de: premises of "
                        "test.en, hypotheses of test.de")
    parser.add_argument("--generalized", metavar="SPLIT", help="also every premise language x every hypothesis language "
                        "of a split (test)")
    parser.add_argument("--out", metavar="FILE.json", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], help="of matrix products (default: as each checkpoint was "
                        "trained)")
    parser.add_argument("--max-tokens", type=int, help="tokens scored at once, padding included (default: "
                        f"{MAX_TOKENS['cpu']} on a CPU, {MAX_TOKENS['cuda']} on a GPU)")
    return parser.parse_args()


def languages(data, split):
    """The languages that a split has a subset of, source language first."""
    found = [name.partition(".")[2] for name in data.meta["subsets"] if name.startswith(f"{split}.")]
    source = data.meta["source_language"]
    return sorted(found, key=lambda language: language != source)


def subset_names(data, patterns, generalized=None):
    """The distinct subsets that names and globs stand for, in the order of the patterns, then those of a matrix."""
    known, names = list(data.meta["subsets"]), []
    for pattern in patterns.split(","):
        split, _, language = pattern.partition(".")
        first, _, second = language.partition("-")
        if any(c in pattern for c in "*?["):
            found = fnmatch.filter(known, pattern)
            if not found:
                raise InputError(f"--subsets {pattern} matches no subset of {data.path}, which has {', '.join(known)}")
            names += found
        else:
            names.append(f"{split}.{first}" if first == second else pattern)
    if generalized is not None:
        of_split = languages(data, generalized)
        if len(of_split) < 2 or not data.is_pairs:
            raise InputError(f"--generalized {generalized}: {data.path} needs sentence pairs in two languages or more, "
                             f"it has {', '.join(known)}")
        names += [f"{generalized}.{a}" if a == b else f"{generalized}.{a}-{b}" for a in of_split for b in of_split]
    return list(dict.fromkeys(names))


def identity(data, name, examples):
    """What says which examples a subset is: their number, and the hash of each side's file."""
    split, _, language = name.partition(".")
    first, _, second = language.partition("-")
    places = [f"{split}.{first}", f"{split}.{second}"] if second else [name, name]
    hashes = {side: data.meta["subsets"][place]["sha256"][side]
              for side, place in zip(("input0", "input1"), places) if side in data.meta["subsets"][place]["sha256"]}
    return {"examples": examples, "sha256": hashes}


def read_checkpoint(path):
    """The state of a checkpoint, tensors mapped rather than read, without running code from it."""
    if not path.exists():
        raise InputError(f"{path} does not exist: name a checkpoint that fairseq-train wrote")
    if path.is_dir():
        raise InputError(f"{path} is a directory: name a checkpoint in it, such as {path / 'checkpoint_best.pt'}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # pickle, zip and torch each have their own, and any may come from a damaged file
        reason = str(error).strip().split("\n")[0]
        raise InputError(f"{path} cannot be read as a checkpoint ({reason})") from None
    try:
        task, model = state["cfg"]["task"]["_name"], state["cfg"]["model"]["_name"]
    except (TypeError, KeyError):
        raise InputError(f"{path} is not a checkpoint that fairseq-train wrote") from None
    if TASK_REGISTRY.get(task) is not SaltSentencePairTask or MODEL_REGISTRY.get(model) is not SaltEncoder:
        raise InputError(f"{path} was trained with --task {task} --arch {model}, not with --task salt_sentence_pair "
                         "--arch salt_encoder")
    return state


def load_model(path, data, dtype=None):
    """``(model in evaluation mode, state)`` of a checkpoint that fits the data; the PLM directory is not needed."""
    state = read_checkpoint(path)
    cfg = OmegaConf.create(state["cfg"])
    cfg.task.data = str(data.path)
    data.check_vocabulary(Description.from_json(cfg.model.plm_description, path), path)
    classes = len(state["model"]["classifier.weight"])
    if classes != len(data.labels):
        raise InputError(f"{path} tells {classes} labels apart, but {data.path} has {len(data.labels)} "
                         f"({', '.join(data.labels)})")
    if dtype is not None:
        cfg.model.autocast_bf16 = dtype == "bf16"
    model = setup_task(cfg.task, from_checkpoint=True).build_model(cfg.model, from_checkpoint=True)
    model.load_state_dict(state["model"])
    return model.eval(), state


@torch.inference_mode()
def score(model, batches, device, description):
    """int64 (pairs,): the label that the model gives each distinct pair; ``NOT_FINITE`` where it gives none."""
    model.to(device)
    scored = torch.full((len(batches.order),), UNSCORED, device=device)
    bf16 = model.cfg.autocast_bf16
    # This context around the model's own keeps the weights that were cast to bf16 from batch to batch.
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bf16), tqdm(
        total=batches.padded_tokens, desc=description, unit=" tokens", unit_scale=True, leave=False
    ) as progress:
        for start, stop, tokens in batches:
            logits, _ = model(tokens)
            finite = torch.isfinite(logits).all(1)
            scored[start:stop] = torch.where(finite, logits.argmax(1), NOT_FINITE)
            progress.update(tokens.numel())
    predictions = np.full(len(scored), UNSCORED)
    predictions[batches.order] = scored.cpu().numpy()
    if (predictions == UNSCORED).any() or progress.n != batches.padded_tokens:
        raise RuntimeError("some examples were not scored exactly once")
    return predictions


def check_finite(predictions, pairs, path, data, subsets):
    """Raise for the first example without a prediction."""
    for name in subsets:
        bad = np.flatnonzero(predictions[pairs.number[name]] == NOT_FINITE)
        if len(bad):
            split, _, language = name.partition(".")
            premises = f"{split}.{language.partition('-')[0]}" if language else name
            example = data.ids(premises)[subsets[name][1][0][bad[0]]]
            raise InputError(f"{path} gives logits that are not finite, first for example {example} of {name}: its "
                             "training diverged, or --dtype fp32 is needed")


def evaluate(path, data, subsets, pairs, device, dtype, max_tokens):
    """What the results say of one checkpoint, as a dict without its path."""
    model, state = load_model(path, data, dtype)
    max_length = state["cfg"]["task"]["max_length"]
    if max_tokens < max_length:
        raise InputError(f"--max-tokens {max_tokens} is less than the {max_length} tokens of --max-length in {path}")
    batches = Batches(pairs, model.description.join, max_length, max_tokens, device)
    predictions = score(model, batches, device, path.name)
    check_finite(predictions, pairs, path, data, subsets)
    by_subset = {name: predictions[pairs.number[name]] for name in subsets}
    return {
        "plm": model.description.name,
        "seed": state["cfg"]["common"]["seed"],
        "updates": state["optimizer_history"][-1]["num_updates"],
        "dtype": "bf16" if model.cfg.autocast_bf16 else "fp32",
        "task": dict(state["cfg"]["task"]),
        "model": {key: value for key, value in state["cfg"]["model"].items() if key != "plm_description"},
        "accuracy": {name: 100 * float((by_subset[name] == subsets[name][2]).mean()) for name in subsets},
        "predictions": {name: by_subset[name].tolist() for name in subsets},
    }


def summary(accuracy, data, generalized):
    """The averages that the accuracies of a checkpoint have, for people."""
    source, parts = data.meta["source_language"], []
    for split in ("valid", "test"):
        plain = {language: accuracy[f"{split}.{language}"] for language in languages(data, split)
                 if f"{split}.{language}" in accuracy}
        others = [value for language, value in plain.items() if language != source]
        if others:
            parts.append(f"{split} avg. without {source} {statistics.fmean(others):.2f}")
        if others and source in plain:
            parts.append(f"with {source} {statistics.fmean(plain.values()):.2f}")
        if split == generalized:
            cells = [accuracy[name] for name in subset_names(data, f"{split}.*", split)]
            parts.append(f"all {len(cells)} pairs of languages {statistics.fmean(cells):.2f}")
    return ", ".join(parts or (f"{name} {value:.2f}" for name, value in accuracy.items()))


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main():
    args = arguments()
    data = DataDirectory(args.data)
    resolved = [path.resolve() for path in args.path]
    for path in args.path:
        if resolved.count(path.resolve()) > 1:
            raise InputError(f"--path names {path} twice")
        read_checkpoint(path)  # all mistakes before any work
    if args.out.is_dir():
        raise InputError(f"--out {args.out} is a directory: name a file")
    subsets = {name: data.load(name) for name in subset_names(data, args.subsets, args.generalized)}
    pairs = DistinctPairs(subsets)
    examples = sum(len(targets) for _, _, targets in subsets.values())
    max_tokens = args.max_tokens or MAX_TOKENS[torch.device(args.device).type]
    head = {
        "salt_fairseq": salt_fairseq.__version__,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "fairseq": fairseq.__version__,
                     "numpy": np.__version__},
        "device": args.device,
        "max_tokens": max_tokens,
        "data": {"path": str(args.data), "source_language": data.meta["source_language"],
                 "subsets": {name: identity(data, name, len(targets)) for name, (_, _, targets) in subsets.items()}},
        "labels": data.labels,
        "targets": {name: targets.tolist() for name, (_, _, targets) in subsets.items()},
    }
    head_text = compact(head)
    partial = args.out.resolve().with_name(f".{args.out.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {args.out}: {error.strerror}; choose another --out") from None
    print(f"{len(subsets):,} subsets, {examples:,} examples, {len(pairs):,} of them distinct", flush=True)
    records = []
    for path in args.path:
        digest = sha256(path)
        key = hashlib.sha256(f"{digest} {args.dtype} {head_text}".encode()).hexdigest()
        records.append((path, digest, partial / f"{key}.json"))
        speed = "finished before"
        if not records[-1][2].exists():
            start = time.perf_counter()
            found = evaluate(path, data, subsets, pairs, args.device, args.dtype, max_tokens)
            with replacing(records[-1][2]) as temporary:
                temporary.write_text(compact(found), encoding="utf-8")
            seconds = time.perf_counter() - start
            speed = f"{seconds:.1f} s, {len(pairs) / seconds:,.0f} distinct pairs/s"
        else:
            found = json.loads(records[-1][2].read_text(encoding="utf-8"))
        print(f"{path}: {summary(found['accuracy'], data, args.generalized)} ({speed})", flush=True)
    with replacing(args.out) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(head_text[:-1] + ',"checkpoints":[')
        for i, (path, digest, record) in enumerate(records):
            first = compact({"path": str(path), "sha256": digest})
            file.write(("," if i else "") + "\n" + first[:-1] + "," + record.read_text(encoding="utf-8")[1:])
        file.write("\n]}\n")
    shutil.rmtree(partial)
    print(f"wrote {args.out}: {len(records):,} checkpoints, {len(subsets):,} subsets")


if __name__ == "__main__":
    main()
