"""SALT (Wang et al., 2023) for fairseq: zero-shot cross-lingual transfer by self-augmentation."""

import logging

from salt_fairseq import errors

__version__ = "0.1.0"

errors.install()
# Importing fairseq imports all of its tasks, one of which reports that tensorboardX is not installed.
logging.getLogger("fairseq.tasks.text_to_speech").setLevel(logging.WARNING)
# fairseq logs the traceback of a checkpoint that cannot be written before it raises the error.
logging.getLogger("fairseq.checkpoint_utils").addFilter(lambda record: not record.getMessage().startswith("Traceback"))
