"""Cross-entropy over the labels, with the accuracy in percent to two decimals.

fairseq's ``sentence_prediction`` criterion rounds the accuracy to one decimal before the best checkpoint is chosen.
"""

import math

import torch.nn.functional as F
from fairseq.criterions import FairseqCriterion, register_criterion
from fairseq.dataclass import FairseqDataclass
from fairseq.logging import metrics


@register_criterion("salt_classification", dataclass=FairseqDataclass)
class SaltClassificationCriterion(FairseqCriterion):
    """Logs ``loss`` (bits per example, as fairseq does), ``accuracy`` and the number of ``examples``."""

    def forward(self, model, sample, reduce=True):
        logits, _ = model(**sample["net_input"])
        target = sample["target"]
        loss = F.cross_entropy(logits.float(), target, reduction="sum")
        logging_output = {
            "loss": loss.detach(),
            "ncorrect": (logits.argmax(1) == target).sum(),
            "ntokens": sample["ntokens"],
            "nsentences": sample["nsentences"],
            "sample_size": sample["nsentences"],
        }
        return loss, sample["nsentences"], logging_output

    @staticmethod
    def reduce_metrics(logging_outputs):
        total = {key: sum(log.get(key, 0) for log in logging_outputs) for key in ("loss", "ncorrect", "nsentences")}
        examples = total["nsentences"]
        if examples:
            metrics.log_scalar("loss", total["loss"] / examples / math.log(2), examples, round=3)
            metrics.log_scalar("accuracy", 100.0 * total["ncorrect"] / examples, examples, round=2)
            metrics.log_scalar_sum("examples", examples, round=0)

    @staticmethod
    def logging_outputs_can_be_summed():
        return True
