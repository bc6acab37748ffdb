"""Train the LM head of a PLM directory on plain text, optionally with top layers of its own; the encoder stays unchanged.

    python preprocess/train_lm_head.py plm/e5 plm/e5-head --text en.txt fr.txt es.txt de.txt --layers 3 --autocast-bf16

After an interruption, the same command resumes.
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import argparse
import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from preprocess.lm_head.head_training import UNMASKED, HeadTraining, Objective, renew
from preprocess.lm_head.masking import Masking
from preprocess.lm_head.plain_text import read
from preprocess.lm_head.resumable_training import fitted_neighbours, train
from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.cli.printable import print_line
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import Architecture
from salt_fairseq.plm import FILES, PLM, Description
from salt_fairseq.storage.files import read_json, replacing, sha256, write_json
from salt_fairseq.storage.resumable import resuming


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("plm_dir", metavar="PLM_DIR", type=Path, help="PLM directory to start from")
    add("out", metavar="OUT_DIR", type=Path, help="PLM directory to write")
    add(
        "--text",
        metavar="FILE",
        nargs="+",
        action="extend",
        required=True,
        help="one sentence per line, plain or .xz; best a file per language",
    )
    add("--sentences", metavar="N", type=int, default=20_000, help="first lines of each file to use")
    add("--max-length", metavar="TOKENS", type=int, default=64, help="longer lines are cut")
    add("--held-out", metavar="N", type=int, default=200, help="of these, lines that are not trained on")
    add("--layers", metavar="K", type=int, default=0, help="train K layers of the head's own, in place of the encoder's top K")
    add("--fresh-head", action="store_true", help="start from a new head instead of the PLM's")
    add("--steps", type=int, default=3000)
    add("--max-tokens", metavar="N", type=int, default=1024, help="tokens per step, padding included")
    add("--lr", type=float, default=2e-3, help="highest learning rate of the head; it falls linearly to 0")
    add("--layers-lr", type=float, default=3e-4, help="highest learning rate of the head's layers")
    add("--selected", metavar="FRACTION", type=float, default=0.15, help="of all tokens, to be predicted by masking")
    add("--masked", metavar="FRACTION", type=float, default=0.8, help="of the selected tokens, replaced by <mask>")
    add("--random", metavar="FRACTION", type=float, default=0.1, help="of the selected tokens, replaced by a random piece")
    add("--masked-weight", metavar="W", type=float, default=0.1, help="of the selected tokens' loss; that of all others has 1")
    add("--unmasked", choices=UNMASKED, default="neighbours", help="target at all other tokens")
    add("--temperature", type=float, default=0.1, help="of the distribution over neighbours")
    add("--neighbour-layer", metavar="K", type=int, help="layer that defines what is near (default: a third of the way up)")
    add("--seed", type=int, default=1)
    add_device(parser)
    add("--autocast-bf16", action="store_true", help="matrix products in bfloat16")
    return parser.parse_args()


def check(args: argparse.Namespace, architecture: Architecture) -> None:
    """Raise for options that are out of range, and set the default of ``--neighbour-layer``."""
    for path in args.text:
        if not os.path.isfile(path):
            raise InputError(f"{path} does not exist: give --text files, one sentence per line")
    if not 0 <= args.layers <= architecture.layers:
        raise InputError(f"--layers {args.layers}: {args.plm_dir} has {architecture.layers} layers")
    if args.neighbour_layer is None:
        args.neighbour_layer = round(architecture.layers / 3)
    if not 0 <= args.neighbour_layer <= architecture.layers:
        raise InputError(
            f"--neighbour-layer {args.neighbour_layer}: {args.plm_dir} has {architecture.layers} layers (0: the embeddings)"
        )
    if not 3 <= args.max_length <= architecture.positions:
        raise InputError(f"--max-length {args.max_length}: 3 to {architecture.positions} is possible with {args.plm_dir}")
    check_device(args.device)
    for name in ("layers_lr", "masked_weight", "seed"):
        if not 0 <= getattr(args, name) < 1 << 31:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: 0 or more is needed, less than 2^31")
    for name in ("sentences", "held_out", "steps", "max_tokens", "temperature", "lr"):
        if not 0 < getattr(args, name) < math.inf:
            raise InputError(f"--{name.replace('_', '-')} {getattr(args, name)}: more than 0 is needed")
    if args.unmasked == "nothing" and not args.selected * args.masked_weight:
        raise InputError("--unmasked nothing with --selected 0 or --masked-weight 0 trains nothing: change one of them")


def is_finished(out: Path, settings: dict) -> bool:
    """Whether ``out`` is what a training with these settings wrote."""
    if not (out / "training.json").is_file():
        return False
    record = read_json(out / "training.json", "preprocess/train_lm_head.py")
    return isinstance(record, dict) and all(name in record and record[name] == settings[name] for name in settings)


def write(args: argparse.Namespace, plm: PLM, record: dict) -> None:
    """Write the PLM directory, a copy of the source with the new LM head, and ``training.json``."""
    with replacing(args.out, marker="plm.json", inputs=[args.plm_dir, *args.text]) as directory:
        directory.mkdir()
        for name in FILES:
            if name != "model.pt":
                shutil.copyfile(args.plm_dir / name, directory / name)
        contents = torch.load(args.plm_dir / "model.pt", map_location="cpu", weights_only=True)
        for name, tensor in plm.lm_head.state_dict().items():
            contents["model"][f"lm_head.{name}"] = tensor.detach().cpu().clone()
        torch.save(contents, directory / "model.pt")
        old = plm.description
        description = replace(
            old,
            name=args.out.name,
            lm_head="trained",
            weights_dtype="float32",
            architecture=replace(old.architecture, head_layers=len(plm.lm_head.layers)),
            sha256={name: sha256(directory / name) for name in FILES},
        )
        description.save(directory)
        write_json(directory / "training.json", record)
        PLM.load(directory)


def main() -> None:
    args = arguments()
    description = Description.load(args.plm_dir)
    check(args, description.architecture)
    objective = Objective(Masking(args.selected, args.masked, args.random), args.unmasked, args.masked_weight, args.temperature)
    options = {name: value for name, value in vars(args).items() if name not in ("plm_dir", "out", "text")}
    settings = {"plm": description.sha256["model.pt"], "text": {Path(p).name: sha256(p) for p in args.text}, **options}
    if is_finished(args.out, settings):
        with resuming(args.out, settings, "training"):  # whose end removes what a run leaves that is killed at its own
            print_line(f"{args.out} is finished already, by the same command")
        return
    if args.out.exists():
        raise InputError(f"{args.out} exists: choose another output directory, or delete it")
    plm = PLM.load(args.plm_dir)
    text, held_out = read(
        args.text, plm.tokenizer, args.sentences, args.held_out, args.max_length, torch.Generator().manual_seed(args.seed)
    )
    with resuming(args.out, settings, "training") as resumable:
        torch.manual_seed(args.seed)
        if args.fresh_head:
            renew(plm.lm_head)
        plm.to(args.device)

        def autocast():
            return torch.autocast(torch.device(args.device).type, torch.bfloat16, enabled=args.autocast_bf16)

        neighbours = None
        if args.unmasked == "neighbours":
            neighbours = fitted_neighbours(plm, text, args, autocast, resumable)
        lrs = args.lr, args.layers_lr
        training = HeadTraining(plm, args.layers, objective, neighbours, lrs, args.steps, autocast)
        accuracies = {"before": training.held_out(held_out, args.max_tokens, args.seed)}
        train(training, text, args, resumable)
        accuracies["after"] = training.held_out(held_out, args.max_tokens, args.seed)
        write(args, plm, {**settings, "source": description.source, "held_out_accuracy": accuracies})
    for when, accuracy_of in accuracies.items():
        print_line(
            f"held-out accuracy {when}: {', '.join(f'{name} {100 * value:.1f}%' for name, value in accuracy_of.items())}"
        )
    tokens = sum(map(len, text.sentences))
    print_line(
        f"wrote {args.out}: LM head{f' with {args.layers} layers' * (args.layers > 0)} for {description.name}, trained "
        f"{args.steps:,} steps on {len(text):,} sentences ({tokens:,} tokens)"
    )


if __name__ == "__main__":
    main()
