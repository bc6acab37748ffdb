"""Which checkpoint of each run counts, runs that never learned, and what is said of both."""

import json
from math import log

import pytest

from salt_fairseq.evaluation import scores
from salt_fairseq.report import __main__ as report
from salt_fairseq.report.results import as_results, read_checkpoints
from salt_fairseq.report.selections import select_all
from support.in_process import call, error_of
from support.result_files import evaluated, table_cells
from support.results_read import read_results

# Seed: updates to accuracies on valid, valid.fr, test.en, test.fr. Source dev is highest after 200 updates, target dev after 100.
RUNS = {1: {100: (70, 60, 71, 61), 200: (75, 55, 76, 56), 300: (74, 50, 75, 51)}, 2: {100: (71, 62, 72, 63), 200: (76, 52, 77, 53), 300: (72, 51, 73, 52)}}
SUBSETS = ("valid", "valid.fr", "test.en", "test.fr")


def entry(seed, updates, values, selection=None):
    name = f"{seed}.{updates}.{selection}"
    return {"path": name, "sha256": name, "seed": seed, "updates": updates, "selection": selection, "accuracy": dict(zip(SUBSETS, values))}


@pytest.fixture
def file(tmp_path):
    entries = [entry(seed, updates, values) for seed, run in RUNS.items() for updates, values in run.items()]
    entries += [entry(seed, 300, (73, 58, 74, 70 + seed), "average") for seed in RUNS]
    (tmp_path / "a.json").write_text(json.dumps({"data": {"source_language": "en"}, "checkpoints": entries}))
    return tmp_path / "a.json"


def test_selections(file):
    checkpoints = read_checkpoints({"a": [str(file)]})
    selected = select_all(checkpoints.systems, ["en"])
    french = {selection: [run.accuracy["fr", "fr"] for run in runs] for (_, selection), runs in selected.items()}
    assert french == {"last": [51, 52], "best": [56, 53], "average": [71, 72], "oracle": [61, 63]}


def test_side_by_side(file, tmp_path, capsys, undrawn):
    call(report, f"a={file}", "--selection", "best", "--out", tmp_path / "out")
    assert table_cells(capsys.readouterr().out, "fr") == ["54.5 ± 2.1"]
    lines = [[cell.strip() for cell in line.split("|")[2:-1]] for line in (tmp_path / "out/selections.md").read_text().splitlines() if line.startswith("| a ")]
    assert [line[0] for line in lines] == ["last checkpoint", "best on source dev", "average of checkpoints", "best on target dev (oracle)"]
    assert [line[3] for line in lines] == ["51.5 ± 0.7", "54.5 ± 2.1", "71.5 ± 0.7", "62.0 ± 1.4"]
    assert "a bound, not a result" in (tmp_path / "out/selections.md").read_text()


def test_two_checkpoints_of_a_run_are_not_two_seeds(file, tmp_path):
    message = error_of(report, f"a={file}", "--out", tmp_path / "out")
    assert message.startswith("a has seed 1 (1.200.None) after 200 updates and seed 1 (1.100.None) after 100, two checkpoints of one run")


def test_a_selection_that_there_is_not(file, tmp_path):
    content = json.loads(file.read_text())
    content["checkpoints"] = [entry for entry in content["checkpoints"] if entry["selection"] != "average" or entry["seed"] == 1]
    file.write_text(json.dumps(content))
    assert "--selection average: not every run of a has such a checkpoint" in error_of(report, f"a={file}", "--selection", "average", "--out", tmp_path / "out")


LABELS = [0, 1, 1, 0, 1]


@pytest.fixture
def constant(tmp_path):
    """Seed 1 predicts label 1 for every example."""
    good, bad = {"test.en": LABELS, "test.fr": [0, 1, 0, 0, 1]}, {"test.en": [1] * 5, "test.fr": [1] * 5}
    return evaluated(tmp_path / "c.json", {"test.en": LABELS, "test.fr": LABELS}, good, bad)


def test_runs_that_never_learned_are_named(constant, tmp_path, capsys, undrawn):
    call(report, f"a={constant}", "--out", tmp_path / "out")
    printed = capsys.readouterr()
    said = "a, seed 1 (c.1.pt) never learned: it predicts one label throughout. It is part of all numbers (see --leave-out-unlearned)."
    assert f"warning: {said}" in printed.err
    for name in ("table", "languages", "averages"):
        assert said in (tmp_path / f"out/{name}.md").read_text()
    assert table_cells(printed.out, "fr") == ["70.0 ± 14.1"]


def test_runs_that_never_learned_are_left_out(constant):
    checkpoints = read_checkpoints({"a": [str(constant)]})
    results = as_results(checkpoints, checkpoints.systems, leave_out_unlearned=True)
    assert results.per_seed("a", "fr") == [80.0] and "It is left out of all numbers." in results.notes[0]


@pytest.mark.parametrize(
    "confusion, loss, said",
    [
        ([[0, 5], [0, 5]], None, "predicts one label throughout"),
        ([[0, 0], [0, 5]], None, None),  # the examples have one label
        ([[30, 20], [20, 30]], None, None),
        ([[26, 24], [25, 25]], log(2), "has a loss of 0.693, which is not below that of guessing (ln 2 = 0.693)"),
        ([[45, 5], [5, 45]], 0.9, None),  # overconfident, and far above chance
        ([[26, 24], [25, 25]], 0.6, None),
    ],
)
def test_unlearned(confusion, loss, said):
    assert scores.unlearned(confusion, loss) == said


def test_a_failed_language_is_not_a_failed_run(tmp_path):
    file = evaluated(tmp_path / "c.json", {"test.en": LABELS, "test.fr": LABELS}, {"test.en": LABELS, "test.fr": [1] * 5})
    assert read_results({"a": [str(file)]}).notes == []
