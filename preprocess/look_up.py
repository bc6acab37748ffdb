"""Look the words of the training data up in dictionaries or synonym lists: substitutes for RS-DA, CoSDA-ML and SCOPA.

python preprocess/look_up.py plm/xlmr data/xnli --name muse --dictionary fr=en-fr.txt de=en-de.txt
python preprocess/look_up.py plm/xlmr data/xnli --name synonyms --dictionary en=neighbours.json --include-word
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

from pathlib import Path

import numpy as np
from tqdm import tqdm

from preprocess.text.dictionaries import parse_dictionaries, read_dictionary
from salt_fairseq.cli.arguments import command_parser
from salt_fairseq.data.directory import INPUTS, DataDirectory
from salt_fairseq.data.lexicon import CONTINUES, write_lexicon
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description
from salt_fairseq.storage.files import replacing, sha256
from salt_fairseq.storage.indexed_data import best_fitting_int_dtype
from salt_fairseq.storage.manifest import write_manifest
from salt_fairseq.tokenizer import Tokenizer

SUBSET = "train"


def arguments():
    parser = command_parser(__doc__)
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path)
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory; the lexicon is written into it")
    parser.add_argument("--name", default="muse", help="name of the lexicon, for --lexicon of fairseq-train")
    parser.add_argument(
        "--dictionary",
        metavar="LANG=FILE",
        nargs="+",
        required=True,
        help="lines 'source target' as MUSE has them, or JSON: word to a list of substitutes",
    )
    parser.add_argument(
        "--include-word",
        action="store_true",
        help="let the word itself be among its substitutes (RS-DA draws from a word and its neighbours)",
    )
    return parser.parse_args()


class Entries:
    """The distinct words that are listed, numbered as they are met, and the token ids of their substitutes."""

    def __init__(self, tokenizer, dictionaries, include_word):
        self.tokenizer, self.dictionaries, self.include_word = tokenizer, list(dictionaries.values()), include_word
        self.numbers, self.substitutes, self.counts = {}, [], []

    def number(self, word):
        """Number of the entry of a caseless word, -1 if no dictionary lists it."""
        if word not in self.numbers:
            found = [list(dictionary.get(word, ())) for dictionary in self.dictionaries]
            self.numbers[word] = len(self.counts) // len(found) if any(found) else -1
            for listed in found if any(found) else ():
                ids = self.tokenizer(listed)
                if self.include_word:
                    ids.insert(0, [])  # the word stays as it is written
                self.counts.append(len(ids))
                self.substitutes += ids
        return self.numbers[word]

    def mark(self, ids):
        """The words of one sentence, int32 (T,), as :class:`salt_fairseq.data.lexicon.Lexicon` stores them."""
        marks = np.zeros(len(ids), dtype=np.int32)
        for start, end, text in self.tokenizer.word_spans(ids):
            number = self.number(text.casefold())
            if number >= 0:
                marks[start:end] = CONTINUES
                marks[start] = number + 1
        return marks


def main():
    args = arguments()
    data, description = DataDirectory(args.data), Description.load(args.plm_dir)
    data.check_vocabulary(description, args.plm_dir)
    if SUBSET not in data.meta["subsets"]:
        raise InputError(f"{args.data} has no subset {SUBSET!r}: binarize one with --subset {SUBSET}=FILE")
    if Path(args.name).name != args.name or args.name in ("", ".."):
        raise InputError(f"--name {args.name}: a plain name is needed, the lexicon goes to {args.data / 'lexicons'}")
    tokenizer = Tokenizer.load(args.plm_dir, description.tokenizer)
    files = parse_dictionaries(args.dictionary)
    dictionaries = {}
    for language, path in files.items():
        listed = dictionaries[language] = {}
        for word, substitutes in read_dictionary(path).items():
            listed.setdefault(tokenizer.caseless_word(word), {}).update(dict.fromkeys(substitutes))
    entries, words, tokens, marked = Entries(tokenizer, dictionaries, args.include_word), {}, 0, 0
    sides = {side: SUBSET for side in (INPUTS if data.is_pairs else INPUTS[:1])}
    for side in sides:
        sentences = data.sentences(SUBSET, side)
        words[side] = [entries.mark(sentences[i].numpy()) for i in tqdm(range(len(sentences)), desc=f"looking up {side}")]
        tokens += sum(len(marks) - 1 for marks in words[side])
        marked += sum(int((marks != 0).sum()) for marks in words[side])
    if not entries.counts:
        raise InputError(
            f"no word of {args.data} is listed in {', '.join(map(str, files.values()))}: give dictionaries "
            f"whose source language is that of the data ({data.meta['source_language']})"
        )
    meta = {
        "languages": list(dictionaries),
        "dictionaries_sha256": {language: sha256(path) for language, path in files.items()},
        "include_word": args.include_word,
        "vocabulary_sha256": description.vocabulary_sha256,
        "sentences_sha256": {f"{side}/{SUBSET}": data.meta["subsets"][SUBSET]["sha256"][side] for side in sides},
    }
    out = args.data / "lexicons" / args.name
    with replacing(out, marker="meta.json") as directory:
        dtype = best_fitting_int_dtype(description.architecture.vocabulary)
        write_lexicon(directory, sides, words, entries.substitutes, entries.counts, dtype)
        write_manifest(directory, meta)
    listed = sum(number >= 0 for number in entries.numbers.values())
    print(
        f"wrote {out}: {listed:,} of {len(entries.numbers):,} distinct words listed, {len(entries.substitutes):,} "
        f"substitutes in {', '.join(dictionaries)}; {100 * marked / tokens:.1f}% of tokens belong to a listed word"
    )


if __name__ == "__main__":
    main()
