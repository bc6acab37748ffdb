"""Measure candidates against bilingual dictionaries: how often is a substitute a listed translation?

    python preprocess/substitution_precision.py plm/xlmr data/xnli --dictionary fr=en-fr.txt de=en-de.txt

SALT itself uses no dictionary; this is for choosing a PLM, thresholds and the options of distill.py.
"""

from pathlib import Path

import numpy as np

from preprocess import cli
from salt_fairseq.candidates import open_candidates
from salt_fairseq.code_switching import log_threshold
from salt_fairseq.data_directory import INPUTS, DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description
from salt_fairseq.tokenizer import Tokenizer

SHARES = (1.0, 0.5, 0.25)


def arguments():
    parser = cli.parser(__doc__.split("\n")[0])
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path)
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("--dictionary", metavar="LANG=FILE", nargs="+", required=True, help="one 'source target' a line, "
                        "as MUSE has them")
    return parser.parse_args()


def read_dictionary(path):
    """Source word to the set of its translations, caseless."""
    translations = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"dictionary {path} cannot be read ({error})") from None
    for number, line in enumerate(lines, 1):
        if len(line.split()) != 2:
            raise InputError(f"{path}, line {number}: {line!r} is not 'source target'")
        source, target = line.casefold().split()
        translations.setdefault(source, set()).add(target)
    return translations


def candidate_tokens(data, language, tokenizer):
    """``(source ids, candidate ids, log_probs, whole)`` of every candidate position, 1-D arrays."""
    columns = []
    for side in INPUTS if data.is_pairs else INPUTS[:1]:
        sentences, candidates = data.sentences("train", side), open_candidates(data.path, "train", language, side)
        for i in range(len(candidates)):
            source, (ids, log_probs) = sentences[i].numpy(), (tensor.numpy() for tensor in candidates[i])
            at = np.flatnonzero(np.isfinite(log_probs))
            columns.append((source[at], ids[at], log_probs[at], tokenizer.whole_words(source)[at]))
    return [np.concatenate(column) for column in zip(*columns)]


def main():
    args = arguments()
    data = DataDirectory(args.data)
    description = Description.load(args.plm_dir)
    data.check_vocabulary(description, args.plm_dir)
    tokenizer = Tokenizer.load(args.plm_dir, description.tokenizer)
    print(f"{'':4}  {'share':>6}  {'log10 p':>7}  {'substituted':>11}  {'word parts':>10}  {'precision':>9}  of whole words")
    for pair in args.dictionary:
        language, equals, path = pair.partition("=")
        if not equals:
            raise InputError(f"--dictionary {pair}: LANG=FILE is needed")
        translations = read_dictionary(path)
        source, substitute, log_probs, whole = candidate_tokens(data, language, tokenizer)
        words = [word.casefold() for word in tokenizer.words]
        listed = np.array([words[s] in translations for s in source]) & whole
        right = np.array([words[t] in translations.get(words[s], ()) for s, t in zip(source, substitute)]) & whole
        for share in SHARES:
            least = log_threshold(log_probs, "share", share)
            chosen = log_probs >= least
            n = int((chosen & listed).sum())
            print(f"{language:4}  {100 * share:5.0f}%  {least / np.log(10):7.2f}  {int(chosen.sum()):11,}  "
                  f"{100 * (chosen & ~whole).sum() / chosen.sum():9.1f}%  {100 * (right & chosen).sum() / n:8.1f}%  {n:,}")
    print("precision: substitutes that the dictionary lists, of the substituted whole words that it has")


if __name__ == "__main__":
    main()
