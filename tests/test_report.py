"""The report against the paper's own averages (Table 1) and Python's statistics."""

import statistics

import pytest
from conftest import run

from salt_fairseq import report
from salt_fairseq.errors import InputError

LANGUAGES = "en ar bg de el es fr hi ru sw th tr ur vi zh".split()
TABLE_1 = {  # accuracies, avg. without English, avg. with
    "mBERT*": ("81.8 64.7 67.0 69.6 66.1 74.7 73.9 59.7 68.8 50.0 53.7 60.8 58.0 70.5 68.8", 64.7, 66.0),
    "SALT": ("82.4 65.9 69.6 70.4 67.8 75.0 74.5 61.1 69.6 50.6 53.5 62.0 58.9 70.9 69.8", 65.7, 66.8),
}


def write_log(path, accuracies, examples=10):
    """A log as ``fairseq-validate --log-format json`` prints it, with other lines around the results."""
    lines = ["2026-01-01 00:00:00 | INFO | fairseq_cli.validate | loading model(s) from checkpoint_best.pt"]
    for language, accuracy in accuracies.items():
        name = f"test.{language}"
        values = f'{{"{name}_loss": "1.2", "{name}_accuracy": "{accuracy}", "{name}_examples": "{examples}"}}'
        lines.append(f"2026-01-01 00:00:01 | INFO | {name} | {values}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def cells(table, row):
    line = next(line for line in table.splitlines() if line.startswith(f"| {row} "))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_averages_of_table_1(tmp_path):
    pairs = []
    for name, (accuracies, _, _) in TABLE_1.items():
        pairs.append(f"{name}={write_log(tmp_path / name.strip('*'), dict(zip(LANGUAGES, accuracies.split())))}")
    table = report.markdown(report.read_systems(pairs), "en")
    (_, without, with_source), (_, salt_without, salt_with) = TABLE_1.values()
    # The paper's inputs are rounded to 0.1, so its averages may differ by that.
    for row, expected in (("avg. without en", (without, salt_without)), ("avg. with en", (with_source, salt_with))):
        found = [float(cell) for cell in cells(table, row)[:2]]
        assert found == pytest.approx(expected, abs=0.101)
    assert cells(table, "bg") == ["67.0", "69.6", "+2.6"]


def test_seeds_and_files(tmp_path):
    seeds = [{"en": 80.25, "fr": 61.5}, {"en": 82.0, "fr": 60.0}, {"en": 81.1, "fr": 64.3}]
    logs = [write_log(tmp_path / f"a{i}.log", s) for i, s in enumerate(seeds)]
    base = write_log(tmp_path / "b.log", {"en": 70, "fr": 60.04})
    done = run("python", "-m", "salt_fairseq.report", f"vanilla={base}", f"SALT={','.join(map(str, logs))}",
               "--out", tmp_path / "out")
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert table in done.stdout
    french = [s["fr"] for s in seeds]
    assert cells(table, "fr") == ["60.0", f"{statistics.mean(french):.1f} ± {statistics.stdev(french):.1f}",
                                  f"{statistics.mean(french) - 60.04:+.1f}"]
    both = [(s["en"] + s["fr"]) / 2 for s in seeds]
    assert cells(table, "avg. with en")[1] == f"{statistics.mean(both):.1f} ± {statistics.stdev(both):.1f}"
    assert "vanilla 1, SALT 3" in table
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_refuses(tmp_path):
    one, other = (write_log(tmp_path / f"{n}.log", a) for n, a in (("one", {"en": 1, "fr": 2}), ("other", {"en": 1})))
    with pytest.raises(InputError, match=r"other\.log was validated on other languages than the first log \(fr\)"):
        report.read_systems([f"vanilla={one}", f"SALT={other}"])
    (tmp_path / "empty.log").write_text("nothing\n", encoding="utf-8")
    with pytest.raises(InputError, match="empty.log holds no accuracies"):
        report.read_systems([f"vanilla={tmp_path / 'empty.log'}"])
    failed = run("python", "-m", "salt_fairseq.report", f"vanilla={tmp_path / 'absent.log'}", "--out", tmp_path, check=False)
    assert failed.returncode == 1 and failed.stderr.startswith("error: ") and failed.stderr.count("\n") == 1
