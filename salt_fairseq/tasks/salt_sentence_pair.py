"""Task ``salt_sentence_pair``: classify sentences or sentence pairs, augmented with candidates while training."""

from dataclasses import dataclass

import torch.nn.functional as F
from fairseq.tasks import register_task

from salt_fairseq.tasks.salt_config import SaltConfig
from salt_fairseq.tasks.salt_task import SaltTask


@dataclass
class SaltSentencePairConfig(SaltConfig):
    pass


@register_task("salt_sentence_pair", dataclass=SaltSentencePairConfig)
class SaltSentencePairTask(SaltTask):
    name = "salt_sentence_pair"

    @staticmethod
    def losses(logits, target):
        return F.cross_entropy(logits, target, reduction="none")
