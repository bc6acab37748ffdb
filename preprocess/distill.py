"""Distill candidates: the PLM reads each distinct training sentence once and names counterparts in every language.

    python preprocess/distill.py plm/xlmr data/xnli --languages en,fr,es,de
    torchrun --nproc-per-node 4 preprocess/distill.py plm/xlmr data/xnli --device cuda --dtype bf16
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from preprocess import cli
from preprocess.counterparts import POSITIONS, CounterpartSearch, candidate_positions
from preprocess.word_lists import parse_word_lists, target_vocabularies
from salt_fairseq.candidates import open_candidates, write_candidates
from salt_fairseq.data_directory import INPUTS, DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.files import replacing
from salt_fairseq.indexed_data import best_fitting_int_dtype
from salt_fairseq.manifest import write_manifest
from salt_fairseq.modules.encoder import BOS, EOS
from salt_fairseq.plm import PLM

SUBSET = "train"  # the only one that is augmented
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def arguments():
    parser = cli.parser(__doc__.split("\n")[0])
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path)
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory; candidates are written into it")
    parser.add_argument("--languages", default="en,fr,es,de", help="target languages")
    parser.add_argument("--word-list", metavar="LANG=FILE", nargs="+", default=[], help="frequency lists of your own: "
                        "one word a line, most frequent first, or 'word count' (default: the library wordfreq)")
    parser.add_argument("--positions", choices=POSITIONS, default="words", help="substitute every token with a letter, "
                        "or only tokens that are whole words")
    parser.add_argument("--keep-shared-words", action="store_true", help="keep words in a target vocabulary that are "
                        "more frequent in the source language, or much more frequent in any other")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument("--max-tokens", type=int, default=8192, help="tokens the PLM reads at once, padding included")
    parser.add_argument("--logits-budget", type=int, default=1 << 26, help="logits held at once")
    return parser.parse_args()


def distinct_sentences(inputs):
    """The distinct sentences of several indexed inputs: ``(list of int arrays, list of int64 (N_k,) numbers)``."""
    sentences, number, numbers = [], {}, []
    for sequences in inputs:
        of = np.empty(len(sequences), dtype=np.int64)
        for i in range(len(sequences)):
            ids = sequences[i].numpy()
            key = ids.tobytes()
            if key not in number:
                number[key] = len(sentences)
                sentences.append(ids.copy())
            of[i] = number[key]
        numbers.append(of)
    return sentences, numbers


def batches_by_length(lengths, max_tokens):
    """Index arrays, longest sentences first, of at most ``max_tokens`` with padding."""
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        size = max(1, max_tokens // (int(lengths[order[start]]) + 1))
        yield order[start : start + size]
        start += size


def search_all(search, sentences, masks, max_tokens, rank, world_size):
    """This process's share: language to flat arrays (ids, log_probs) over the tokens of all sentences."""
    lengths = np.array([len(s) for s in sentences])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    longest = search.plm.description.architecture.positions - 1
    flat_ids = np.concatenate(sentences)
    results = {lang: (flat_ids.copy(), np.full(len(flat_ids), -np.inf, np.float32)) for lang in search.vocabularies}
    mine = list(batches_by_length(np.minimum(lengths, longest), max_tokens))[rank::world_size]
    total = int(sum(lengths[batch].sum() for batch in mine))
    with tqdm(total=total, desc="distilling", unit=" tokens", unit_scale=True, disable=rank > 0) as progress:
        for batch in mine:
            inputs, marked, places = [], [], []
            for i in batch:
                ids = sentences[i] if len(sentences[i]) <= longest else np.append(sentences[i][: longest - 1], EOS)
                mask = masks[i][: len(ids)].copy()
                mask[-1] = False
                inputs.append(torch.from_numpy(np.concatenate([[BOS], ids])))
                marked.append(torch.from_numpy(np.concatenate([[False], mask])))
                places.append(starts[i] + np.flatnonzero(mask))
            place = np.concatenate(places)
            for language, (ids, log_probs) in search(inputs, marked).items():
                if np.isnan(log_probs).any():
                    raise InputError("the PLM gives logits that are not finite: use --dtype fp32 or bf16")
                some = log_probs > -np.inf  # a language whose only word is the token itself has none
                results[language][0][place[some]], results[language][1][place[some]] = ids[some], log_probs[some]
            progress.update(int(lengths[batch].sum()))
    return results


def gather(results, rank, world_size):
    """Rank 0's results completed with those of the other processes (each token was searched by one of them)."""
    for ids, log_probs in results.values() if world_size > 1 else ():
        parts = [None] * world_size if rank == 0 else None
        place = np.flatnonzero(log_probs > -np.inf)
        torch.distributed.gather_object((place, ids[place], log_probs[place]), parts)
        for place, part_ids, part_log_probs in parts or ():
            ids[place], log_probs[place] = part_ids, part_log_probs
    return results


