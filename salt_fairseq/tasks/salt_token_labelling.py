"""Task ``salt_token_labelling``: label each word of a sentence (named entities, parts of speech), with the same augmentation.

Candidates substitute one token by one, so that labels stay where they are.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from fairseq.tasks import register_task

from salt_fairseq.data.directory import IGNORED
from salt_fairseq.data.token_labelling_dataset import TokenLabellingDataset
from salt_fairseq.models.salt_tagger import SaltTagger
from salt_fairseq.tasks.salt_config import SaltConfig
from salt_fairseq.tasks.salt_task import SaltTask


@dataclass
class SaltTokenLabellingConfig(SaltConfig):
    pass


@register_task("salt_token_labelling", dataclass=SaltTokenLabellingConfig)
class SaltTokenLabellingTask(SaltTask):
    name, has_token_labels = "salt_token_labelling", True
    model_class, dataset_class = SaltTagger, TokenLabellingDataset

    @staticmethod
    def losses(logits, target):
        losses = F.cross_entropy(logits.transpose(1, 2), target, ignore_index=IGNORED, reduction="none")
        return losses.sum(1) / target.ne(IGNORED).sum(1).clamp(min=1)
