"""Which subsets of a data directory are evaluated: names, globs, and all pairs of languages."""

from __future__ import annotations

import fnmatch

from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.subset import Subset
from salt_fairseq.errors import InputError


def subset_by_language(data: DataDirectory, split: str) -> dict[str, str]:
    """Language to the name of its subset, source languages first; a split without a language is in the source language."""
    names: dict[str, str] = {}
    for name in data.meta["subsets"]:
        subset = Subset.parse(name)
        if subset.split == split:
            names.setdefault(data.language(name), name)
    return dict(sorted(names.items(), key=lambda item: item[0] not in data.source_languages))


def generalized_subsets(data: DataDirectory, split: str) -> list[str]:
    """Every premise language with every hypothesis language, row by row; the diagonal consists of the stored subsets."""
    names = subset_by_language(data, split)
    if len(names) < 2 or not data.is_pairs:
        raise InputError(
            f"--generalized {split}: sentence pairs of this split in two languages or more are needed, but "
            f"{data.path} has {', '.join(data.meta['subsets'])}"
        )
    return [names[a] if a == b else f"{split}.{a}-{b}" for a in names for b in names]


def selected_subsets(data: DataDirectory, patterns: str, generalized: str | None) -> list[str]:
    """The distinct subsets that names and globs (``test.en-de,valid*``) select, in order, then those of the generalized
    setting for a split."""
    known, names = list(data.meta["subsets"]), []
    for pattern in patterns.split(","):
        matches = fnmatch.filter(known, pattern) if any(c in pattern for c in "*?[") else [pattern]
        if not matches:
            raise InputError(f"--subsets {pattern} matches no subset of {data.path}, which has {', '.join(known)}")
        for name in (part for match in matches for part in data.parts(match)):
            premises, hypotheses = data.stored_subsets(name)
            names.append(premises if premises == hypotheses else name)
    return list(dict.fromkeys(names + ([] if generalized is None else generalized_subsets(data, generalized))))
