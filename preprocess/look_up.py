"""Look up the words of the training data in dictionaries or synonym lists: substitutes for RS-DA, CoSDA-ML and SCOPA.

python preprocess/look_up.py plm/xlmr data/xnli --name muse --dictionary fr=en-fr.txt de=en-de.txt
python preprocess/look_up.py plm/xlmr data/xnli --name synonyms --dictionary en=neighbours.json --include-word
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from preprocess.distillation.inputs import add_inputs, add_subset, open_inputs, training_subset
from preprocess.text.dictionaries import read_dictionary
from salt_fairseq.cli.arguments import command_parser, name_value_pairs
from salt_fairseq.cli.printable import print_line
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.data.lexicon import CONTINUES, write_lexicon
from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import check_output, replacing, sha256
from salt_fairseq.storage.indexed_data import best_fitting_int_dtype
from salt_fairseq.storage.manifest import write_manifest
from salt_fairseq.tokenizer import Tokenizer


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add_inputs(parser, "data directory; the lexicon is written into it")
    add("--name", default="muse", help="name of the lexicon, for --lexicon of fairseq-train")
    dictionary_help = "lines 'source target' as in MUSE, or JSON: word to list of substitutes"
    add("--dictionary", metavar="LANG=FILE", nargs="+", action="extend", required=True, help=dictionary_help)
    add_subset(parser)
    add("--include-word", action="store_true", help="count the word among its substitutes, as RS-DA does")
    return parser.parse_args()


class Entries:
    """The distinct words that a dictionary lists, in the order in which they occur, and the token ids of their substitutes."""

    def __init__(self, tokenizer: Tokenizer, dictionaries: Mapping[str, Mapping[str, Iterable[str]]], include_word: bool):
        self.tokenizer, self.dictionaries, self.include_word = tokenizer, list(dictionaries.values()), include_word
        self.numbers: dict[str, int] = {}
        self.substitutes: list[list[int]] = []
        self.counts: list[int] = []  # of substitutes, for each word and dictionary

    def number(self, word: str) -> int:
        """The number of a caseless word's entry, -1 if no dictionary lists it."""
        if word not in self.numbers:
            substitutes = [list(dictionary.get(word, ())) for dictionary in self.dictionaries]
            self.numbers[word] = len(self.counts) // len(substitutes) if any(substitutes) else -1
            for texts in substitutes if any(substitutes) else ():
                ids = self.tokenizer(texts)
                if self.include_word:
                    ids.insert(0, [])  # the word stays as it is written
                self.counts.append(len(ids))
                self.substitutes += ids
        return self.numbers[word]

    def mark(self, ids: np.ndarray) -> np.ndarray:
        """The words of one sentence, int32 (T,), as :class:`salt_fairseq.data.lexicon.Lexicon` stores them."""
        marks = np.zeros(len(ids), dtype=np.int32)
        for start, end, text in self.tokenizer.word_spans(ids):
            if (number := self.number(text.casefold())) >= 0:
                marks[start], marks[start + 1 : end] = number + 1, CONTINUES
        return marks


def caseless_dictionary(path: str, tokenizer: Tokenizer) -> dict[str, dict[str, None]]:
    """Words as the tokenizer reads them without case, each to its distinct substitutes (an ordered set)."""
    dictionary: dict[str, dict[str, None]] = {}
    for word, substitutes in read_dictionary(path).items():
        dictionary.setdefault(tokenizer.caseless_word(word), {}).update(dict.fromkeys(substitutes))
    return dictionary


def main() -> None:
    args = arguments()
    data, description, tokenizer = open_inputs(args)
    subset = training_subset(data, args.subset)
    if Path(args.name).name != args.name or args.name in ("", ".."):
        raise InputError(f"--name {args.name}: a plain name is needed; the lexicon goes into {args.data / 'lexicons'}")
    files = name_value_pairs("--dictionary", args.dictionary)
    out, inputs = args.data / "lexicons" / args.name, [args.plm_dir, *files.values()]
    check_output(out, inputs, marker="meta.json")
    dictionaries = {language: caseless_dictionary(path, tokenizer) for language, path in files.items()}
    entries = Entries(tokenizer, dictionaries, args.include_word)
    words: dict[str, Any] = {}
    for side in data.sides:
        sentences = data.sentences(subset, side)
        words[side] = [
            entries.mark(sentences[i].numpy()) for i in progress_bar(range(len(sentences)), desc=f"looking up {side}")
        ]
    is_listed = np.concatenate([marks[:-1] != 0 for side in words.values() for marks in side])  # of each token but eos
    if not entries.counts:
        raise InputError(
            f"no word of {args.data} is listed in {', '.join(map(str, files.values()))}: give dictionaries "
            f"whose source language is that of the data ({data.language(subset)})"
        )
    meta = {
        "languages": list(dictionaries),
        "dictionaries_sha256": {language: sha256(path) for language, path in files.items()},
        "include_word": args.include_word,
        "vocabulary_sha256": description.vocabulary_sha256,
        "sentences_sha256": {f"{side}/{subset}": data.meta["subsets"][subset]["sha256"][side] for side in data.sides},
    }
    with replacing(out, marker="meta.json", inputs=inputs) as directory:
        dtype = best_fitting_int_dtype(description.architecture.vocabulary)
        write_lexicon(directory, dict.fromkeys(data.sides, subset), words, entries.substitutes, entries.counts, dtype)
        write_manifest(directory, meta)
    listed = sum(number >= 0 for number in entries.numbers.values())
    print_line(
        f"wrote {out}: {listed:,} of {len(entries.numbers):,} distinct words listed, {len(entries.substitutes):,} "
        f"substitutes in {', '.join(dictionaries)}; {100 * is_listed.mean():.1f}% of tokens belong to a listed word"
    )


if __name__ == "__main__":
    main()
