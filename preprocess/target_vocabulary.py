"""Print how much of each language's frequency list the PLM's vocabulary holds as single pieces, ranked (footnote 3).

python preprocess/target_vocabulary.py plm/xlmr fr es de ru tr
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

from pathlib import Path

from preprocess.distillation.word_lists import TOP, frequencies, parse_word_lists, target_vocabularies
from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.plm import Description
from salt_fairseq.tokenizer import Tokenizer


def arguments():
    parser = command_parser(__doc__)
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path)
    parser.add_argument("languages", metavar="LANG", nargs="+")
    parser.add_argument(
        "--word-list",
        metavar="LANG=FILE",
        nargs="+",
        default=[],
        help="frequency lists of your own: "
        "one word a line, most frequent first, or 'word count' (default: the library wordfreq)",
    )
    parser.add_argument("--source-language", default="en", help="of the data to be code-switched")
    return parser.parse_args()


def main():
    args = arguments()
    files = parse_word_lists(args.word_list, [*args.languages, args.source_language])
    tokenizer = Tokenizer.load(args.plm_dir, Description.load(args.plm_dir).tokenizer)
    all_, own = (target_vocabularies(tokenizer, args.languages, files, args.source_language, keep) for keep in (True, False))
    rows = []
    for language in args.languages:
        words = frequencies(language, files.get(language))
        pieces = {tokenizer.words[i].casefold() for i in all_[language]}
        held = [word for word in words if tokenizer.caseless_word(word) in pieces]
        rows.append((len(held) / len(words), language, len(held), len(words), len(all_[language]), len(own[language])))
    print(f"{'language':8}  {'overlap':>7}  {'words':>13}  {'pieces':>6}  less words of other languages")
    for overlap, language, held, listed, pieces, own in sorted(rows, reverse=True):
        print(f"{language:8}  {100 * overlap:6.1f}%  {held:6,}/{listed:6,}  {pieces:6,}  {own:6,}")
    print(
        f"overlap: share of the {TOP:,} most frequent words that are one piece of {args.plm_dir}; "
        "pieces count spellings that differ in case"
    )


if __name__ == "__main__":
    main()
