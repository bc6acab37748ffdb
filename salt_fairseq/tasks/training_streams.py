"""The streams that the options of a task ask for, as :mod:`salt_fairseq.data.streams` describes them."""

from __future__ import annotations

import logging
from typing import Any

from salt_fairseq.data.code_switching import CodeSwitching, thresholds_of
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.joined import JoinedSource
from salt_fairseq.data.lexicon import LexicalSubstitution, Lexicon
from salt_fairseq.data.streams import Source, Streams
from salt_fairseq.errors import InputError

logger = logging.getLogger(__name__)
DISTILLED = "train"  # the subset, or those in several source languages, whose candidates and lexicons the preprocessing makes


def training_streams(cfg: Any, data: DataDirectory, subset: str, mixed: bool) -> Streams:
    """The unchanged instances of a subset, and one stream for each target language or variant; ``mixed`` as the model asks
    for it."""
    parts, distilled = data.parts(subset), data.parts(DISTILLED)
    if (cfg.augment or cfg.lexicon) and not set(parts) <= set(distilled):
        raise InputError(
            f"--train-subset {subset} with --{'augment' if cfg.augment else 'lexicon'}: candidates and lexicons are "
            f"made for the subset {', '.join(distilled)} only; train on that, or leave the option out"
        )
    sources: list[Source | None] = [] if cfg.no_original else [None]
    sources += [*_lexical(cfg, data, parts), *_code_switched(cfg, data, parts)]
    if not sources:
        raise InputError("--no-original without --augment or --lexicon leaves nothing to train on")
    return Streams(sources, mixed, cfg.one_stream, cfg.seed)


def substitutes(cfg: Any) -> list[str]:
    """The directories of a data directory that hold the substitutes of the streams."""
    lexicons = [f"lexicons/{cfg.lexicon}"] if cfg.lexicon else []
    return [*lexicons, *(f"candidates/{language}" for language in cfg.augment.split(",") if language)]


def _lexical(cfg: Any, data: DataDirectory, parts: list[str]) -> list[LexicalSubstitution]:
    if not cfg.lexicon:
        return []
    if len(parts) > 1:
        raise InputError(
            f"--lexicon {cfg.lexicon}: a lexicon is in one source language, and the training data are {', '.join(parts)}: "
            f"name one with --train-subset"
        )
    lexicon = Lexicon(data.path, cfg.lexicon, parts[0], data.sides)
    ratios = cfg.sentence_ratio, cfg.word_ratio
    return [LexicalSubstitution(lexicon, variant, cfg.seed, *ratios, cfg.redraw) for variant in range(cfg.variants)]


def _code_switched(cfg: Any, data: DataDirectory, parts: list[str]) -> list[Source]:
    """A stream for each target language; sentences of each part have thresholds of their own."""
    languages = [*filter(None, cfg.augment.split(","))]
    if not languages:
        return []
    if len(set(languages)) < len(languages):
        raise InputError(f"--augment {cfg.augment} names a language twice: leave one of them out")
    lengths = [len(data.sentences(part, data.sides[0])) for part in parts] if len(parts) > 1 else []
    thresholds = {part: thresholds_of(languages, cfg.thresholds, data.language(part), data.source_languages) for part in parts}
    streams: list[Source] = []
    for language in languages:
        switchings = []
        for part in parts:
            switching = CodeSwitching(data.path, part, language, data.sides, thresholds[part][language])
            logger.info(
                f"code-switching {f'{part} ' if len(parts) > 1 else ''}to {language}: {100 * switching.fraction:.1f}% of "
                f"candidate tokens substituted, those with log-probability >= {switching.log_threshold:.3f}"
            )
            switchings.append(switching)
        streams.append(JoinedSource(switchings, lengths) if len(parts) > 1 else switchings[0])
    return streams
