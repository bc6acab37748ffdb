"""Show code-switched sentences: the original and its variants, substitutes marked, in the terminal and as HTML.

python preprocess/show_candidates.py plm/xlmr data/xnli --thresholds en=1e-3,1e-7 --html sentences.html
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import html
from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from preprocess.distillation.inputs import add_inputs, open_inputs
from salt_fairseq.candidates import languages as candidate_languages
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.printable import printable
from salt_fairseq.data.code_switching import DEFAULT_THRESHOLDS, CodeSwitching, thresholds_of
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import check_output, replacing
from salt_fairseq.tokenizer import Tokenizer

EARLIER = "<!DOCTYPE html><meta charset=utf-8><title>Code-switched sentences</title>"
STYLE = (
    "body{font-family:sans-serif;max-width:60em;margin:2em auto}td{padding:.1em .6em;vertical-align:top}"
    "th{text-align:left;padding-top:1em}b{color:#b3261e}td:first-child{color:#666}"
)


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add_inputs(parser)
    add("--languages", help="languages to show (default: all that have candidates)")
    add("--thresholds", default=DEFAULT_THRESHOLDS, help="as in training: a probability or a fraction, per language")
    add("--sentences", metavar="N", type=positive, default=3, help="examples to show, spread over the training set")
    add("--html", metavar="FILE", type=Path, help="also write an HTML page")
    return parser.parse_args()


def segments(tokenizer: Tokenizer, original: torch.Tensor, variant: torch.Tensor) -> list[tuple[str, bool]]:
    """The variant's pieces as ``[(text, substituted)]``, with a space before each one that begins a word."""
    text: list[tuple[str, bool]] = []
    for old, new in zip(original.tolist(), variant.tolist()):
        if not tokenizer.words[new]:
            continue
        space = " " if tokenizer.starts_word[new] and text else ""
        text.append((space + tokenizer.words[new], old != new))
    return text


def rows(data: DataDirectory, tokenizer: Tokenizer, switchings: list[tuple], count: int) -> Iterator[tuple]:
    """Yield ``(heading, [(language, segments)])`` for ``count`` examples spread evenly over the training set."""
    (inputs, _, targets), ids = data.load("train"), data.ids("train")
    for i in torch.linspace(0, len(targets) - 1, min(count, len(targets))).long().tolist():
        for side, source in enumerate(inputs):
            original = source[i]
            variants = [(name, segments(tokenizer, original, switch.text(side, i, original))) for name, switch in switchings]
            heading = f"{ids[i]}, sentence {side + 1}, {data.labels[targets[i]]}"
            yield heading, [(data.meta["source_language"] + " (original)", segments(tokenizer, original, original)), *variants]


def print_rows(shown: list[tuple]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for heading, variants in shown:
        console.print(Text(printable(heading), style="dim"))
        for name, parts in variants:
            line = Text(f"  {printable(name):14}")
            for text, substituted in parts:
                line.append(printable(text), style="bold red" if substituted else "")
            console.print(line)


def write_html(path: Path, shown: list[tuple]) -> None:
    lines = [f"{EARLIER}<style>{STYLE}</style><table>"]
    for heading, variants in shown:
        lines.append(f"<tr><th colspan=2>{html.escape(heading)}")
        for name, parts in variants:
            cells = "".join(f"<b>{html.escape(t)}</b>" if marked else html.escape(t) for t, marked in parts)
            lines.append(f"<tr><td>{html.escape(name)}<td>{cells}")
    with replacing(path, begins=EARLIER.encode()) as temporary:
        temporary.write_text("\n".join([*lines, "</table>", ""]), encoding="utf-8")


def main() -> None:
    args = arguments()
    if args.html:
        check_output(args.html, begins=EARLIER.encode())
    data, _, tokenizer = open_inputs(args)
    languages = args.languages.split(",") if args.languages else candidate_languages(args.data)
    if not languages:
        raise InputError(f"{args.data} has no candidates: run preprocess/distill.py")
    switchings = [
        (language, CodeSwitching(args.data, "train", language, data.sides, threshold))
        for language, threshold in thresholds_of(languages, args.thresholds, data.meta["source_language"]).items()
    ]
    shown = list(rows(data, tokenizer, switchings, args.sentences))
    print_rows(shown)
    for language, switching in switchings:
        print(f"{language}: {100 * switching.fraction:.1f}% of candidate tokens substituted")
    if args.html:
        write_html(args.html, shown)
        print(f"wrote {args.html}")


if __name__ == "__main__":
    main()
