"""The training of an LM head from the text to the trained head, in steps that an interrupted run leaves behind."""

import argparse
from collections.abc import Callable

import torch

from preprocess.lm_head.contextual_neighbours import ContextualNeighbours
from preprocess.lm_head.head_training import HeadTraining
from preprocess.lm_head.plain_text import Text
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.plm import PLM
from salt_fairseq.storage.resumable import Resumable


def fitted_neighbours(
    plm: PLM, text: Text, args: argparse.Namespace, autocast: Callable, resumable: Resumable
) -> ContextualNeighbours:
    """The neighbours of the tokens of ``text``, from an interrupted training if it has saved them."""
    neighbours = ContextualNeighbours(plm.encoder, args.neighbour_layer)
    saved = resumable.load("neighbours.pt", args.device)
    if saved is None:
        neighbours.fit(text, 8 * args.max_tokens, autocast)
        resumable.save("neighbours.pt", neighbours.state())
    else:
        neighbours.load_state(saved)
    return neighbours


def train(training: HeadTraining, text: Text, args: argparse.Namespace, resumable: Resumable) -> None:
    """Run the remaining steps. A step depends on its number and the seed alone, so a resumed training ends the same."""
    done = 0
    if saved := resumable.load("checkpoint.pt", args.device):
        done = saved["steps"]
        training.load_state(saved)
    batches: list[tuple[torch.Tensor, torch.Tensor]] = []
    epoch, first = -1, 0
    with progress_bar(total=args.steps, initial=done, desc="training", unit=" steps") as progress:
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
