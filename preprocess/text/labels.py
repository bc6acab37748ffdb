"""The order of a data set's labels, and whether they can be labels at all."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from preprocess.text.encoded_blocks import BadText
from preprocess.text.readers import TextFile
from salt_fairseq.errors import InputError

NLI_LABELS = ["entailment", "neutral", "contradiction"]
UPOS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()
MISSING = {"nan", "none", "null", "na", "n/a", "<na>", "-1", "-100"}  # how other programs write that there is no value
MOST_DISTINCT = 5  # labels that a handful of examples may have, each its own
MOST_ALIKE = 20  # examples that may have one label by chance: with two equally frequent ones, one time in 500,000
BY_OPTION = "list the labels in order with --labels=A,B,..."


def parse_labels(text: str, option: str = "--labels") -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if len(set(names)) < len(names) or "" in names:
        raise InputError(f"{option} {text}: a label is empty or given twice; give each once, A,B,...")
    if len(names) < 2:
        raise InputError(f"{option} {text}: a classifier needs at least two labels, A,B,...")
    return names


def label_order(labels: list[str], names: Sequence[str] = ()) -> list[str]:
    """The data set's own order of ``labels``, which come in the order of their first examples; ``names`` are those of its
    integer labels."""
    if set(labels) <= set(names):
        return list(names)
    if set(labels) <= set(NLI_LABELS):
        return NLI_LABELS
    return sorted(labels, key=int) if all(re.fullmatch(r"-?\d{1,18}", label) for label in labels) else labels


def tag_order(tags: list[str], names: Sequence[str] = ()) -> list[str]:
    """The order of ``tags`` of words: that of ``names``, those of integer tags, or all of Universal Dependencies' (UPOS) where
    they are some of these, or alphabetical, as transformers' example of token classification sorts them."""
    if set(tags) <= set(names):
        return list(names)
    if set(tags) <= set(UPOS):
        return UPOS
    return sorted(tags, key=int) if all(re.fullmatch(r"\d{1,18}", tag) for tag in tags) else sorted(tags)


def check_plausible(counts: Counter[str], lines: Mapping[str, int], skipped: int, file: TextFile) -> None:
    """Raise :class:`BadText` if the labels of a training file, counted, are more likely a mistake than labels.

    ``lines``: the first line of each. ``skipped``: rows whose label is ``-``.
    """
    where = _described(counts, file)

    def line_of(label):
        return f"{label!r} in {file.format.unit} {lines[label]}"

    missing = [label for label in counts if label.lower() in MISSING and set(counts) != {"-1", "1"}]
    if missing:
        raise BadText(
            f"{where}: {line_of(missing[0])} may mean that there is none; skip such rows with --missing-label={missing[0]}, or "
            f"if it is a label, {BY_OPTION}"
        )
    _check_skipped(counts, skipped, file)
    scores = [label for label in counts if re.fullmatch(r"[+-]?(\d+\.\d*|\.\d+|\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", label)]
    scores = [label for label in scores if not re.fullmatch(r"[+-]?\d+", label)]
    if scores:
        raise BadText(
            f"{where}: {line_of(scores[0])} is a number, but no integer, as scores are, not classes; if it is one, {BY_OPTION}"
        )
    alike: dict[str, str] = {}
    for label in counts:
        if (other := alike.setdefault(label.casefold(), label)) != label:
            raise BadText(f"{where}: {line_of(other)} and {line_of(label)} differ by case only; correct them, or {BY_OPTION}")
    if len(counts) < 2:
        raise BadText(f"{where}: fewer than two classes; if others have no examples here, {BY_OPTION}")
    examples = sum(counts.values())
    if 2 * len(counts) >= examples and (len(counts) > MOST_DISTINCT or any(len(label.split()) > 1 for label in counts)):
        raise BadText(
            f"{where}: as many as half of its {examples} examples, so this is hardly the column of labels; name the "
            f"columns with --columns, or {BY_OPTION}"
        )
    first, *others = counts
    if file.columns and file.columns.names is None and not file.columns.chosen and lines[first] == 1:
        if counts[first] == 1 and len(others) > 1 and all(counts[label] > 1 for label in others):
            raise BadText(
                f"{where}: {line_of(first)} is there only, like the name of a column; name them with --columns, or {BY_OPTION}"
            )


def check_others(counts: Counter[str], skipped: int, file: TextFile) -> None:
    """The same of the labels of another subset, all of which the training set has."""
    _check_skipped(counts, skipped, file)
    examples = sum(counts.values())
    if len(counts) < 2 and examples > MOST_ALIKE:
        raise BadText(
            f"{_described(counts, file)}, the same for all of its {examples:,} examples, as files without labels have; "
            f"name the columns with --columns, or if it is right, {BY_OPTION}"
        )


def unknown_label(label: str, known: Sequence[str]) -> str:
    """What is wrong with a label that is none of the ``known`` ones, and what to do."""
    alike = "".join(f", which has {name!r}" for name in known if name.casefold() == label.casefold())
    is_number = label.isdecimal() and not all(map(str.isdecimal, known))
    by_name = "name the numbers with --label-names, " if is_number else ""
    return (
        f"label {label!r} is none of {', '.join(known)}{alike}; correct it, list all labels with --labels, {by_name}or skip "
        "such rows with --missing-label"
    )


def _described(counts, file):
    shown = ", ".join(label[:40] for label in list(counts)[:8]) + (f", ... ({len(counts)} labels)" if len(counts) > 8 else "")
    return f"{file.path}, read as {file.columns}, has the labels {shown}"


def _check_skipped(counts, skipped, file):
    if skipped and not file.reading.missing and not _undecided(counts):
        raise BadText(
            f"{_described(counts, file)}, and {skipped} rows the label '-': if it is a label, {BY_OPTION}; skip them with "
            "--missing-label=-"
        )


def _undecided(labels):
    return set(labels) <= set(NLI_LABELS) or all(re.fullmatch(r"\d+", label) for label in labels)
