"""Which checkpoint of a run counts: the last one, the best on a dev set, or the average of several.

Dev sets in the source language mislead about other languages (Keung et al., 2020, "Don't Use English Dev"); so that a reader
sees by how much, all selections are shown side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from salt_fairseq.errors import InputError
from salt_fairseq.report.result_files import Run

SELECTIONS = {
    "last": "last checkpoint",
    "best": "best on source dev",
    "average": "average of checkpoints",
    "oracle": "best on target dev (oracle)",
}


def select_all(systems: dict[str, list[Run]], sources: Sequence[str]) -> dict[tuple[str, str], list[Run]]:
    """By system and selection, one checkpoint of each run (seed), where every run of the system has one.

    It is the one that its file calls so; else, of two or more that were saved in training, the one with the most updates
    (``last``), with the highest accuracy on the dev set in the source language (``best``; the mean of several), or with the
    highest mean over the dev sets in all other languages (``oracle``), of equal ones the earliest.
    """
    selected = {}
    for name, checkpoints in systems.items():
        runs: dict[int | str | None, list[Run]] = {}
        for checkpoint in checkpoints:
            runs.setdefault(checkpoint.seed, []).append(checkpoint)
        if len(runs.get(None, [])) > 1:
            raise InputError(f"{runs[None][0].file} does not say which seed each checkpoint has: --selection needs that")
        for selection in SELECTIONS:
            chosen = [run for candidates in runs.values() if (run := _select(candidates, selection, sources))]
            if len(chosen) == len(runs):
                selected[name, selection] = chosen
    return selected


def selected_runs(selected: dict[tuple[str, str], list[Run]], name: str, selection: str) -> list[Run]:
    """Those of :func:`select_all` for a system; raises where there are none."""
    if (name, selection) not in selected:
        raise InputError(
            f"--selection {selection}: not every run of {name} has such a checkpoint; evaluate it, or several of the run on "
            "their dev sets, too (--subsets 'valid*,test.*')"
        )
    return selected[name, selection]


def _select(candidates: list[Run], selection: str, sources: Sequence[str]) -> Run | None:
    named = [run for run in candidates if run.selection == selection]
    if len({run.sha256 for run in named}) > 1:
        raise InputError(f"{named[0]} and {named[1]} are both called {selection}: leave one of them out")
    if named:
        return named[0]
    trained = sorted((run for run in candidates if run.selection != "average"), key=lambda run: run.updates or 0)
    value = _measure(trained, selection, sources)
    return max(trained, key=value) if value and len({run.updates for run in trained}) > 1 else None


def _measure(trained: list[Run], selection: str, sources: Sequence[str]) -> Callable[[Run], float] | None:
    """What the selected checkpoint has most of, or None where not every checkpoint has that."""
    if selection == "last":
        return (lambda run: run.updates or 0) if all(run.updates is not None for run in trained) else None
    dev = {pair for run in trained for pair in run.dev_accuracy if pair[0] == pair[1]}
    pairs = {pair for pair in dev if (pair[0] in sources) == (selection == "best")}
    if selection == "average" or not pairs or any(not pairs <= run.dev_accuracy.keys() for run in trained):
        return None
    return lambda run: fmean(run.dev_accuracy[pair] for pair in sorted(pairs))
