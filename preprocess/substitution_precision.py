"""Measure candidates against bilingual dictionaries: how often is a substitute a listed translation?

    python preprocess/substitution_precision.py plm/xlmr data/xnli --dictionary fr=en-fr.txt de=en-de.txt --neighbours

SALT itself uses no dictionary; this is for choosing a PLM, an LM head, thresholds and the options of distill.py.
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from preprocess.distillation.word_lists import frequencies, parse_word_lists, target_vocabularies
from preprocess.text.dictionaries import parse_dictionaries, read_dictionary
from salt_fairseq.candidates import open_candidates
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.data.code_switching import log_threshold
from salt_fairseq.data.directory import INPUTS, DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import Description, load_state
from salt_fairseq.storage.files import read_json
from salt_fairseq.tokenizer import Tokenizer

SHARES = (1.0, 0.5, 0.25)
SUBSET = "train"


def arguments():
    parser = command_parser(__doc__)
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path)
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument(
        "--dictionary", metavar="LANG=FILE", nargs="+", required=True, help="one 'source target' a line, as MUSE has them"
    )
    parser.add_argument(
        "--neighbours",
        action="store_true",
        help="measure the nearest neighbours among the PLM's token embeddings, too, which know nothing of the sentence",
    )
    parser.add_argument(
        "--function-words",
        metavar="N",
        type=positive,
        default=150,
        help="most frequent words of the source language, which the last column leaves out",
    )
    parser.add_argument(
        "--word-list", metavar="LANG=FILE", nargs="+", default=[], help="the frequency lists given to distill.py"
    )
    return parser.parse_args()


def candidate_tokens(data, language, tokenizer):
    """``(source ids, candidate ids, log_probs, whole)`` of every candidate position, 1-D arrays."""
    columns = []
    for side in INPUTS if data.is_pairs else INPUTS[:1]:
        sentences, candidates = data.sentences(SUBSET, side), open_candidates(data.path, SUBSET, language, side)
        for i in range(len(candidates)):
            source, (ids, log_probs) = sentences[i].numpy(), (tensor.numpy() for tensor in candidates[i])
            at = np.flatnonzero(np.isfinite(log_probs))
            columns.append((source[at], ids[at], log_probs[at], tokenizer.whole_words(source)[at]))
    return [np.concatenate(column) for column in zip(*columns)]


def nearest_neighbours(embeddings, source, vocabulary, tokenizer):
    """``(ids, cosines)`` int64 and float32 (n,): the pieces of ``vocabulary`` nearest to ``source`` ids (n,) by the cosine of
    their token embeddings (V, d), the same word without case excluded; where nothing is left, the cosine is ``-inf``."""
    directions, caseless = F.normalize(embeddings, dim=1), torch.as_tensor(tokenizer.caseless)
    types, of = np.unique(source, return_inverse=True)
    vocabulary, found = torch.as_tensor(vocabulary), []
    for some in torch.as_tensor(types).split(4096):
        cosines = directions[some] @ directions[vocabulary].T
        cosines.masked_fill_(caseless[some, None] == caseless[vocabulary], -torch.inf)
        found.append(cosines.max(1))
    ids = torch.cat([vocabulary[best.indices] for best in found]).numpy()
    return ids[of], torch.cat([best.values for best in found]).numpy()[of]


def precision(right, listed):
    """Text and number: the share of the listed that are right, and how many are listed."""
    n = int(listed.sum())
    return f"{100 * (right & listed).sum() / n:.1f}%" if n else "-", n


def measure(name, scores, scale, right, listed, whole, frequent):
    """Print a row for each share; ``scores`` order the candidates, all other arrays are bool over the candidates."""
    for share in SHARES:
        least = log_threshold(lambda: [scores], "share", share)
        chosen = scores >= least
        of_all, n = precision(right, listed & chosen)
        of_content, m = precision(right, listed & chosen & ~frequent)
        parts = 100 * (chosen & ~whole).sum() / max(1, chosen.sum())
        print(
            f"{name:15}  {100 * share:5.0f}%  {least / scale:7.2f}  {int(chosen.sum()):11,}  {parts:9.1f}%  {of_all:>9}  "
            f"{n:14,}  {of_content:>13}  {m:16,}"
        )


def main():
    args = arguments()
    data = DataDirectory(args.data)
    description = Description.load(args.plm_dir)
    data.check_vocabulary(description, args.plm_dir)
    tokenizer = Tokenizer.load(args.plm_dir, description.tokenizer)
    words = [word.casefold() for word in tokenizer.words]
    dictionaries = parse_dictionaries(args.dictionary)
    word_lists, source_language = parse_word_lists(args.word_list), data.meta["source_language"]
    most_frequent = list(frequencies(source_language, word_lists.get(source_language)))[: args.function_words]
    frequent = np.isin(words, [tokenizer.caseless_word(word) for word in most_frequent])
    if args.neighbours:
        embeddings = load_state(args.plm_dir, description)["encoder.embed_tokens.weight"].float()
    print(
        f"{'':15}  {'share':>6}  {'log10 p':>7}  {'substituted':>11}  {'word parts':>10}  {'precision':>9}  of whole words  "
        f"content words  of content words"
    )
    for language, path in dictionaries.items():
        listed = {word: {t.casefold() for t in found} for word, found in read_dictionary(path).items()}
        source, substitutes, log_probs, whole = candidate_tokens(data, language, tokenizer)
        is_listed = np.array([words[s] in listed for s in source]) & whole

        def is_right(ids):
            return np.array([words[t] in listed.get(words[s], ()) for s, t in zip(source, ids)]) & whole

        measure(language, log_probs, np.log(10), is_right(substitutes), is_listed, whole, frequent[source])
        if args.neighbours:
            made_with = read_json(data.path / "candidates" / language / "meta.json", "preprocess/distill.py")
            found = target_vocabularies(tokenizer, [language], word_lists, source_language, made_with["keep_shared_words"])
            if len(found[language]) != made_with["target_vocabulary"]:
                raise InputError(
                    f"the candidates in {language!r} were distilled with a target vocabulary of "
                    f"{made_with['target_vocabulary']:,} pieces, and --word-list gives {len(found[language]):,}: "
                    "give the lists that distill.py was given"
                )
            ids, cosines = nearest_neighbours(embeddings, source, found[language], tokenizer)
            measure(f"{language} neighbours", cosines, 1, is_right(ids), is_listed, whole, frequent[source])
    print(
        "precision: substitutes that the dictionary lists, of the substituted whole words that it has; content words: all "
        f"but the {args.function_words} most frequent"
        + "; neighbours: by embeddings alone, with the cosine for log10 p"
        * args.neighbours
    )


if __name__ == "__main__":
    main()
