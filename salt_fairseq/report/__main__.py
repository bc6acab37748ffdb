"""Tables, significance tests and figures from what ``python -m salt_fairseq.evaluate`` wrote for systems and their seeds.

python -m salt_fairseq.report vanilla=vanilla.json SALT=salt.1.json,salt.2.json --out results
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from salt_fairseq.cli.arguments import command_parser, name_value_pairs
from salt_fairseq.cli.printable import print_line
from salt_fairseq.errors import InputError
from salt_fairseq.pages.rendering import begins
from salt_fairseq.report import figures, tables
from salt_fairseq.report import rows as plain_rows
from salt_fairseq.report.markup import Table
from salt_fairseq.report.page import TITLE, report_page
from salt_fairseq.report.result_files import Run
from salt_fairseq.report.results import Results, as_results, check_runs, read_checkpoints
from salt_fairseq.report.selections import SELECTIONS, select_all, selected_runs
from salt_fairseq.report.significance import compare
from salt_fairseq.storage.files import check_output, locked, replacing


def parse_systems(pairs: list[str]) -> dict[str, list[str]]:
    """``NAME=FILE,FILE`` options to a dict of system name to paths."""
    form = "NAME=FILE[,FILE...]"
    systems = {name: paths.split(",") for name, paths in name_value_pairs("system", pairs, form, ".+").items()}
    for name, paths in systems.items():
        if not all(paths):
            raise InputError(f"system {name}={','.join(paths)}: {form} is needed")
        alike = next(other for other in systems if file_name(other) == file_name(name))
        if alike != name:
            raise InputError(f"figures of {alike} and {name} would both be called {file_name(name)}: rename one of them")
    return systems


@contextmanager
def staged(directory: Path, inputs: list[str]) -> Iterator[Path]:
    """Yield a hidden directory in ``directory``; its files replace those in ``directory`` when the block ends well, so that
    there are never files of two reports. None of them may be one of ``inputs``."""
    for marker, command in (("meta.json", "preprocess/binarize.py"), ("plm.json", "preprocess/import_plm.py")):
        if (directory / marker).is_file():
            raise InputError(f"{directory} is a directory that {command} wrote: choose another output directory")
    with locked(directory / "report"):
        for old in directory.glob(".report.*.tmp"):
            if old.is_dir() and not old.is_symlink() and old.stat().st_uid == os.getuid():
                shutil.rmtree(old)
        temporary = Path(tempfile.mkdtemp(".tmp", ".report.", directory))
        try:
            yield temporary
            for path in sorted(temporary.iterdir()):
                check_output(directory / path.name, inputs)
            for path in sorted(temporary.iterdir()):
                os.replace(path, directory / path.name)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


class Writer:
    """Writes files into a directory and remembers their names; ``details`` are for LaTeX."""

    def __init__(self, directory: Path, details: bool = False) -> None:
        self.directory, self.details = directory, details
        self.written: list[str] = []
        self.parts: dict[str, list[Table]] = {}

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        with replacing(self.directory / name) as temporary:
            yield temporary
        self.written.append(name)

    def tables(self, name: str, parts: list[Table]) -> None:
        """``parts`` one below the other, as Markdown and as LaTeX."""
        self.parts[name] = parts
        latex = [part.latex(self.details) for part in parts]
        for ending, text in (("md", [part.markdown() for part in parts]), ("tex", latex)):
            with self.file(f"{name}.{ending}") as temporary:
                temporary.write_bytes("\n".join(text).encode())

    def csv(self, name: str, rows: list[dict]) -> None:
        with self.file(f"{name}.csv") as temporary:
            plain_rows.write_csv(rows, temporary)

    def figure(self, name: str, figure) -> None:
        for kind in figures.FORMATS:
            with self.file(f"{name}.{kind}") as temporary:
                figures.save(figure, temporary, kind)
        figures.close(figure)


def write_report(results: Results, baseline: str, writer: Writer) -> str:
    """Write everything that ``results`` allow; returns the table for the terminal."""
    comparisons = compare(results, baseline)
    summary = tables.by_language(results, baseline).markdown(title=False)
    with writer.file("table.md") as temporary:
        temporary.write_bytes(summary.encode())
    writer.figure("figure", figures.accuracies(results))
    writer.tables("languages", [tables.languages(results, baseline, comparisons)])
    writer.csv("languages", plain_rows.languages(results, comparisons))
    writer.tables("averages", [tables.averages(results, baseline, comparisons)])
    writer.csv("averages", plain_rows.averages(results, comparisons))
    writer.csv("seeds", plain_rows.seeds(results))
    if comparisons:
        needed = tables.needed(results, baseline, comparisons)
        writer.tables("significance", [tables.significance(results, baseline, comparisons), needed])
        writer.csv("significance", plain_rows.significance(baseline, comparisons))
        writer.figure("gains", figures.gains(results, baseline, comparisons))
    if results.generalized_languages:
        _write_generalized(writer, results, baseline)
    return summary


def _write_generalized(writer: Writer, results: Results, baseline: str) -> None:
    names = [name for name, runs in results.systems.items() if any(a != b for a, b in runs[0].accuracy)]
    writer.tables("generalized", [tables.generalized(results, name) for name in names])
    writer.csv("generalized", plain_rows.generalized(results, names))
    scale = figures.accuracy_scale(results, names)
    for name in names:
        writer.figure(f"generalized.{file_name(name)}", figures.heatmap(results, name, scale))
    others = [name for name in names if name != baseline]
    if baseline in names and others:
        limit = figures.difference_limit(results, others, baseline)
        for name in others:
            writer.figure(
                f"generalized.{file_name(name)}-{file_name(baseline)}",
                figures.heatmap_difference(results, name, baseline, limit),
            )


def file_name(system: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", system)


def main() -> None:
    parser = command_parser(__doc__)
    parser.add_argument(
        "systems",
        metavar="NAME=FILE,...",
        nargs="+",
        help="a system and the files that python -m salt_fairseq.evaluate wrote for it; each checkpoint in them is one seed",
    )
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="tables (.md, .tex, .csv) and figures (.png, .svg, .pdf) go here"
    )
    parser.add_argument(
        "--html", metavar="FILE", type=Path, help="also write all of it, and the runs' settings, on one HTML page"
    )
    parser.add_argument("--baseline", metavar="NAME", help="what the others are compared with (default: the first system)")
    parser.add_argument(
        "--source-language",
        metavar="LANG[,LANG...]",
        help="the languages that one of the averages leaves out (default: the data's; systems that were trained on different "
        "languages need it)",
    )
    parser.add_argument(
        "--languages",
        metavar="LANG,...",
        help="these languages, in this order (default: all, the source language first, the others in alphabetical order)",
    )
    parser.add_argument("--split", default="test", help="which subsets: test.en, test.fr, ...")
    parser.add_argument(
        "--selection",
        choices=list(SELECTIONS),
        help="the files hold several checkpoints of each run (seed): use the last, the best on the dev set in the source "
        "language, the average of several, or (an oracle) the best on the dev sets in the target languages; a further table "
        "compares all of these (default: each checkpoint is a run)",
    )
    parser.add_argument("--leave-out-unlearned", action="store_true", help="leave out runs that never learned, and say which")
    parser.add_argument(
        "--latex-details",
        action="store_true",
        help="LaTeX tables with all that the Markdown tables have: seeds, deviations, tests (default: as in the paper)",
    )
    args = parser.parse_args()
    systems = parse_systems(args.systems)
    files = [path for paths in systems.values() for path in paths]
    if args.html:
        check_output(args.html, files, begins=begins(TITLE))
    baseline = args.baseline or next(iter(systems))
    if baseline not in systems:
        raise InputError(f"--baseline {baseline} is none of the systems ({', '.join(systems)})")
    languages = list(dict.fromkeys(args.languages.split(","))) if args.languages else None
    checkpoints = read_checkpoints(systems, args.source_language, args.split)

    def results_of(runs: dict[str, list[Run]]) -> Results:
        check_runs(runs)
        return as_results(checkpoints, runs, languages, args.split, args.leave_out_unlearned)

    runs, selections = checkpoints.systems, {}
    if args.selection:
        chosen = select_all(runs, checkpoints.sources)
        runs = {name: selected_runs(chosen, name, args.selection) for name in systems}
        selections = {key: results_of({key[0]: selected}) for key, selected in chosen.items()}
    results = results_of(runs)
    with staged(args.out, files) as directory:
        writer = Writer(directory, args.latex_details)
        summary = write_report(results, baseline, writer)
        if selections:
            writer.tables("selections", [tables.selections(selections)])
            writer.csv("selections", plain_rows.selections(selections))
        svg = {name.removesuffix(".svg"): directory / name for name in writer.written if name.endswith(".svg")}
        page = report_page(writer.parts, svg, systems, results.notes) if args.html else ""
    if args.html:
        with replacing(args.html, begins=begins(TITLE), inputs=files) as temporary:
            temporary.write_text(page, encoding="utf-8")
    for line in summary.splitlines():
        print_line(line)
    for note in results.notes:
        print_line(f"warning: {note}", sys.stderr)
    print_line(f"wrote to {args.out}: {', '.join(writer.written)}" + (f"; and {args.html}" if args.html else ""))


if __name__ == "__main__":
    main()
