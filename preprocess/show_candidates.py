"""Show code-switched sentences: the original and its variants, substitutes marked, in the terminal and on an HTML page.

python preprocess/show_candidates.py plm/xlmr data/xnli --thresholds source=1e-3,1e-7 --html sentences.html
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

from collections.abc import Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.text import Text

from preprocess.distillation.inputs import add_inputs, add_subset, open_inputs, training_subset
from salt_fairseq.candidates import languages as candidate_languages
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.printable import counted, printable
from salt_fairseq.data.code_switching import DEFAULT_THRESHOLDS, CodeSwitching, thresholds_of
from salt_fairseq.data.directory import IGNORED, DataDirectory, TokenLabels
from salt_fairseq.errors import InputError
from salt_fairseq.pages.candidates import TITLE, candidates_page, shown_pieces
from salt_fairseq.pages.rendering import begins
from salt_fairseq.storage.files import check_output, replacing
from salt_fairseq.tokenizer import Tokenizer


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add_inputs(parser)
    add_subset(parser)
    add("--languages", help="languages to show (default: all that have candidates)")
    add("--thresholds", default=DEFAULT_THRESHOLDS, help="as in training: a probability or a fraction, per language")
    add("--sentences", metavar="N", type=positive, default=3, help="examples to print, spread over the training set")
    add(
        "--html", metavar="FILE", type=Path, help="also write a page with sliders for the thresholds: one file, for any browser"
    )
    add("--page-examples", metavar="N", type=positive, default=1000, help="examples on that page, spread alike")
    return parser.parse_args()


def segments(pieces: list[str], original: torch.Tensor, variant: torch.Tensor) -> list[tuple[str, bool]]:
    """The variant as ``[(text, substituted)]``, token by token; ``pieces`` are of :func:`shown_pieces`."""
    shown = [(pieces[new], old != new) for old, new in zip(original.tolist(), variant.tolist()) if pieces[new]]
    return [(text if k else text.lstrip(), substituted) for k, (text, substituted) in enumerate(shown)]


def spread(count: int, examples: int) -> list[int]:
    """At most ``count`` of the numbers below ``examples``, at equal distances."""
    count = min(count, examples)
    return [k * (examples - 1) // max(1, count - 1) for k in range(count)]


def rows(data: DataDirectory, subset: str, tokenizer: Tokenizer, switchings: list[tuple], count: int) -> Iterator[tuple]:
    """Yield ``(heading, [(language, segments)])`` for ``count`` examples spread evenly over a training set."""
    (inputs, _, targets), ids, pieces = data.load(subset), data.ids(subset), shown_pieces(tokenizer)
    for i in spread(count, len(targets)):
        numbers = targets[i][targets[i] != IGNORED].tolist() if isinstance(targets, TokenLabels) else [targets[i]]
        labels = " ".join(data.labels[number] for number in numbers)
        for side, source in enumerate(inputs):
            original = source[i]
            variants = [(name, segments(pieces, original, switch.text(side, i, original))) for name, switch in switchings]
            heading = f"{ids[i]}, sentence {side + 1}, {labels}"
            yield heading, [(data.language(subset) + " (original)", segments(pieces, original, original)), *variants]


def print_rows(shown: list[tuple]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for heading, variants in shown:
        console.print(Text(printable(heading), style="dim"))
        for name, parts in variants:
            line = Text(f"  {printable(name):14}")
            for text, substituted in parts:
                line.append(printable(text), style="bold red" if substituted else "")
            console.print(line)


def main() -> None:
    args = arguments()
    if args.html:
        check_output(args.html, begins=begins(TITLE))
    data, _, tokenizer = open_inputs(args)
    subset = training_subset(data, args.subset)
    languages = args.languages.split(",") if args.languages else candidate_languages(args.data)
    if not languages:
        raise InputError(f"{args.data} has no candidates: run preprocess/distill.py")
    thresholds = thresholds_of(languages, args.thresholds, data.language(subset), data.source_languages)
    switchings = [(name, CodeSwitching(args.data, subset, name, data.sides, thresholds[name])) for name in thresholds]
    print_rows(list(rows(data, subset, tokenizer, switchings, args.sentences)))
    for language, switching in switchings:
        print(f"{language}: {100 * switching.fraction:.1f}% of candidate tokens substituted")
    if args.html:
        examples = spread(args.page_examples, len(data.targets(subset)))
        with replacing(args.html, begins=begins(TITLE)) as temporary:
            temporary.write_text(candidates_page(data, subset, tokenizer, thresholds, examples), encoding="utf-8")
        print(f"wrote {args.html}: {counted(len(examples), 'example')}")


if __name__ == "__main__":
    main()
