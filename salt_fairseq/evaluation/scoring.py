"""Logits of a model for everything that is labelled in many subsets, with one forward pass for equal examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.data.directory import Examples
from salt_fairseq.data.distinct_pairs import Batches, DistinctPairs
from salt_fairseq.data.joining import Joiner
from salt_fairseq.data.segments import Segments
from salt_fairseq.models.salt_encoder import SaltEncoder
from salt_fairseq.modules.encoder import PAD
from salt_fairseq.storage.resumable import Resumable


class Labels(NamedTuple):
    """The labels of a subset, one after another, all int64 (labels,)."""

    targets: np.ndarray
    examples: np.ndarray  # of which example each is
    numbers: np.ndarray  # of which distinct input
    places: np.ndarray  # at which token of it, where tokens are labelled, else 0


class Inputs:
    """What a model reads of ``subsets`` with at most ``max_length`` tokens: the distinct ``pairs`` (or sentences), and where
    each subset's ``labels`` are. Long sentences whose tokens are labelled are read in segments."""

    def __init__(
        self, subsets: dict[str, Examples], join: Callable[..., torch.Tensor], max_length: int, has_token_labels: bool
    ):
        self.labels: dict[str, Labels] = {}
        if has_token_labels:
            budget = Joiner(join, 1, max_length).budget
            segments = {name: Segments(examples, budget) for name, examples in subsets.items()}
            self.pairs = DistinctPairs({name: s.as_examples() for name, s in segments.items()})
            for name, s in segments.items():
                self.labels[name] = Labels(s.targets, s.examples, self.pairs.number[name][s.numbers], s.places + 1)  # after bos
        else:
            self.pairs = DistinctPairs(subsets)
            for name, examples in subsets.items():
                number, targets = self.pairs.number[name], np.asarray(examples.targets)
                self.labels[name] = Labels(targets, np.arange(len(targets)), number, np.zeros_like(number))


@torch.no_grad()  # under inference_mode, autocast would cast the weights anew for each batch
def score(
    model: SaltEncoder,
    batches: Batches,
    device: str,
    description: str,
    resumable: Resumable,
    name: str,
    has_token_labels: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """``(logits, first rows)``: float32 (rows, labels), a row for each distinct pair, or for each token of it where tokens are
    labelled, and int64 (pairs,), the first row of each.

    ``resumable`` keeps under ``name`` what is scored so far; pairs that a killed run has scored are not scored again.
    """
    rows_of = batches.sizes if has_token_labels else np.ones_like(batches.sizes)
    ends = np.concatenate([[0], np.cumsum(rows_of)])
    model.to(device)
    before = resumable.load(name)
    before = torch.empty(0, model.classifier.out_features) if before is None else before
    scored = torch.empty(int(ends[-1]), model.classifier.out_features, device=device)
    scored[: len(before)] = before.to(device)
    # Inside this context, the model's own one keeps the weights that it casts to bf16 from batch to batch.
    autocast = torch.autocast(torch.device(device).type, torch.bfloat16, enabled=model.cfg.autocast_bf16)
    progress = progress_bar(total=batches.padded_tokens, desc=description, unit=" tokens", unit_scale=True, leave=False)
    seen, pairs = 0, 0  # progress.n stays 0 where progress bars are turned off (TQDM_DISABLE=1)
    with autocast, progress:
        for start, stop, tokens in batches:
            progress.update(tokens.numel())
            seen, pairs = seen + tokens.numel(), pairs + stop - start
            if ends[stop] <= len(before):
                continue
            logits, _ = model(tokens)
            scored[ends[start] : ends[stop]] = logits[tokens.ne(PAD)] if has_token_labels else logits
            if resumable.due():
                resumable.save(name, scored[: ends[stop]].cpu())
    if pairs != len(batches.sizes) or seen != batches.padded_tokens:
        raise RuntimeError("not every example was scored exactly once")
    first = np.empty(len(batches.sizes), np.int64)
    first[batches.order] = ends[:-1]
    return scored.cpu().numpy(), first
