"""Cross-entropy over the labels of examples or tokens, with the accuracy in percent to two decimals, and a consistency loss
that keeps the predictions for an instance and its code-switched version together.

fairseq's ``sentence_prediction`` criterion rounds the accuracy to one decimal before the best checkpoint is chosen.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics

from salt_fairseq.data.directory import IGNORED
from salt_fairseq.errors import InputError
from salt_fairseq.evaluation.entities import are_entity_tags, entity_counts, f1, seqeval
from salt_fairseq.modules.choice import Choice
from salt_fairseq.modules.encoder import PAD

ENTITIES = ("correct_entities", "predicted_entities", "actual_entities")  # counts that entity F1 is made of


class Direction(Choice):
    """Which prediction the consistency loss moves towards which."""

    symmetric = "symmetric"
    from_original = "from_original"


@dataclass
class SaltClassificationConfig(FairseqDataclass):
    consistency: float = field(
        default=0.0,
        metadata={
            "help": "weight of a consistency loss: each instance is read as it is and with its substitutes, both are "
            "trained, and the divergence of their predictions is added; without substitutes, that of two dropout "
            "passes (R-Drop). Twice the arithmetic; 0: none"
        },
    )
    consistency_direction: Direction = field(
        default=Direction.symmetric,
        metadata={"help": "symmetric, or the prediction for the unchanged instance as the fixed target (from_original)"},
    )


def divergence(original: torch.Tensor, switched: torch.Tensor, direction: str = "symmetric") -> torch.Tensor:
    """Kullback-Leibler divergence in nats, summed over the batch, of the distributions with logits FloatTensors (B, classes):
    (KL(p || q) + KL(q || p)) / 2, or KL(p || q) with p, that of the original, taken as a constant."""
    p, q = F.log_softmax(original.float(), 1), F.log_softmax(switched.float(), 1)
    if direction == Direction.from_original:
        return F.kl_div(q, p.detach(), reduction="sum", log_target=True)
    return ((p.exp() - q.exp()) * (p - q)).sum() / 2


@register_criterion("salt_classification", dataclass=SaltClassificationConfig)
class SaltClassificationCriterion(FairseqCriterion):
    """Logs ``loss`` (bits per label, as fairseq does), ``accuracy`` and the number of ``examples``. Where tokens are
    labelled, the loss and the accuracy are means over those with a label, and ``f1`` is that of entities, in validation, if the
    labels are tags of entities.

    With a consistency loss, the cross-entropy is the mean of both readings', ``accuracy`` is that of the unchanged instances,
    and ``consistency`` the unweighted divergence (bits per label), which ``loss`` holds times its weight.
    """

    def __init__(self, task, consistency=0.0, consistency_direction=Direction.symmetric):
        super().__init__(task)
        if not 0 <= consistency < math.inf:
            raise InputError(f"--consistency {consistency} is no weight: give a number that is not negative")
        if consistency and (task.cfg.augment or task.cfg.lexicon) and not task.mixes:
            raise InputError(
                "--consistency with --mixup none: batches hold the substituted text alone, and nothing to compare it with; "
                "leave one of them out"
            )
        self.weight, self.direction = consistency, consistency_direction
        self.entity_tags = task.data.labels if task.has_token_labels and are_entity_tags(task.data.labels) else None
        if self.entity_tags:
            seqeval()  # raises now where it is missing

    def forward(self, model, sample, reduce=True):
        target, labels = sample["target"], sample["nlabels"]
        consistency = None
        if self.weight and model.training:
            both, _ = model(**_both_readings(sample["net_input"]))
            logits, switched = (_labelled(reading, target) for reading in both.float().chunk(2))
            target = target[target.ne(IGNORED)]
            consistency = divergence(logits, switched, self.direction)
            loss = _cross_entropy(torch.cat([logits, switched]), torch.cat([target, target])) / 2 + self.weight * consistency
        else:
            logits, _ = model(**sample["net_input"])
            loss = _cross_entropy(logits.float(), target)
        logging_output = {
            "loss": loss.detach(),
            "ncorrect": (logits.argmax(-1) == target).sum(),
            "nlabels": labels,
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": labels,
        }
        if consistency is not None:
            logging_output["consistency"] = consistency.detach()
        if self.entity_tags and not model.training:
            tags = _tags(self.entity_tags, target, target), _tags(self.entity_tags, logits.argmax(-1), target)
            logging_output |= zip(ENTITIES, entity_counts(*tags))
        return loss, labels, logging_output

    @staticmethod
    def reduce_metrics(logging_outputs):
        names = ("loss", "ncorrect", "nlabels", "nsentences")
        total = {key: sum(log.get(key, 0) for log in logging_outputs) for key in names}
        labels = total["nlabels"]
        if labels:
            metrics.log_scalar("loss", total["loss"] / labels / math.log(2), labels, round=3)
            if "consistency" in logging_outputs[0]:
                divergences = sum(log["consistency"] for log in logging_outputs)
                metrics.log_scalar("consistency", divergences / labels / math.log(2), labels, round=4)
            metrics.log_scalar("accuracy", 100.0 * total["ncorrect"] / labels, labels, round=2)
            metrics.log_scalar_sum("examples", total["nsentences"], round=0)
        if any(name in log for log in logging_outputs for name in ENTITIES):
            for name in ENTITIES:
                metrics.log_scalar_sum(f"_{name}", sum(log.get(name, 0) for log in logging_outputs))
            metrics.log_derived("f1", lambda meters: round(f1(*(float(meters[f"_{name}"].sum) for name in ENTITIES)), 2))

    @staticmethod
    def logging_outputs_can_be_summed():
        return True


def _tags(labels: list[str], numbers: torch.Tensor, target: torch.Tensor) -> list[list[str]]:
    """The names of label numbers, LongTensor (B, T), at the tokens that ``target`` labels."""
    rows = zip(numbers.tolist(), target.tolist())
    return [[labels[number] for number, own in zip(*row) if own != IGNORED] for row in rows]


def _cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sum over the labels of LongTensor (B,) or (B, T), given logits FloatTensor (B, classes) or (B, T, classes)."""
    return F.cross_entropy(logits.flatten(0, -2), target.flatten(), ignore_index=IGNORED, reduction="sum")


def _labelled(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The logits (N, classes) of what has a label."""
    return logits if target.dim() == 1 else logits[target.ne(IGNORED)]


def _both_readings(net_input: dict[str, Any]) -> dict[str, Any]:
    """The input of a batch of 2B: its B instances unchanged, then as they came. A token that is its own substitute is mixed to
    exactly itself, see :func:`salt_fairseq.modules.mixup.mix`."""
    doubled = dict(net_input)
    tokens = net_input["src_tokens"]
    doubled["src_tokens"] = torch.cat([tokens, tokens])
    substitutes = net_input.get("substitutes")
    if substitutes is not None:
        own = tokens if substitutes.dim() == 2 else _widened(tokens, substitutes.shape[2])
        doubled["substitutes"] = torch.cat([own, substitutes])
    perturbation = net_input.get("perturbation")
    if perturbation is not None:
        doubled["perturbation"] = torch.cat([torch.zeros_like(perturbation), perturbation])
    return doubled


def _widened(tokens: torch.Tensor, width: int) -> torch.Tensor:
    """LongTensor (B, T, width): each token followed by padding, as a sole substitute is."""
    return F.pad(tokens[..., None], (0, width - 1), value=PAD)
