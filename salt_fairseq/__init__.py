"""SALT (Wang et al., 2023) for fairseq: zero-shot cross-lingual transfer by self-augmentation."""

__version__ = "0.1.0"
