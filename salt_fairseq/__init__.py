"""SALT (Wang et al., 2023) for fairseq: zero-shot cross-lingual transfer by self-augmentation."""

from salt_fairseq import errors

errors.install()
