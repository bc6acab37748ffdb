"""Cross-entropy over the labels, with the accuracy in percent to two decimals, and a consistency loss that keeps the
predictions for an instance and its code-switched version together.

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

from salt_fairseq.errors import InputError
from salt_fairseq.modules.choice import Choice
from salt_fairseq.modules.encoder import PAD


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
    """Logs ``loss`` (bits per example, as fairseq does), ``accuracy`` and the number of ``examples``.

    With a consistency loss, the cross-entropy is the mean of both readings', ``accuracy`` is that of the unchanged instances,
    and ``consistency`` the unweighted divergence (bits per example), which ``loss`` holds times its weight.
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

    def forward(self, model, sample, reduce=True):
        target = sample["target"]
        consistency = None
        if self.weight and model.training:
            both, _ = model(**_both_readings(sample["net_input"]))
            logits, switched = both.float().chunk(2)
            consistency = divergence(logits, switched, self.direction)
            loss = F.cross_entropy(both.float(), torch.cat([target, target]), reduction="sum") / 2 + self.weight * consistency
        else:
            logits, _ = model(**sample["net_input"])
            loss = F.cross_entropy(logits.float(), target, reduction="sum")
        logging_output = {
            "loss": loss.detach(),
            "ncorrect": (logits.argmax(1) == target).sum(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample["nsentences"],
        }
        if consistency is not None:
            logging_output["consistency"] = consistency.detach()
        return loss, sample["nsentences"], logging_output

    @staticmethod
    def reduce_metrics(logging_outputs):
        total = {key: sum(log.get(key, 0) for log in logging_outputs) for key in ("loss", "ncorrect", "nsentences")}
        examples = total["nsentences"]
        if examples:
            metrics.log_scalar("loss", total["loss"] / examples / math.log(2), examples, round=3)
            if "consistency" in logging_outputs[0]:
                divergences = sum(log["consistency"] for log in logging_outputs)
                metrics.log_scalar("consistency", divergences / examples / math.log(2), examples, round=4)
            metrics.log_scalar("accuracy", 100.0 * total["ncorrect"] / examples, examples, round=2)
            metrics.log_scalar_sum("examples", examples, round=0)

    @staticmethod
    def logging_outputs_can_be_summed():
        return True


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
