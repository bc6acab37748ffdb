"""Print how much of each language's frequency list the PLM's vocabulary holds as single pieces (paper, footnote 3).

python preprocess/target_vocabulary.py plm/xlmr fr es de ru tr
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

from pathlib import Path

from preprocess.distillation.target_vocabularies import distinct_words, read_lists, verdict, vocabularies_from
from preprocess.distillation.word_lists import TOP, WORD_LIST_HELP, parse_word_lists
from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.cli.printable import print_line
from salt_fairseq.plm import Description
from salt_fairseq.tokenizer import Tokenizer


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add("plm_dir", metavar="PLM_DIR", type=Path, help="PLM directory, as import_plm.py writes it")
    add("languages", metavar="LANG", nargs="+", help="target languages")
    add("--word-list", metavar="LANG=FILE", nargs="+", action="extend", default=[], help=WORD_LIST_HELP)
    add("--source-language", default="en", help="language of the data to be code-switched")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    files = parse_word_lists(args.word_list, [*args.languages, args.source_language])
    tokenizer = Tokenizer.load(args.plm_dir, Description.load(args.plm_dir).tokenizer)
    lists = read_lists(args.languages, files, args.source_language, keep_shared=False)
    every, own = (vocabularies_from(tokenizer, args.languages, lists, args.source_language, keep) for keep in (True, False))
    rows = []
    for language in args.languages:
        pieces, words = {tokenizer.words[i].casefold() for i in every[language]}, lists[language]
        held = sum(tokenizer.caseless_word(word) in pieces for word in words)
        fitness = verdict(distinct_words(tokenizer, own[language]), language in files).value
        rows.append((held / len(words), language, held, len(words), len(every[language]), len(own[language]), fitness))
    print(f"{'language':8}  {'overlap':>7}  {'words':>13}  {'pieces':>6}  {'own':>6}  as target")
    for overlap, language, held, listed, size, rest, fitness in sorted(rows, reverse=True):
        print(f"{language:8}  {100 * overlap:6.1f}%  {held:6,}/{listed:6,}  {size:6,}  {rest:6,}  {fitness}")
    print_line(
        f"overlap: fraction of the {TOP:,} most frequent words that are a single piece of {args.plm_dir} and in the language's "
        "script; pieces count spellings that differ in case; own: those that are no more frequent in other languages"
    )


if __name__ == "__main__":
    main()
