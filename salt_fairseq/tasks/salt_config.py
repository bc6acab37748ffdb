"""The options that the tasks have in common."""

from dataclasses import dataclass, field
from typing import Any

from fairseq.dataclass import FairseqDataclass
from omegaconf import II, MISSING

from salt_fairseq.data.code_switching import DEFAULT_THRESHOLDS
from salt_fairseq.errors import InputError
from salt_fairseq.modules.perturbation import Norm, Perturbation


@dataclass
class SaltConfig(FairseqDataclass):
    data: str = field(default=MISSING, metadata={"help": "data directory (preprocess/binarize.py writes it)"})
    augment: str = field(
        default="", metadata={"help": "target languages to code-switch the training data to, e.g. en,fr,es,de; none: vanilla"}
    )
    thresholds: str = field(
        default=DEFAULT_THRESHOLDS,
        metadata={
            "help": "lowest probability of a substitute, in one language (fr=1e-5), in the sentences' own language "
            "(source=1e-3) or in all others (1e-7); with a percent sign, the fraction of candidate tokens to substitute (40%%)"
        },
    )
    lexicon: str = field(
        default="",
        metadata={
            "help": "take substitutes from this lexicon of the data directory (preprocess/look_up.py) instead, in "
            "the lexicon's languages: RS-DA, CoSDA-ML, SCOPA"
        },
    )
    variants: int = field(default=1, metadata={"help": "number of streams, each with its own draws from the lexicon"})
    sentence_ratio: float = field(default=1.0, metadata={"help": "fraction of sentences in which words are substituted"})
    word_ratio: float = field(
        default=1.0, metadata={"help": "fraction of the words of such a sentence for which a substitute is drawn"}
    )
    redraw: bool = field(default=False, metadata={"help": "draw from the lexicon anew in each epoch"})
    perturbation: Perturbation = field(
        default=Perturbation.none,
        metadata={
            "help": "move the token embeddings within a ball: at random (RS-RP) or by gradient ascent on the loss "
            "(RS-ADV); the paper names no radius, norm or steps, so the defaults are this project's"
        },
    )
    radius: float = field(default=0.1, metadata={"help": "radius of the ball around each token embedding"})
    norm: Norm = field(default=Norm.l2, metadata={"help": "norm of that ball"})
    ascent_steps: int = field(default=3, metadata={"help": "steps of gradient ascent"})
    ascent_step_size: float = field(default=0.5, metadata={"help": "length of such a step, as a fraction of the radius"})
    no_original: bool = field(default=False, metadata={"help": "leave out the unchanged instances"})
    one_stream: bool = field(
        default=False,
        metadata={"help": "draw one of the streams for each instance in each epoch, instead of training on all of them"},
    )
    max_length: int = field(
        default=128,
        metadata={"help": "tokens of a sentence or pair, special tokens included; of a pair, the longer sentence is cut first"},
    )
    seed: int = II("common.seed")


def check_ranges(cfg: Any) -> None:
    """Raise where options exclude each other, or a number makes no sense."""
    if cfg.lexicon and cfg.augment:
        raise InputError("--lexicon and --augment: substitutes come from a lexicon or from the PLM, choose one")
    for name, low, high in (
        ("variants", 1, 1000),
        ("sentence_ratio", 0, 1),
        ("word_ratio", 0, 1),
        ("radius", 0, 1000),
        ("ascent_steps", 1, 1000),
        ("ascent_step_size", 0, 1),
    ):
        value = getattr(cfg, name)
        if not low <= value <= high:
            raise InputError(f"--{name.replace('_', '-')} {value} is outside [{low}, {high}]")
