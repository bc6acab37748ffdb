"""The report on one HTML page: figures, tables, and the settings of the runs."""

import html
import re
from pathlib import Path
from typing import Any

from salt_fairseq.pages.rendering import fill, render, template
from salt_fairseq.report.markup import Cell, Table, one_line
from salt_fairseq.report.result_files import EVALUATE
from salt_fairseq.storage.files import read_json

TITLE = "Zero-shot transfer"
TEXTS = ("plm", "updates", "selection", "dtype")  # what a file of results says of a checkpoint besides task and model
NAME = ' class="name"'


def report_page(
    tables: dict[str, list[Table]], figures: dict[str, Path], systems: dict[str, list[str]], notes: list[str]
) -> str:
    """The page. ``tables`` and ``figures`` (SVG files) are by the names under which the report writes them, ``systems`` are
    the files of each system's results, ``notes`` warn of runs."""
    ordered = {**tables, "languages": [_transposed(part) for part in tables["languages"]]}
    title = tables["languages"][0].title
    sections = [_section("Figures", "".join(_figure(name, path, title) for name, path in figures.items()), "figures")]
    sections += [_table(part, f"{name}-{i}") for name, parts in ordered.items() for i, part in enumerate(parts)]
    sections += [_table(part, f"settings-{i}") for i, part in enumerate(settings(systems))]
    warnings = "".join(f'<p class="warning">{_text(note)}</p>' for note in notes)
    body = fill(template("report.html"), title=TITLE, systems=", ".join(map(one_line, systems)))
    return render(
        f"{TITLE}: {', '.join(map(one_line, systems))}",
        body.replace("<!-- sections -->", warnings + "\n".join(sections)),
        ["report.css"],
        [],
    )


def settings(systems: dict[str, list[str]]) -> list[Table]:
    """Two tables of what the files say of training: what differs between systems, and what is the same in all runs. A file
    of published numbers says nothing."""
    said = {
        name: _settings([entry for path in paths for entry in read_json(path, EVALUATE)["checkpoints"]])
        for name, paths in systems.items()
    }
    keys = dict.fromkeys(key for values in said.values() for key in values)
    rows = {key: [", ".join(values.get(key, ["–"])) for values in said.values()] for key in keys}
    different = {key: row for key, row in rows.items() if len(set(row)) > 1 or key == "seed"}
    same = {key: row[:1] for key, row in rows.items() if key not in different}
    tables = []
    if different:
        title, header = "Settings of the systems", ["setting", *systems]
        tables.append(Table(title, header, [[key, *row] for key, row in different.items()], label="settings"))
    if same:
        tables.append(
            Table("Settings of all runs", ["setting", "value"], [[key, *row] for key, row in same.items()], label="same")
        )
    return tables


def _settings(entries: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Setting to its distinct values in these checkpoints, in order."""
    values: dict[str, dict[str, None]] = {}
    for entry in entries:
        flat = {"seed": entry.get("seed"), **{key: entry.get(key) for key in TEXTS}}
        for group in ("task", "model"):
            options = entry.get(group)
            if isinstance(options, dict):
                flat |= {f"{group}.{key}": value for key, value in options.items() if key not in ("_name", "seed")}
        for key, value in flat.items():
            if value is not None and value != "":
                values.setdefault(key, {})[one_line(str(value))] = None
    return {key: list(texts) for key, texts in values.items()}


def _transposed(table: Table) -> Table:
    """With a row for each language: a screen has more room downwards."""
    (corner, *header), *rows = zip(*[table.header, *table.rows])
    return Table(table.title, ["", *header], [list(row) for row in rows], table.notes)


def _text(text: str) -> str:
    return html.escape(one_line(text))


def _section(title: str, content: str, kind: str = "") -> str:
    return f'<section class="report {kind}"><h2>{_text(title)}</h2>\n{content}</section>'


def _table(table: Table, name: str) -> str:
    header = "".join(
        f'<th scope="col"{NAME if i < table.names else ""}>{_cell(cell)}</th>' for i, cell in enumerate(table.header)
    )
    rows = [
        "".join(
            f'<th scope="row">{_cell(cell)}</th>' if i < table.names else f"<td>{_cell(cell)}</td>"
            for i, cell in enumerate(row)
        )
        for row in table.rows
    ]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    notes = "".join(f"<li>{_text(note)}</li>" for note in [*table.notes, *table.extra_notes])
    content = (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_text(table.title)}"><table>\n'
        f"<thead><tr>{header}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )
    return _section(table.title, content + (f'<ul class="notes">{notes}</ul>' if notes else ""), re.sub(r"\W+", "-", name))


def _cell(cell: Any) -> str:
    cell = cell if isinstance(cell, Cell) else Cell(str(cell))
    text = _text(cell.text)
    text = f"<b>{text}</b>" if cell.bold else text
    text = f"<u>{text}</u>" if cell.underlined else text
    return f"{text} <small>± {_text(cell.deviation)}</small>" if cell.deviation else text


def _figure(name: str, path: Path, by_language: str) -> str:
    """The SVG as part of the page, its ids apart from those of other figures; ``by_language`` is the title of the first one."""
    kind, _, of = name.partition(".")
    title = {"figure": by_language, "gains": "Differences to the baseline"}.get(kind, f"Generalized setting: {of}")
    svg = path.read_text(encoding="utf-8")
    svg = re.sub("<metadata>.*?</metadata>|<title>.*?</title>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    prefix = re.sub(r"\W", "_", name)
    svg = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{prefix}.", svg)
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{_text(title)}; its numbers are in the tables"', 1)
    return f"<figure>{svg}<figcaption>{_text(title)}</figcaption></figure>\n"
