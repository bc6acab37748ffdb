"""The streams that the options of ``salt_sentence_pair`` ask for, as :mod:`salt_fairseq.data.streams` describes them."""

import logging
from typing import Any

from salt_fairseq.data.code_switching import CodeSwitching, thresholds_of
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.lexicon import LexicalSubstitution, Lexicon
from salt_fairseq.data.streams import Source, Streams
from salt_fairseq.errors import InputError

logger = logging.getLogger(__name__)
DISTILLED = "train"  # the subset whose candidates and lexicons the preprocessing makes


def training_streams(cfg: Any, data: DataDirectory, subset: str, mixed: bool) -> Streams:
    """The unchanged instances of a subset, and one stream for each target language or variant; ``mixed`` as the model asks
    for it."""
    if (cfg.augment or cfg.lexicon) and subset != DISTILLED:
        raise InputError(
            f"--train-subset {subset} with --{'augment' if cfg.augment else 'lexicon'}: candidates and lexicons are "
            f"made for the subset {DISTILLED} only; train on that, or leave the option out"
        )
    sources: list[Source | None] = [] if cfg.no_original else [None]
    sources += [*_lexical(cfg, data), *_code_switched(cfg, data)]
    if not sources:
        raise InputError("--no-original without --augment or --lexicon leaves nothing to train on")
    return Streams(sources, mixed, cfg.one_stream, cfg.seed)


def sources(cfg: Any) -> list[str]:
    """The directories of a data directory that hold the substitutes of the streams."""
    lexicons = [f"lexicons/{cfg.lexicon}"] if cfg.lexicon else []
    return [*lexicons, *(f"candidates/{language}" for language in cfg.augment.split(",") if language)]


def _lexical(cfg: Any, data: DataDirectory) -> list[LexicalSubstitution]:
    if not cfg.lexicon:
        return []
    lexicon = Lexicon(data.path, cfg.lexicon, DISTILLED, data.sides)
    ratios = cfg.sentence_ratio, cfg.word_ratio
    return [LexicalSubstitution(lexicon, variant, cfg.seed, *ratios, cfg.redraw) for variant in range(cfg.variants)]


def _code_switched(cfg: Any, data: DataDirectory) -> list[CodeSwitching]:
    languages = [*filter(None, cfg.augment.split(","))]
    if not languages:
        return []
    if len(set(languages)) < len(languages):
        raise InputError(f"--augment {cfg.augment} names a language twice: leave one of them out")
    streams = []
    for language, threshold in thresholds_of(languages, cfg.thresholds, data.meta["source_language"]).items():
        switching = CodeSwitching(data.path, DISTILLED, language, data.sides, threshold)
        logger.info(
            f"code-switching to {language}: {100 * switching.fraction:.1f}% of candidate tokens substituted, "
            f"those with log-probability >= {switching.log_threshold:.3f}"
        )
        streams.append(switching)
    return streams
