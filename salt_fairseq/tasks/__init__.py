"""What fairseq imports for --user-dir, before the tasks.

It looks into tasks/ and models/ only, so the criterion and the optimizer, which register themselves when they are imported,
are imported here; so are the tasks, for whoever asks fairseq for one without --user-dir.
"""

from salt_fairseq import fairseq_patches
from salt_fairseq.cli.command import start_under_fairseq
from salt_fairseq.criterions import salt_classification
from salt_fairseq.optim import fused_adam
from salt_fairseq.tasks import salt_sentence_pair, salt_token_labelling

__all__ = ["fused_adam", "salt_classification", "salt_sentence_pair", "salt_token_labelling"]

fairseq_patches.apply()
start_under_fairseq()
