"""The report as a command, its files, and how they write numbers and names."""

import csv
import json
import re
import shutil
import statistics
import subprocess

import numpy as np
import pytest

from salt_fairseq.errors import InputError
from salt_fairseq.report import __main__ as report
from salt_fairseq.report import rows as plain_rows
from salt_fairseq.report import tables
from salt_fairseq.report.markup import Cell, Table
from salt_fairseq.report.significance import compare
from support.in_process import call
from support.result_files import evaluated, published, subset, table_cells
from support.results_read import read_results

SEEDS = [{"en": 80.25, "fr": 61.5}, {"en": 82.0, "fr": 60.0}, {"en": 81.1, "fr": 64.3}]


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def latex_rows(path):
    """Cells of the rows between the rules of each table."""
    text = path.read_text(encoding="utf-8")
    bodies = re.findall(r"\\endhead\n(.*?)\\bottomrule", text, re.DOTALL)
    return [[re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in body.splitlines()] for body in bodies]


@pytest.mark.slow
def test_published_numbers_as_typed(tmp_path, capsys):
    """Seeds in several files, and a baseline with one: the terminal shows table.md, and no test is claimed."""
    files = [published(tmp_path / f"a{i}.json", {f"test.{k}": v for k, v in seed.items()}) for i, seed in enumerate(SEEDS)]
    base = published(tmp_path / "b.json", {"test.en": 70, "test.fr": 60.04, "valid.fr": 1})
    call(report, f"vanilla={base}", f"SALT={','.join(map(str, files))}", "--out", tmp_path / "out")
    printed = capsys.readouterr()
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert printed.out.startswith(table) and printed.err == ""
    french = [s["fr"] for s in SEEDS]
    assert table_cells(table, "fr") == ["60.0", f"{statistics.mean(french):.1f} ± {statistics.stdev(french):.1f}", f"{statistics.mean(french) - 60.04:+.1f}"]
    both = [(s["en"] + s["fr"]) / 2 for s in SEEDS]
    assert table_cells(table, "avg. with en")[1] == f"{statistics.mean(both):.1f} ± {statistics.stdev(both):.1f}"
    assert "Seeds: vanilla 1, SALT 3." in table
    tests = (tmp_path / "out" / "significance.md").read_text(encoding="utf-8")
    assert "Tests made: 0 Welch, 0 paired, 0 bootstrap, 0 McNemar" in tests and tests.count("n/a (1 seed)") == 4
    assert all(row["welch_p"] == row["bootstrap_p"] == "" for row in read_csv(tmp_path / "out" / "significance.csv"))
    for kind, begins in (("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")):
        assert all((tmp_path / "out" / f"{name}.{kind}").read_bytes().startswith(begins) for name in ("figure", "gains"))


@pytest.fixture(scope="module")
def generalized(tmp_path_factory):
    """A report on two evaluated systems, two seeds each, in all pairs of three languages; and the accuracies."""
    directory = tmp_path_factory.mktemp("generalized")
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=60).tolist()
    targets = {subset(a, b): labels for a in ("en", "de", "fr") for b in ("en", "de", "fr")}

    def seeds(right):
        return [{name: [label if generator.random() < right else 1 - label for label in labels] for name in targets} for _ in range(2)]

    names = {"RS_RP & co. 100%": seeds(0.9), "vanilla": seeds(0.6)}
    files = {name: evaluated(directory / f"{i}.json", targets, *each) for i, (name, each) in enumerate(names.items())}
    call(report, *(f"{name}={path}" for name, path in files.items()), "--out", directory / "out", "--baseline", "vanilla", "--languages", "fr,en,de")
    accuracies = {name: [{key: 100 * np.mean(np.equal(value, labels)) for key, value in seed.items()} for seed in each] for name, each in names.items()}
    return directory / "out", accuracies


