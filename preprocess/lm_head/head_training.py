"""Training of an LM head on plain text: the trained parameters, the losses, and the accuracy on held-out text."""

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from preprocess.lm_head.masking import Masking, is_text
from preprocess.lm_head.plain_text import Text
from salt_fairseq.modules.encoder import LMHead
from salt_fairseq.plm import PLM

UNMASKED = ("neighbours", "itself", "nothing")
BETAS, WARMUP, CLIP = (0.9, 0.98), 0.02, 1.0


def renew(head: LMHead) -> None:
    """Give an LM head BERT's initialization, drawn from torch's default generator."""
    nn.init.normal_(head.dense.weight, std=0.02)
    if head.dense.bias is not None:
        nn.init.zeros_(head.dense.bias)
    head.layer_norm.reset_parameters()
    nn.init.zeros_(head.bias)


def own_layers(plm: PLM, least: int) -> None:
    """Give the LM head at least so many layers of its own: those it has, and copies of the encoder's below them."""
    encoder, own = plm.encoder.layers, plm.lm_head.layers
    copied = encoder[len(encoder) - max(least, len(own)) : len(encoder) - len(own)]
    plm.lm_head.layers = nn.ModuleList([*copy.deepcopy(copied), *own])


@dataclass(frozen=True)
class Objective:
    """What the head learns: the tokens that ``masking`` selects, with weight ``masked_weight``, and with weight 1 the
    ``unmasked`` targets of all others: the softmax of similarities / ``temperature`` over neighbours, or the token itself."""

    masking: Masking
    unmasked: str  # of UNMASKED
    masked_weight: float
    temperature: float


class HeadTraining:
    """Trains ``plm.lm_head``, including the top ``layers`` of its own layers; the encoder is frozen and stays unchanged.

    ``neighbours``: a fitted ``ContextualNeighbours``, or None if the objective has none; ``lrs``: highest learning rates of the
    head and of its layers.
    """

    def __init__(
        self,
        plm: PLM,
        layers: int,
        objective: Objective,
        neighbours: Any,
        lrs: tuple[float, float],
        steps: int,
        autocast: Callable,
    ):
        self.plm, self.objective, self.neighbours, self.steps, self.autocast = plm, objective, neighbours, steps, autocast
        self.vocabulary = plm.description.architecture.vocabulary
        plm.requires_grad_(False)
        own_layers(plm, layers)
        plm.lm_head.requires_grad_(True)
        plm.lm_head.layers[: len(plm.lm_head.layers) - layers].requires_grad_(False)
        self.trained = {name: p for name, p in plm.lm_head.named_parameters() if p.requires_grad}
        groups = [
            {"params": [p for name, p in self.trained.items() if name.startswith("layers.") == in_layers], "lr": lr}
            for in_layers, lr in zip((False, True), lrs)
        ]
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], betas=BETAS, weight_decay=0.0)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._fraction_of_lr)

    def state(self) -> dict:
        """All that a resumed training needs."""
        return {"model": dict(self.trained), "optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict()}

    def load_state(self, state: dict) -> None:
        self.plm.lm_head.load_state_dict(state["model"], strict=False)  # the frozen parameters are not saved
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])

    def _fraction_of_lr(self, step):
        """Rises linearly from 0 during the warm-up, then falls linearly to 0."""
        warmup = max(1, WARMUP * self.steps)
        return min(1.0, (step + 1) / warmup) * max(0.0, 1 - step / self.steps)

    def step(self, tokens: torch.Tensor, files: torch.Tensor, generator: torch.Generator) -> tuple[float, float]:
        """One update with ``tokens`` LongTensor (B, T), padded, of ``files`` LongTensor (B,). Returns the losses
        ``(masked, unmasked)``, nan for a loss without targets."""
        inputs, selected = self.objective.masking(tokens, self.vocabulary, generator)
        seen = is_text(tokens, self.vocabulary) & ~selected
        device = self.plm.lm_head.bias.device
        tokens, files, inputs, selected, seen = (t.to(device) for t in (tokens, files, inputs, selected, seen))
        with self.autocast():
            features = self.plm.lm_head.features(self.plm.encoder, inputs)
            masked = self._itself(features[selected], tokens[selected])  # a mean over no targets is nan
            unmasked = features.new_tensor(torch.nan)
            if self.objective.unmasked == "itself":
                unmasked = self._itself(features[seen], tokens[seen])
            elif self.objective.unmasked == "neighbours":
                unmasked = self._neighbours(features[seen], self.neighbours(tokens, files, seen, self.autocast))
        losses = [w * loss for w, loss in ((self.objective.masked_weight, masked), (1.0, unmasked)) if w and not loss.isnan()]
        if losses:
            self.optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            nn.utils.clip_grad_norm_(self.trained.values(), CLIP)
            self.optimizer.step()
        self.schedule.step()
        return masked.item(), unmasked.item()

    def _itself(self, features, targets):
        """Cross-entropy of the tokens themselves over the whole vocabulary."""
        return F.cross_entropy(self.plm.lm_head(features, self.plm.encoder.embed_tokens.weight).float(), targets)

    def _neighbours(self, features, similarities):
        """Kullback-Leibler divergence of the head's distribution over ``neighbours.pieces`` from the softmax of similarities
        (n, pieces) / temperature, averaged over n."""
        pieces, head = self.neighbours.pieces, self.plm.lm_head
        logits = F.linear(head.transform(features), self.plm.encoder.embed_tokens.weight[pieces], head.bias[pieces])
        targets = (similarities / self.objective.temperature).log_softmax(1)
        return F.kl_div(logits.float().log_softmax(1), targets, log_target=True, reduction="batchmean")

    @torch.no_grad()
    def held_out(self, text: Text, max_tokens: int, seed: int) -> dict[str, float]:
        """Accuracies on held-out text: ``masked`` and ``unmasked``, how often the head names the token itself (all selected
        tokens are masked); ``neighbours``, how often its best piece other than the token is the most similar one."""
        generator = torch.Generator().manual_seed(seed)
        masking, device = Masking(self.objective.masking.selected or 0.15, 1.0, 0.0), self.plm.lm_head.bias.device
        hits: defaultdict[str, list[torch.Tensor]] = defaultdict(list)
        for tokens, files in text.batches(max_tokens):
            inputs, selected = masking(tokens, self.vocabulary, generator)
            seen = is_text(tokens, self.vocabulary)
            tokens, files, inputs, selected, seen = (t.to(device) for t in (tokens, files, inputs, selected, seen))
            with self.autocast():
                for name, read, at in (("masked", inputs, selected), ("unmasked", tokens, seen)):
                    features = self.plm.lm_head.features(self.plm.encoder, read)[at]
                    logits = self.plm.lm_head(features, self.plm.encoder.embed_tokens.weight)
                    hits[name].append(logits.argmax(1) == tokens[at])
                if self.neighbours:
                    pieces, similarities = self.neighbours.pieces, self.neighbours(tokens, files, seen, self.autocast)
                    itself = pieces == tokens[seen][:, None]
                    best = (scores.masked_fill(itself, -torch.inf).argmax(1) for scores in (logits[:, pieces], similarities))
                    hits["neighbours"].append(next(best) == next(best))
        return {name: int(is_hit.sum()) / len(is_hit) for name, parts in hits.items() if len(is_hit := torch.cat(parts))}