def write(data, language, inputs, numbers, lengths, found, made_with):
    """Write ``candidates/LANG`` from the flat arrays over distinct sentences."""
    flat_ids, flat_log_probs = found
    starts = np.concatenate([[0], np.cumsum(lengths)])
    with replacing(data.path / "candidates" / language, marker="meta.json") as directory:
        for side, of in zip(INPUTS, numbers):
            (directory / side).mkdir(parents=True)
            log_probs = np.concatenate([flat_log_probs[starts[k] : starts[k + 1]] for k in of])
            ids = (flat_ids[starts[k] : starts[k + 1]] for k in of)
            dtype = best_fitting_int_dtype(made_with["vocabulary"])
            write_candidates(directory / side / SUBSET, ids, log_probs, dtype)
        sha256 = {f"{side}/{SUBSET}": data.meta["subsets"][SUBSET]["sha256"][side] for side in inputs}
        meta = {"sentences_sha256": sha256, **made_with}
        write_manifest(directory, meta)


def statistics(data, language, tokenizer, tau, most=8):
    """Share of all tokens substituted at probability ``tau``, and the most frequent substitutions."""
    counts, tokens, substituted = Counter(), 0, 0
    for side in INPUTS if data.is_pairs else INPUTS[:1]:
        sequences = data.sentences(SUBSET, side)
        originals = np.concatenate([sequences[i].numpy() for i in range(len(sequences))])
        candidates = open_candidates(data.path, SUBSET, language, side)
        ids = np.concatenate([candidates[i][0].numpy() for i in range(len(candidates))])
        chosen = candidates.log_probs >= np.log(tau)
        tokens, substituted = tokens + len(originals) - len(sequences), substituted + int(chosen.sum())
        counts.update(zip(originals[chosen].tolist(), ids[chosen].tolist()))
    pairs = ", ".join(f"{tokenizer.words[s]}→{tokenizer.words[t]} {n:,}" for (s, t), n in counts.most_common(most))
    return f"{language}: {100 * substituted / tokens:.1f}% of tokens substituted at tau {tau:g}; {pairs}"


def main():
    args = arguments()
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = args.device
    if world_size > 1:
        torch.distributed.init_process_group("gloo")
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
    data, plm = DataDirectory(args.data), PLM.load(args.plm_dir)
    data.check_vocabulary(plm.description, args.plm_dir)
    if plm.description.lm_head == "untrained":
        raise InputError(f"{args.plm_dir} has an LM head that was never trained: train it with preprocess/train_lm_head.py")
    if SUBSET not in data.meta["subsets"]:
        raise InputError(f"{args.data} has no subset {SUBSET!r} to distill: binarize one with --subset {SUBSET}=FILE")
    languages = args.languages.split(",")
    source_language = data.meta["source_language"]
    word_lists = parse_word_lists(args.word_list)
    vocabularies = target_vocabularies(plm.tokenizer, languages, word_lists, source_language, args.keep_shared_words)
    for language, vocabulary in vocabularies.items():
        if not len(vocabulary):
            raise InputError(f"no word of the list for {language!r} is a single piece of the PLM's vocabulary")
    inputs = INPUTS if data.is_pairs else INPUTS[:1]
    sentences, numbers = distinct_sentences([data.sentences(SUBSET, side) for side in inputs])
    masks = [candidate_positions(plm.tokenizer, ids, args.positions) for ids in sentences]
    search = CounterpartSearch(plm, vocabularies, device, DTYPES[args.dtype], args.logits_budget)
    results = gather(search_all(search, sentences, masks, args.max_tokens, rank, world_size), rank, world_size)
    if rank == 0:
        made_with = {"plm": plm.description.name, "vocabulary": plm.description.architecture.vocabulary,
                     "model_sha256": plm.description.sha256["model.pt"], "positions": args.positions,
                     "keep_shared_words": args.keep_shared_words, "dtype": args.dtype}
        lengths = [len(s) for s in sentences]
        for language in languages:
            made_for = {**made_with, "target_vocabulary": len(vocabularies[language])}
            write(data, language, inputs, numbers, lengths, results[language], made_for)
            print(statistics(data, language, plm.tokenizer, 1e-3 if language == source_language else 1e-7))
        total = sum(len(of) for of in numbers)
        print(f"wrote {args.data / 'candidates'}: {', '.join(languages)}, {total:,} sentences "
              f"({len(sentences):,} distinct, {sum(lengths):,} tokens read)")
    if world_size > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
