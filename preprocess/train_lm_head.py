"""Train the LM head of a PLM directory on plain text, with top layers of its own if wanted; the encoder stays as it is.

    python preprocess/train_lm_head.py plm/e5 plm/e5-head --text en.txt fr.txt es.txt de.txt --layers 3 --autocast-bf16

Interrupted, the same command goes on where it was.
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from preprocess.lm_head.contextual_neighbours import ContextualNeighbours
from preprocess.lm_head.head_training import UNMASKED, HeadTraining, renew
from preprocess.lm_head.masking import Masking
from preprocess.lm_head.plain_text import read
from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.errors import InputError
from salt_fairseq.plm import FILES, PLM, Description
from salt_fairseq.storage.files import replacing, sha256, write_json
from salt_fairseq.storage.resumable import resuming


def arguments():
    parser = command_parser(__doc__)
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path)
    parser.add_argument("out", metavar="OUT_DIR", type=Path, help="PLM directory to write")
    parser.add_argument(
        "--text", metavar="FILE", nargs="+", required=True, help="one sentence a line, .xz too; best a file for each language"
    )
    parser.add_argument("--sentences", metavar="N", type=int, default=20_000, help="first lines of each file to use")
    parser.add_argument("--max-length", metavar="TOKENS", type=int, default=64, help="longer lines are cut")
    parser.add_argument("--held-out", metavar="N", type=int, default=200, help="of these, lines that train nothing")
    parser.add_argument(
        "--layers",
        metavar="K",
        type=int,
        default=0,
        help="give the head K layers of its own in the place of the encoder's top K, and train them, too",
    )
    parser.add_argument("--fresh-head", action="store_true", help="do not begin with the head that is there")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--max-tokens", metavar="N", type=int, default=1024, help="tokens a step, padding included")
    parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate of the head; falls linearly to 0")
    parser.add_argument("--layers-lr", type=float, default=3e-4, help="highest learning rate of these layers")
    parser.add_argument(
        "--selected", metavar="SHARE", type=float, default=0.15, help="of all tokens, to be predicted as masked LMs do"
    )
    parser.add_argument("--masked", metavar="SHARE", type=float, default=0.8, help="of the selected, replaced by <mask>")
    parser.add_argument(
        "--random",
        metavar="SHARE",
        type=float,
        default=0.1,
        help="of the selected, replaced by a random piece; the rest is kept",
    )
    parser.add_argument(
        "--masked-weight",
        metavar="W",
        type=float,
        default=0.1,
        help="weight of the selected tokens' loss against that of all others",
    )
    parser.add_argument(
        "--unmasked",
        choices=UNMASKED,
        default="neighbours",
        help="what the tokens that are not selected learn: to name their neighbours in context, or themselves",
    )
    parser.add_argument("--temperature", type=float, default=0.1, help="of the distribution over neighbours")
    parser.add_argument(
        "--neighbour-layer",
        metavar="K",
        type=int,
        help="layer whose features say what is near (default: a third of the way up)",
    )
    parser.add_argument("--seed", type=int, default=1)
    add_device(parser)
    parser.add_argument("--autocast-bf16", action="store_true", help="matrix products in bfloat16")
    return parser.parse_args()


def check(args, architecture):
    """Refuse what cannot be meant; sets the default of ``--neighbour-layer``."""
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
    if args.out.exists():
        raise InputError(f"{args.out} exists: choose another output directory, or delete it")
    if args.unmasked == "nothing" and not args.selected * args.masked_weight:
        raise InputError("--unmasked nothing with --selected 0 or --masked-weight 0 trains nothing: change one of them")


def fitted_neighbours(plm, text, args, autocast, resumable, device):
    """The neighbours of ``text``'s tokens, taken from an interrupted training if it had got so far."""
    neighbours = ContextualNeighbours(plm.encoder, args.neighbour_layer)
    found = resumable.load("neighbours.pt", device)
    if found is None:
        neighbours.fit(text, 8 * args.max_tokens, autocast)
        resumable.save("neighbours.pt", neighbours.state())
    else:
        neighbours.load_state(found)
    return neighbours


def train(training, text, args, resumable, device):
    """Run the steps that are left. Step number and seed alone determine a step, so that nothing is lost in between."""
    done = 0
    if found := resumable.load("checkpoint.pt", device):
        done = found["steps"]
        training.load_state(found)
    batches, epoch, first = [], -1, 0
    with tqdm(total=args.steps, initial=done, desc="training", unit=" steps") as progress:
        for step in range(args.steps):
            if step >= first + len(batches):
                epoch, first = epoch + 1, step
                order = torch.Generator().manual_seed(args.seed * 1_000_003 + epoch)
                batches = list(text.batches(args.max_tokens, order))
            if step < done:
                continue
            draw = torch.Generator().manual_seed(args.seed * 7_368_787 + step)
            masked, unmasked = training.step(*batches[step - first], draw)
            progress.set_postfix_str(f"loss masked {masked:.3f}, unmasked {unmasked:.3f}", refresh=False)
            progress.update()
            if resumable.due() and step + 1 < args.steps:
                resumable.save("checkpoint.pt", {"steps": step + 1, **training.state()})


def write(args, plm, record):
    """Write the PLM directory: that of the source but for the LM head, with ``training.json``."""
    with replacing(args.out, marker="plm.json") as directory:
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


def main():
    args = arguments()
    description = Description.load(args.plm_dir)
    check(args, description.architecture)
    masking = Masking(args.selected, args.masked, args.random)
    options = {k: v for k, v in vars(args).items() if k not in ("plm_dir", "out", "text")}
    for path in args.text:
        if not os.path.isfile(path):
            raise InputError(f"{path} does not exist: give --text files, one sentence a line")
    settings = {"plm": description.sha256["model.pt"], "text": {Path(p).name: sha256(p) for p in args.text}, **options}
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
            neighbours = fitted_neighbours(plm, text, args, autocast, resumable, args.device)
        training = HeadTraining(
            plm,
            args.layers,
            masking,
            args.unmasked,
            args.masked_weight,
            args.temperature,
            neighbours,
            (args.lr, args.layers_lr),
            args.steps,
            autocast,
        )
        accuracies = {"before": training.held_out(held_out, args.max_tokens, args.seed)}
        train(training, text, args, resumable, args.device)
        accuracies["after"] = training.held_out(held_out, args.max_tokens, args.seed)
        write(args, plm, {**settings, "source": description.source, "held_out_accuracy": accuracies})
    for when, found in accuracies.items():
        shares = ", ".join(f"{name} {100 * share:.1f}%" for name, share in found.items())
        print(f"held-out accuracy {when}: {shares}")
    tokens = sum(map(len, text.sentences))
    print(
        f"wrote {args.out}: LM head{f' with {args.layers} layers' * (args.layers > 0)} for {description.name}, trained "
        f"{args.steps:,} steps on {len(text):,} sentences ({tokens:,} tokens)"
    )


if __name__ == "__main__":
    main()
