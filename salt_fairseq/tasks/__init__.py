"""What --user-dir imports before the task. It looks into tasks/ and models/ only, so the criterion and the optimizer, which
register themselves where they are imported, are imported here."""

from salt_fairseq.criterions import salt_classification
from salt_fairseq.fairseq_patches import mend
from salt_fairseq.optim import fused_adam

__all__ = ["fused_adam", "salt_classification"]

mend()
