"""A table of cells as Markdown and as LaTeX (longtable, booktabs)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LATEX = str.maketrans(
    {
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": "$<$",
        ">": "$>$",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "−": "$-$",
        "–": "--",
        "Δ": r"$\Delta$",
        "≤": r"$\leq$",
        "×": r"$\times$",
        "…": r"\ldots{}",
        "\ue000": r"\allowbreak{}",
    }
)
BREAK = "\ue000"  # where a line may end, until LaTeX is made of it


TEXT_WIDTH = 345  # points of a line of text in LaTeX's article in one column
SIZES = {"normalsize": (10.1, 4), "footnotesize": (8.6, 3), "scriptsize": (8.3, 1.6)}  # points: em, and beside each column
NARROW, WIDE = 0.3, 0.8  # em, of such characters of Computer Modern; all others take at most 0.57, as bold digits do
LONGEST_NAME = 90  # points


def one_line(text: str) -> str:
    """The text with each run of blanks, line breaks and control characters as one space; what is no UTF-8 as U+FFFD."""
    return re.sub("[\ud800-\udfff]", "\ufffd", re.sub(r"[\s\0-\x1f\x7f-\x9f]+", " ", text)).strip()


def escaped(text: str) -> str:
    """A name as Markdown shows it, on one line, and in a cell of a table: its characters stand for themselves."""
    return re.sub(r"(?<!\w)_|_(?!\w)|[\\`*\[\]<>|]", r"\\\g<0>", one_line(text))


def code(text: str) -> str:
    """The text as code in Markdown, whatever backticks it has."""
    text = one_line(text)
    fence = "`" * (max(map(len, re.findall("`+", text)), default=0) + 1)
    blank = " " if "`" in text else ""
    return f"{fence}{blank}{text}{blank}{fence}"


def in_cell(markdown: str) -> str:
    """Markdown in a cell of a table, which ends even inside code at a bar."""
    return re.sub(r"(?<!\\)\|", r"\|", markdown)


@dataclass(frozen=True)
class Cell:
    """A number or name; ``deviation`` is set after it."""

    text: str
    deviation: str = ""
    bold: bool = False
    underlined: bool = False

    def markdown(self) -> str:
        text = in_cell(one_line(self.text))
        text = f"**{text}**" if self.bold else text
        text = f"<u>{text}</u>" if self.underlined else text
        return f"{text} ± {self.deviation}" if self.deviation else text

    def latex(self, details: bool = True, breaks: bool = False) -> str:
        """``details``: with the deviation; ``breaks``: with places where a long name may be broken into lines."""
        text = one_line(self.text)
        if breaks:
            text = re.sub(r"([_/.=+-]|[^\W_]{10}(?=[^\W_]{4}))", f"\\1{BREAK}", text)
        text = text.translate(LATEX)
        text = re.sub(r"(?<![\w$])[+-]\d+\.\d+", r"$\g<0>$", text)  # a minus sign, not a hyphen
        text = rf"\textbf{{{text}}}" if self.bold else text
        text = rf"\underline{{{text}}}" if self.underlined else text
        return rf"{text}{{\scriptsize\,$\pm$\,{self.deviation}}}" if self.deviation and details else text

    def width(self, details: bool) -> float:
        """Of its widest line in LaTeX, in em."""
        text = f"{self.text} ± {self.deviation}" if self.deviation and details else self.text
        return sum(NARROW if c in " .,:;'!|il()[]" else WIDE if c.isupper() or c in "mw%&+−±Δ" else 0.57 for c in text)


@dataclass
class Table:
    """``header`` and ``rows`` hold strings or cells; the first ``names`` columns are names, set flush left. The columns
    ``extra`` are not in the paper's tables."""

    title: str
    header: list
    rows: list
    notes: list = field(default_factory=list)
    names: int = 1
    label: str = ""
    extra: set[int] = field(default_factory=set)
    extra_notes: list = field(default_factory=list)  # on these

    def _cells(self) -> list[list[Cell]]:
        return [[cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row] for row in [self.header, *self.rows]]

    def markdown(self, title: bool = True) -> str:
        """Columns are padded, so that the text reads well as it is."""
        lines = [[cell.markdown() for cell in row] for row in self._cells()]
        widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(self.header))]
        lines = [
            [text.ljust(width) if i < self.names else text.rjust(width) for i, (text, width) in enumerate(zip(line, widths))]
            for line in lines
        ]
        rule = ["-" * width if i < self.names else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
        text = "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])
        notes = [one_line(note) for note in [*self.notes, *self.extra_notes]]
        notes = ["\n".join(f"- {note}" for note in notes)] if len(notes) > 1 else notes
        return "\n\n".join([*([f"## {self.title}"] if title else []), text, *notes]) + "\n"

    def latex(self, details: bool = False) -> str:
        """``longtable`` environments, as many below each other as it takes for none to be wider than the text.

        With ``details``, all columns and deviations; else those that the paper's tables have.
        """
        kept = [i for i in range(len(self.header)) if details or i not in self.extra]
        cells = [[row[i] for i in kept] for row in self._cells()]
        blocks, size = self._blocks(cells, details)
        notes = [*self.notes, *self.extra_notes] if details else self.notes
        caption = one_line(" ".join([f"{self.title}.", *notes])).translate(LATEX)
        if not details:
            caption = caption.replace(r"mean $\pm$ standard deviation over seeds", "mean over seeds")
        label = re.sub(r"[^\w:]+", "-", self.label).replace("_", "-")
        lines = [
            r"% \usepackage{array,booktabs,longtable}; in a document of two columns, only after \onecolumn",
            r"\begingroup",
            rf"\{size}\setlength{{\tabcolsep}}{{{SIZES[size][1]}pt}}\setlength{{\LTcapwidth}}{{\linewidth}}",
        ]
        for number, block in enumerate(blocks):
            lines += self._longtable(
                cells, block, size, details, rf"\caption{{{caption}}}\label{{tab:{label}}}\\" if number == 0 else None
            )
        return "\n".join([*lines, r"\endgroup"]) + "\n"

    def _blocks(self, cells: list[list[Cell]], details: bool) -> tuple[list[list[int]], str]:
        """Numbers of the columns of each environment, and the size of the font: the largest with the fewest environments."""
        best: list[list[int]] = []
        for size, (em, gap) in SIZES.items():
            widths = [em * width + 2 * gap for width in self._widths(cells, details)]
            widths[: self.names] = [min(width, LONGEST_NAME) for width in widths[: self.names]]
            room = TEXT_WIDTH - sum(widths[: self.names])
            blocks = _filled(widths[self.names :], room)
            even = sum(widths[self.names :]) / len(blocks) + max(widths[self.names :])
            if not best or len(blocks) < len(best):
                best, best_size = _filled(widths[self.names :], min(room, even)), size
        return [[*range(self.names), *(self.names + column for column in block)] for block in best], best_size

    def _widths(self, cells: list[list[Cell]], details: bool) -> list[float]:
        """Of each column in em: its widest cell, or word of its header, whose words stand below each other."""
        return [
            max(
                *(Cell(word).width(details) for word in column[0].text.split() or [""]),
                *(cell.width(details) for cell in column[1:]),
            )
            for column in zip(*cells)
        ]

    def _longtable(
        self, cells: list[list[Cell]], columns: list[int], size: str, details: bool, caption: str | None
    ) -> list[str]:
        em, gap = SIZES[size]
        long = {i for i in range(self.names) if em * max(row[i].width(details) for row in cells) + 2 * gap > LONGEST_NAME}
        name = rf">{{\raggedright\arraybackslash}}p{{{LONGEST_NAME - 2 * gap:g}pt}}"
        layout = "".join(name if i in long else "l" if i < self.names else "r" for i in columns)
        header = [
            rf"\shortstack[{'l' if i < self.names else 'r'}]{{{title}}}" if r"\\" in title else title
            for i, title in ((i, r"\\".join(Cell(word).latex() for word in cells[0][i].text.split())) for i in columns)
        ]
        top = [r"\toprule", " & ".join(header) + r" \\", r"\midrule"]
        body = [" & ".join(row[i].latex(details, i in long) for i in columns) + r" \\" for row in cells[1:]]
        return [
            rf"\begin{{longtable}}{{@{{}}{layout}@{{}}}}",
            *([caption] if caption else []),
            *top,
            r"\endfirsthead",
            *top,
            r"\endhead",
            *body,
            r"\bottomrule",
            r"\end{longtable}",
        ]


def _filled(widths: list[float], room: float) -> list[list[int]]:
    """Numbers of columns of these widths, in blocks that take ``room`` at most, or hold a single column."""
    blocks, left = [[0]], room - widths[0]
    for column, width in enumerate(widths[1:], 1):
        if width > left:
            blocks.append([])
            left = room
        blocks[-1].append(column)
        left -= width
    return blocks
