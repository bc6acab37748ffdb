"""Measure candidates against bilingual dictionaries: how often is a substitute a listed translation?

    python preprocess/substitution_precision.py plm/xlmr data/xnli --dictionary fr=en-fr.txt de=en-de.txt --neighbours

SALT itself uses no dictionary; this is for choosing a PLM, an LM head, thresholds and the options of distill.py.
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import numpy as np
import torch
import torch.nn.functional as F

from preprocess.distillation.inputs import add_inputs, add_subset, open_inputs, training_subset
from preprocess.distillation.target_vocabularies import target_vocabularies
from preprocess.distillation.word_lists import frequencies, parse_word_lists
from preprocess.text.dictionaries import read_dictionary
from salt_fairseq.candidates import open_candidates
from salt_fairseq.cli.arguments import command_parser, name_value_pairs, positive
from salt_fairseq.data.code_switching import log_threshold
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import load_state
from salt_fairseq.storage.files import read_json
from salt_fairseq.tokenizer import Tokenizer

FRACTIONS = (1.0, 0.5, 0.25)


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add_inputs(parser)
    add(
        "--dictionary", metavar="LANG=FILE", nargs="+", action="extend", required=True, help="lines 'source target', as in MUSE"
    )
    add_subset(parser)
    add("--neighbours", action="store_true", help="also measure the nearest neighbours of token embeddings")
    frequent_help = "most frequent source words, left out of the last column"
    add("--function-words", metavar="N", type=positive, default=150, help=frequent_help)
    add(
        "--word-list",
        metavar="LANG=FILE",
        nargs="+",
        action="extend",
        default=[],
        help="the frequency lists given to distill.py",
    )
    return parser.parse_args()


def candidate_tokens(data: DataDirectory, subset: str, language: str, tokenizer: Tokenizer) -> list[np.ndarray]:
    """``(source ids, candidate ids, log_probs, whole)`` of every candidate position of a subset, 1-D arrays."""
    columns = []
    for side in data.sides:
        sentences, candidates = data.sentences(subset, side), open_candidates(data.path, subset, language, side)
        for i in range(len(candidates)):
            source, (ids, log_probs) = sentences[i].numpy(), (tensor.numpy() for tensor in candidates[i])
            at = np.flatnonzero(np.isfinite(log_probs))
            columns.append((source[at], ids[at], log_probs[at], tokenizer.whole_words(source)[at]))
    return [np.concatenate(column) for column in zip(*columns)]


def nearest_neighbours(
    embeddings: torch.Tensor, source: np.ndarray, vocabulary: np.ndarray, tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray]:
    """``(ids, cosines)`` int64 and float32 (n,): the pieces of ``vocabulary`` nearest to ``source`` ids (n,) by the cosine of
    their token embeddings (V, d), the same word without case excluded; where nothing is left, the cosine is ``-inf``."""
    directions, caseless = F.normalize(embeddings, dim=1), torch.as_tensor(tokenizer.caseless)
    types, type_of = np.unique(source, return_inverse=True)
    ids, best = torch.as_tensor(vocabulary), []
    for block in torch.as_tensor(types).split(4096):
        cosines = directions[block] @ directions[ids].T
        cosines.masked_fill_(caseless[block, None] == caseless[ids], -torch.inf)
        best.append(cosines.max(1))
    nearest = torch.cat([ids[block.indices] for block in best]).numpy()
    return nearest[type_of], torch.cat([block.values for block in best]).numpy()[type_of]


def precision(right: np.ndarray, listed: np.ndarray) -> tuple[str, int]:
    """The percentage of the ``listed`` that are ``right``, as text, and the number of the listed."""
    n = int(listed.sum())
    return f"{100 * (right & listed).sum() / n:.1f}%" if n else "-", n


def measure(name, scores, scale, right, listed, whole, frequent):
    """Print a row for each fraction; ``scores`` order the candidates, all other arrays are bool over the candidates."""
    for fraction in FRACTIONS:
        least = log_threshold([scores], ("fraction", fraction))
        chosen = scores >= least
        of_all, n = precision(right, listed & chosen)
        of_content, m = precision(right, listed & chosen & ~frequent)
        parts = 100 * (chosen & ~whole).sum() / max(1, chosen.sum())
        print(
            f"{name:15}  {100 * fraction:5.0f}%  {least / scale:7.2f}  {int(chosen.sum()):11,}  {parts:9.1f}%  {of_all:>9}  "
            f"{n:14,}  {of_content:>13}  {m:16,}"
        )


def main() -> None:
    args = arguments()
    data, description, tokenizer = open_inputs(args)
    subset = training_subset(data, args.subset)
    words = [word.casefold() for word in tokenizer.words]
    dictionaries = name_value_pairs("--dictionary", args.dictionary)
    word_lists, source_language = parse_word_lists(args.word_list), data.language(subset)
    most_frequent = list(frequencies(source_language, word_lists.get(source_language)))[: args.function_words]
    frequent = np.isin(words, [tokenizer.caseless_word(word) for word in most_frequent])
    if args.neighbours:
        embeddings = load_state(args.plm_dir, description)["encoder.embed_tokens.weight"].float()
    print(f"{'':15}    kept  log10 p  substituted  word parts  precision  of whole words  content words  of content words")
    for language, path in dictionaries.items():
        listed = {word: {t.casefold() for t in targets} for word, targets in read_dictionary(path).items()}
        source, substitutes, log_probs, whole = candidate_tokens(data, subset, language, tokenizer)
        is_listed = np.array([words[s] in listed for s in source]) & whole

        def is_right(ids):
            return np.array([words[t] in listed.get(words[s], ()) for s, t in zip(source, ids)]) & whole

        measure(language, log_probs, np.log(10), is_right(substitutes), is_listed, whole, frequent[source])
        if args.neighbours:
            made_with = read_json(data.path / "candidates" / language / "meta.json", "preprocess/distill.py")
            keep_shared, size = made_with["keep_shared_words"], made_with["target_vocabulary"]
            if isinstance(size, dict):  # by source language
                size = size[source_language]
            vocabulary = target_vocabularies(tokenizer, [language], word_lists, source_language, keep_shared)[language]
            if len(vocabulary) != size:
                raise InputError(
                    f"the candidates in {language!r} were distilled with a target vocabulary of {size:,} pieces, and "
                    f"--word-list gives {len(vocabulary):,}: give the lists that distill.py was given"
                )
            ids, cosines = nearest_neighbours(embeddings, source, vocabulary, tokenizer)
            measure(f"{language} neighbours", cosines, 1, is_right(ids), is_listed, whole, frequent[source])
    by_embeddings = "; neighbours: by embeddings alone, with the cosine for log10 p" if args.neighbours else ""
    print(
        "precision: substitutes that the dictionary lists, of the substituted whole words that it has; content words: all "
        f"but the {args.function_words} most frequent{by_embeddings}"
    )


if __name__ == "__main__":
    main()