def test_files_of_a_full_report(generalized):
    directory, _ = generalized
    tables = [f"{name}.{ending}" for name in ("languages", "averages", "significance", "generalized") for ending in ("md", "tex", "csv")]
    names = ["figure", "gains", "generalized.vanilla", "generalized.RS_RP_co._100_", "generalized.RS_RP_co._100_-vanilla"]
    figures = [f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")]
    assert sorted(path.name for path in directory.iterdir()) == sorted([*tables, *figures, "table.md", "seeds.csv"])


def test_markdown(generalized):
    directory, accuracies = generalized
    text = (directory / "languages.md").read_text(encoding="utf-8")
    assert re.search(r"\| Model +\| seeds \| +fr \| +en \| +de \| +avg\. without en \| +avg\. with en \|", text)  # the order of --languages
    assert "avg. without en: mean of the 2 other languages; avg. with en: of all 3." in text and "(5 tests, not corrected" in text
    values = [statistics.fmean([seed["test.fr"], seed["test.de"]]) for seed in accuracies["RS_RP & co. 100%"]]
    shown = f"**{statistics.mean(values):.1f}**"
    assert table_cells(text, "RS_RP & co. 100%")[4] in (f"{shown} ± {statistics.stdev(values):.1f}", f"<u>{shown}</u> ± {statistics.stdev(values):.1f}")
    english = [statistics.mean(seed["test.en"] for seed in accuracies[name]) for name in ("RS_RP & co. 100%", "vanilla")]
    by_language = (directory / "table.md").read_text(encoding="utf-8")
    assert table_cells(by_language, "en")[2] == f"{round(english[0], 1) - round(english[1], 1):+.1f}"  # to --baseline, which is not the first
    averages = (directory / "averages.md").read_text(encoding="utf-8")
    pairs = [statistics.fmean(seed.values()) for seed in accuracies["vanilla"]]
    assert table_cells(averages, "vanilla")[3] == f"{statistics.mean(pairs):.1f} ± {statistics.stdev(pairs):.1f}"
    tests = (directory / "significance.md").read_text(encoding="utf-8")
    assert "the same examples in all languages" in tests and "treats the trained models as fixed" in tests
    assert "Tests made: 6 Welch, 6 paired, 6 bootstrap, 0 McNemar" in tests
    matrices = (directory / "generalized.md").read_text(encoding="utf-8")
    assert matrices.count("## Results for ") == 2 and "mean of 2 seeds" in matrices
    cell = statistics.mean(seed["test.fr-de"] for seed in accuracies["RS_RP & co. 100%"])
    assert table_cells(matrices, "fr")[2] == f"{cell:.1f}"


def test_latex(generalized):
    """With the columns of the paper alone: no seeds, no deviations, no tests."""
    directory, _ = generalized
    for name, columns in (("languages", 6), ("averages", 4), ("significance", 8), ("generalized", 5)):  # the table of tests is cut in two
        text = (directory / f"{name}.tex").read_text(encoding="utf-8")
        assert {len(row) for row in latex_rows(directory / f"{name}.tex")[0]} == {columns}
        assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") > 0 and r"\begin{table" not in text
        assert text.replace(r"\{", "").replace(r"\}", "").count("{") == text.replace(r"\{", "").replace(r"\}", "").count("}")
        special = [c for line in text.splitlines() if not line.startswith("% ") for c in re.findall(r"(?<!\\)[_%#]", line)]
        assert not special and all(ord(c) < 128 for c in text)
    for name in ("languages", "averages"):
        text = (directory / f"{name}.tex").read_text(encoding="utf-8")
        assert "seeds &" not in text and "pm" not in text and "Welch p:" not in text
    assert latex_rows(directory / "languages.tex")[0][0][0].replace(r"\allowbreak{}", "") == r"RS\_RP \& co. 100\%"
    assert r"\label{tab:generalized:RS-RP-co-100-}" in (directory / "generalized.tex").read_text(encoding="utf-8")


def test_latex_is_never_wider_than_the_text():
    """345 points: what is wider is cut into several tables, each with the names; long names are broken."""
    name = "a_very_long_name_of_a_system.v1 (with more)"
    cells = [[name, "5", *(Cell("82.9", "0.7", True) for _ in range(17))]]
    table = Table("Wide", ["Model", "seeds", *(f"l{i}" for i in range(17))], cells, ["Accuracy, mean ± standard deviation over seeds."], extra={1})
    plain, details = table.latex(), table.latex(details=True)
    assert plain.count(r"\begin{longtable}") == 2 and details.count(r"\begin{longtable}") > 2
    assert plain.count(r"\caption") == details.count(r"\caption") == 1 and "mean over seeds" in plain
    assert plain.count("82.9") == 17 and plain.count(r"a\_\allowbreak{}very") == 2
    assert r"\normalsize" in Table("Narrow", ["Model", "en"], [["a", "1.0"]]).latex()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex, which compiles the tables, is not installed")
def test_latex_compiles(generalized, tmp_path):
    directory, _ = generalized
    tables = "".join((directory / f"{name}.tex").read_text(encoding="utf-8") for name in ("languages", "averages", "significance", "generalized"))
    (tmp_path / "all.tex").write_text(r"\documentclass{article}\usepackage{array,booktabs,longtable}\begin{document}" + f"\n{tables}" + r"\end{document}")
    done = subprocess.run(["pdflatex", "-halt-on-error", "all.tex"], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0 and "Overfull" not in done.stdout, done.stdout[-2000:]


def test_csv(generalized):
    directory, accuracies = generalized
    rows = {(row["system"], row["measure"]): row for row in read_csv(directory / "languages.csv")}
    assert len(rows) == 2 * 6
    for name, seeds in accuracies.items():
        french = [seed["test.fr"] for seed in seeds]
        assert float(rows[name, "fr"]["accuracy"]) == pytest.approx(statistics.mean(french), rel=1e-5)
        assert float(rows[name, "fr"]["standard_deviation"]) == pytest.approx(statistics.stdev(french), rel=1e-5)
        assert rows[name, "fr"]["seeds"] == "2" and rows[name, "fr"]["best"] == "*" * (name != "vanilla")
    seeds = read_csv(directory / "seeds.csv")
    assert [(row["system"], row["seed"]) for row in seeds] == [(name, str(i)) for name in accuracies for i in range(2)]
    assert float(seeds[1]["avg. without en"]) == pytest.approx(
        statistics.mean(accuracies["RS_RP & co. 100%"][1][name] for name in ("test.de", "test.fr")), rel=1e-5
    )
    cells = {(row["system"], row["premise"], row["hypothesis"]): row for row in read_csv(directory / "generalized.csv")}
    assert len(cells) == 18 and float(cells["vanilla", "fr", "de"]["accuracy"]) == pytest.approx(
        statistics.mean(seed["test.fr-de"] for seed in accuracies["vanilla"]), rel=1e-5
    )
    tests = {row["measure"]: row for row in read_csv(directory / "significance.csv")}
    averages = {row["system"]: row for row in read_csv(directory / "averages.csv")}
    assert (
        tests["avg. without en"]["bootstrap_p"] == averages["RS_RP & co. 100%"]["avg_without_en_bootstrap_p"]
        and averages["vanilla"]["avg_without_en_welch_p"] == ""
    )
    assert float(tests["avg. of all pairs"]["difference"]) == pytest.approx(
        float(averages["RS_RP & co. 100%"]["avg_of_all_pairs"]) - float(averages["vanilla"]["avg_of_all_pairs"]), abs=1e-3
    )


def test_some_pairs_of_some_systems(tmp_path, undrawn):
    """What was not evaluated is a dash, never an average of what was."""
    vanilla = published(tmp_path / "v.json", {"test.en": 80, "test.de": 60, "test.fr": 62})
    salt = published(tmp_path / "s.json", {"test.en": 81, "test.de": 63, "test.fr": 64, "test.en-de": 50, "test.en-fr": 52})
    call(report, f"vanilla={vanilla}", f"SALT={salt}", "--out", tmp_path / "out")
    matrix = (tmp_path / "out" / "generalized.md").read_text(encoding="utf-8")
    assert table_cells(matrix, "en") == ["81.0", "50.0", "52.0", "61.0"] and table_cells(matrix, "de") == ["–", "63.0", "–", "–"]
    assert table_cells(matrix, "avg.") == ["–", "–", "–", "–"] and "vanilla" not in matrix
    averages = (tmp_path / "out" / "averages.md").read_text(encoding="utf-8")
    assert table_cells(averages, "SALT")[3] == "–" and table_cells(averages, "SALT")[-3:] == ["–"] * 3
    assert not list((tmp_path / "out").glob("*SALT-vanilla*")) and (tmp_path / "out" / "generalized.SALT.png").exists()


def test_one_system_alone(tmp_path, undrawn):
    """No baseline to compare with: no tests, no gains, nothing is best."""
    file = published(tmp_path / "s.json", {"test.en": 81, "test.de": 63}, {"test.en": 80, "test.de": 64})
    call(report, f"SALT={file}", "--out", tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "languages.md" in names and not {"significance.md", "gains.png"} & names
    text = (tmp_path / "out" / "languages.md").read_text(encoding="utf-8")
    assert table_cells(text, "SALT") == ["2", "80.5 ± 0.7", "63.5 ± 0.7", "63.5 ± 0.7", "72.0 ± 0.0"] and "Bold" not in text


def test_source_language_and_split(tmp_path, undrawn):
    """The subset ``valid`` is in the source language of the data."""
    file = tmp_path / "s.json"
    checkpoint = {"accuracy": {"valid": 70.0, "valid.en": 60.0, "test.en": 1.0}}
    file.write_text(json.dumps({"data": {"source_language": "de"}, "checkpoints": [checkpoint]}), encoding="utf-8")
    call(report, f"SALT={file}", "--split", "valid", "--out", tmp_path / "out")
    text = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:6]] == ["de", "en", "avg. without de", "avg. with de"]
    assert table_cells(text, "avg. without de") == ["60.0"]


def test_averages_leave_out_all_source_languages(tmp_path, undrawn):
    """(50 + 20) / 2 without English and German, which come first; the best of a run is that of the highest mean on their dev sets."""
    accuracy = {"valid.en": 90, "valid.de": 50, "test.ar": 50, "test.de": 80, "test.en": 90, "test.fr": 20}
    other = accuracy | {"valid.en": 60, "valid.de": 84, "test.ar": 10}
    runs = [{"path": f"{n}.pt", "sha256": f"{n}", "seed": 1, "updates": n, "accuracy": values} for n, values in ((100, accuracy), (200, other))]
    for name, checkpoints in (("one", runs[:1]), ("two", runs)):
        content = {"data": {"source_language": "en,de"}, "checkpoints": checkpoints}
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    call(report, f"one={tmp_path / 'one.json'}", "--out", tmp_path / "out")
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    shown = [["de", "80.0"], ["en", "90.0"], ["ar", "50.0"], ["fr", "20.0"], ["avg. without en, de", "35.0"], ["avg. with en, de", "60.0"]]
    assert cells[2:] == shown
    with open(tmp_path / "out" / "averages.csv", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert float(row["avg_without_en_de"]) == 35 and float(row["avg_with_en_de"]) == 60
    results = read_results({"one": [str(tmp_path / "one.json")]}, source="de")
    assert results.per_seed("one", results.without_source) == [pytest.approx((50 + 90 + 20) / 3)]
    (tmp_path / "fr.json").write_text((tmp_path / "one.json").read_text().replace('"en,de"', '"fr"'))
    both = {name: [str(tmp_path / f"{name}.json")] for name in ("one", "fr")}
    with pytest.raises(InputError, match="different data .the source language differ"):
        read_results(both)
    results = read_results(both, source="en,de,fr")  # Arabic is left
    assert results.per_seed("fr", results.without_source) == [50.0]
    call(report, f"two={tmp_path / 'two.json'}", "--selection", "best", "--out", tmp_path / "out")
    assert table_cells((tmp_path / "out" / "table.md").read_text(), "avg. without en, de") == ["15.0"]


def test_escapes():
    table = Table("A_B", ["|", "x"], [["a|b_c&50%#{}~^\\<", Cell("-1.5", "0.2", True, True)]], ["p ≤ 0.05 – Δ"])
    latex = table.latex(details=True).replace(r"\allowbreak{}", "")
    assert latex.count(r"a\textbar{}b\_c\&50\%\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}$<$") == 1
    assert r"\underline{\textbf{$-1.5$}}{\scriptsize\,$\pm$\,0.2}" in table.latex(details=True)
    assert r"\caption{A\_B. p $\leq$ 0.05 -- $\Delta$}" in table.latex()
    assert r"| a\|b_c&50%#{}~^\< | <u>**-1.5**</u> ± 0.2 |" in table.markdown()
    broken = Table("A", ["x", "y"], [["a\r\n\n# b\x1b", "c\u2028|\td"]], ["e\n\nf"])
    assert "| a # b | c \\| d |\n\ne f\n" in broken.markdown() and "\na \\# b & c \\textbar{} d \\\\\n" in broken.latex()


def test_differences_are_those_of_the_printed_numbers(tmp_path):
    """31.24 and 32.46 are printed as 31.2 and 32.5, which differ by 1.3 and not by 1.2; the CSV files are not rounded."""
    files = [published(tmp_path / f"{name}.json", {"test.en": 80, "test.fr": value}) for name, value in (("a", 31.24), ("b", 32.46))]
    results = read_results({"a": [files[0]], "b": [files[1]]})
    assert table_cells(tables.by_language(results, "a").markdown(), "fr") == ["31.2", "32.5", "+1.3"]
    comparisons = compare(results, "a")
    (row,) = [row for row in plain_rows.significance("a", comparisons) if row["measure"] == "fr"]
    assert row["difference"] == pytest.approx(1.22)
