"""Average fine-tuned checkpoints of a run, or of several runs, into one that every other command takes.

python -m salt_fairseq.average checkpoints/salt/checkpoint_1_*.pt --out salt.average.pt

Averaged checkpoints transfer more steadily to other languages, without a choice of the best one on target languages (Schmidt
et al., 2023, arXiv:2305.16834). Runs should share the classifier that they began with (arXiv:2310.10532): dimensions of
separately initialized ones do not correspond.

python -m salt_fairseq.average --ema checkpoints/salt/checkpoint_last.pt --out salt.ema.pt

takes the moving average of the parameters that ``fairseq-train --store-ema`` kept while it trained.
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from salt_fairseq.checkpoint_file import read_checkpoint_file
from salt_fairseq.checkpoints import load_checkpoint
from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.cli.printable import print_line
from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import replacing, sha256

KEPT = ("args", "cfg", "criterion", "optimizer_history", "task_state")  # of the first checkpoint
ALIKE = {
    "task": ("cfg", "task", "_name"),
    "labels": ("task_state", "labels"),
    "PLM": ("cfg", "model", "plm_description"),
    "pooling": ("cfg", "model", "pooling"),
}


def average(paths: Sequence[Path], moving: bool = False) -> dict[str, Any]:
    """A checkpoint whose parameters are the means of those in all ``paths``, in fp32: mean += (parameter - mean) / k for the
    k-th. All else is the first one's, without the state of an optimizer; ``averaged`` lists the SHA-256 of the files. With
    ``moving``, the parameters are the moving averages in the files, of one or several.

    One file after another is read, so the memory holds one model and a part of another. Raises :class:`InputError` where
    fewer than two files are given, one is given twice, two differ in labels, PLM, pooling or the shapes of their weights, or a
    moving average is missing.
    """
    digests = [sha256(path) for path in paths]
    if len(set(digests)) < max(1 if moving else 2, len(paths)):
        raise InputError("averaging takes at least two checkpoints, and each of them once: name others")
    first = read_checkpoint_file(paths[0])
    mean = {name: tensor.float().clone() for name, tensor in _parameters(first, paths[0], moving).items()}
    for count, path in enumerate(paths[1:], 2):
        saved = read_checkpoint_file(path)
        for what, keys in ALIKE.items():
            if _value(saved, keys) != _value(first, keys):
                raise InputError(f"{path} and {paths[0]} differ in their {what}: only checkpoints of one model can be averaged")
        parameters = _parameters(saved, path, moving)
        shapes = {name: tensor.shape for name, tensor in parameters.items()}
        if shapes != {name: tensor.shape for name, tensor in mean.items()}:
            raise InputError(f"{path} and {paths[0]} differ in their weights: only checkpoints of one model can be averaged")
        for name, tensor in parameters.items():
            mean[name] += (tensor.float() - mean[name]) / count
    return {**{key: first[key] for key in KEPT if key in first}, "extra_state": {}, "model": mean, "averaged": digests}


def _parameters(saved: dict[str, Any], path: Path, moving: bool) -> dict[str, torch.Tensor]:
    if not moving:
        return saved["model"]
    state = saved["extra_state"].get("ema_fp32_params") or saved["extra_state"].get("ema")  # as fairseq's trainer names them
    if not state:
        raise InputError(f"{path} holds no moving average: train with --store-ema and --ema-decay 0.99 (of some 100 updates)")
    shapes = {name: tensor.shape for name, tensor in saved["model"].items()}
    if {name: getattr(tensor, "shape", None) for name, tensor in state.items()} != shapes:
        raise InputError(f"{path}: its moving average does not fit its weights: train it again")
    return state


def _value(saved: dict[str, Any], keys: Sequence[str]) -> Any:
    value: Any = saved
    for key in keys:
        value = (value or {}).get(key)
    return value


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument("paths", metavar="CKPT", nargs="+", type=Path, help="checkpoints that fairseq-train wrote")
    parser.add_argument(
        "--ema", action="store_true", help="take the moving averages that --store-ema kept, of one checkpoint or several"
    )
    parser.add_argument("--out", metavar="FILE.pt", type=Path, required=True, help="the checkpoint to write")
    args = parser.parse_args()
    for path in args.paths:
        load_checkpoint(path)  # its weights are finite and fit its configuration
    averaged = average(args.paths, args.ema)
    if not all(tensor.isfinite().all() for tensor in averaged["model"].values()):
        raise InputError("the average is not finite: a training has diverged, name other checkpoints")
    if args.out.is_file() and "averaged" not in read_checkpoint_file(args.out):
        raise InputError(f"{args.out} is not an earlier output of this command: choose another path, or delete it")
    with replacing(args.out, inputs=args.paths) as temporary:
        torch.save(averaged, temporary)
    moving = "moving averages" if args.ema else "average"
    print_line(f"wrote {args.out}: the {moving} of {', '.join(path.name for path in args.paths)}")


if __name__ == "__main__":
    main()
