"""What fairseq imports for --user-dir, before the task.

It looks into tasks/ and models/ only, so the criterion and the optimizer, which register themselves when they are imported,
are imported here.
"""

from salt_fairseq import fairseq_patches
from salt_fairseq.cli.command import start_under_fairseq
from salt_fairseq.criterions import salt_classification
from salt_fairseq.optim import fused_adam

__all__ = ["fused_adam", "salt_classification"]

fairseq_patches.apply()
start_under_fairseq()
