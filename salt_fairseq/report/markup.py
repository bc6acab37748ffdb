"""A table of cells as Markdown and as LaTeX (booktabs)."""

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
    }
)


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

    def latex(self) -> str:
        text = one_line(self.text).translate(LATEX)
        text = re.sub(r"(?<![\w$])[+-]\d+\.\d+", r"$\g<0>$", text)  # a minus sign, not a hyphen
        text = rf"\textbf{{{text}}}" if self.bold else text
        text = rf"\underline{{{text}}}" if self.underlined else text
        return rf"{text}{{\scriptsize\,$\pm$\,{self.deviation}}}" if self.deviation else text


@dataclass
class Table:
    """``header`` and ``rows`` hold strings or cells; the first ``names`` columns are names, set flush left."""

    title: str
    header: list
    rows: list
    notes: list = field(default_factory=list)
    names: int = 1
    label: str = ""

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
        notes = [one_line(note) for note in self.notes]
        notes = ["\n".join(f"- {note}" for note in notes)] if len(notes) > 1 else notes
        return "\n\n".join([*([f"## {self.title}"] if title else []), text, *notes]) + "\n"

    def latex(self) -> str:
        """A ``table*`` environment, scaled down to the width of the text if it is wider."""
        lines = [" & ".join(cell.latex() for cell in row) + r" \\" for row in self._cells()]
        columns = "l" * self.names + "r" * (len(self.header) - self.names)
        caption = one_line(" ".join([f"{self.title}.", *self.notes])).translate(LATEX)
        label = re.sub(r"[^\w:]+", "-", self.label).replace("_", "-")
        return (
            "\n".join(
                [
                    r"% \usepackage{booktabs,adjustbox}",
                    r"\begin{table*}[t]",
                    r"\centering",
                    r"\begin{adjustbox}{max width=\textwidth}",
                    rf"\begin{{tabular}}{{{columns}}}",
                    r"\toprule",
                    lines[0],
                    r"\midrule",
                    *lines[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{adjustbox}",
                    rf"\caption{{{caption}}}",
                    rf"\label{{tab:{label}}}",
                    r"\end{table*}",
                ]
            )
            + "\n"
        )
