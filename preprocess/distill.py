"""Distill candidates: the PLM reads each distinct training sentence once and names counterparts in every language.

    python preprocess/distill.py plm/xlmr data/xnli --languages en,fr,es,de
    torchrun --nproc-per-node 4 preprocess/distill.py plm/xlmr data/xnli --device cuda --dtype bf16
Interrupted, the same command goes on where it was, with any number of processes.
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import contextlib
import datetime
import hashlib
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from preprocess.distillation.counterparts import CPU_LOGITS, GPU_LOGITS, POSITIONS, CounterpartSearch, candidate_positions
from preprocess.distillation.distinct_sentences import DistinctSentences
from preprocess.distillation.word_lists import parse_word_lists, target_vocabularies
from salt_fairseq.candidates import write_candidates
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.cli.freed_memory import return_freed_memory
from salt_fairseq.data.directory import INPUTS, DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import EOS
from salt_fairseq.plm import PLM, Description
from salt_fairseq.storage.files import replacing
from salt_fairseq.storage.indexed_data import best_fitting_int_dtype, ranges
from salt_fairseq.storage.manifest import write_manifest
from salt_fairseq.storage.resumable import Resumable, resuming
from salt_fairseq.tokenizer import Tokenizer

SUBSET = "train"  # the only one that is augmented
CPU_TOKENS, GPU_TOKENS = 512, 32768
TRIMMED = 4  # batches on a CPU, after which freed memory is given back: blocks of ever other sizes lie scattered in it
CHUNK = 1 << 20  # tokens of the results that are moved at once
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def arguments():
    parser = command_parser(__doc__)
    parser.add_argument("plm_dir", metavar="PLM_DIR", type=Path)
    parser.add_argument("data", metavar="DATA", type=Path, help="data directory; candidates are written into it")
    parser.add_argument("--languages", default="en,fr,es,de", help="target languages")
    parser.add_argument(
        "--word-list",
        metavar="LANG=FILE",
        nargs="+",
        default=[],
        help="frequency lists of your own: "
        "one word a line, most frequent first, or 'word count' (default: the library wordfreq)",
    )
    parser.add_argument(
        "--positions",
        choices=POSITIONS,
        default="words",
        help="substitute every token with a letter, or only tokens that are whole words",
    )
    parser.add_argument(
        "--keep-shared-words",
        action="store_true",
        help="keep words in a target vocabulary that are "
        "(nearly) as frequent in the source language, or much more frequent in another one",
    )
    add_device(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="fp32")
    parser.add_argument(
        "--max-tokens",
        type=positive,
        help=f"tokens the PLM reads at once, padding included (default: {CPU_TOKENS} on a CPU, {GPU_TOKENS} on a GPU)",
    )
    parser.add_argument(
        "--logits-budget", type=positive, help=f"logits held at once (default: {CPU_LOGITS} on a CPU, {GPU_LOGITS} on a GPU)"
    )
    return parser.parse_args()


def search_all(search, sentences, positions, max_tokens, resumable, rank, world_size):
    """Search this process's share of the batches that are not yet among the saved parts, and save them as further parts.

    A part: ``places`` int64 (n,) of candidates among the tokens of all distinct sentences; language to their ``(ids,
    log_probs)``; and the numbers of its ``batches``.
    """
    longest = search.plm.description.architecture.positions - 1
    batches = list(sentences.batches(longest, max_tokens))
    done = {number for name in resumable.names("batches.*") for number in resumable.load(name).tolist()}
    if world_size > 1:
        torch.distributed.barrier()  # all have seen the same parts
    left = [number for number in range(len(batches)) if number not in done]
    lengths, part = sentences.lengths, []
    progress = tqdm(
        total=int(sum(lengths[batches[number]].sum() for number in left[rank::world_size])),
        unit=" tokens",
        desc="distilling",
        unit_scale=True,
        disable=rank > 0,
    )

    def finish(number, places, found):
        found = {language: (ids.to(torch.int32).cpu(), log_probs.cpu()) for language, (ids, log_probs) in found.items()}
        if any(log_probs.isnan().any() for _, log_probs in found.values()):
            raise InputError("the PLM gives logits that are not finite: use --dtype fp32 or bf16")
        part.append((number, places, found))
        progress.update(int(lengths[batches[number]].sum()))
        if resumable.due():
            save(part, resumable)

    with progress:
        waiting = None  # the batch before: a GPU works on the next one while its results are fetched
        for count, number in enumerate(left[rank::world_size]):
            inputs, masks, places = sentences.read(
                batches[number], longest, lambda ids: candidate_positions(search.plm.tokenizer, ids, positions)
            )
            if search.device.type == "cpu" and count % TRIMMED == 0:
                return_freed_memory()
            found = search(inputs, masks)
            if waiting:
                finish(*waiting)
            waiting = number, torch.from_numpy(places), found
        if waiting:
            finish(*waiting)
        if part:
            save(part, resumable)
    if world_size > 1:
        torch.distributed.barrier()


def save(part, resumable):
    """Save results of batches under the number of the first, and empty the list."""
    numbers, places, found = zip(*part)
    joined = {
        language: tuple(torch.cat(values) for values in zip(*(f[language] for f in found if f)))
        for language in {language for f in found for language in f}
    }
    value = {"batches": torch.tensor(numbers), "places": torch.cat(places), "found": joined}
    resumable.save(f"part.{numbers[0]:012}.pt", value)
    resumable.save(f"batches.{numbers[0]:012}.pt", value["batches"])  # all that going on needs to read
    part.clear()


def filled(language, own, resumable):
    """``(ids, log_probs)`` of all tokens of the distinct sentences, from the parts: arrays in files."""
    ids = np.memmap(resumable.path / "ids", own.dtype, "w+", shape=own.shape)
    log_probs = np.memmap(resumable.path / "log_probs", np.float32, "w+", shape=own.shape)
    for start in range(0, len(own), CHUNK):
        ids[start : start + CHUNK], log_probs[start : start + CHUNK] = own[start : start + CHUNK], -np.inf
    for name in resumable.names("part.*"):
        part = resumable.load(name)
        if language in part["found"]:
            found, values = part["found"][language]
            some = values > -np.inf  # a language whose only word is the token itself has none
            places = part["places"][some].numpy()
            ids[places], log_probs[places] = found[some].numpy(), values[some].numpy()
    return ids, log_probs


class Statistics:
    """Share of all tokens (eos left out) substituted at probability ``tau``, and the most frequent substitutions."""

    def __init__(self, tau, vocabulary):
        self.tau, self.vocabulary = tau, vocabulary
        self.counts, self.tokens, self.substituted = Counter(), 0, 0

    def add(self, own, ids, log_probs, times):
        """Arrays (n,) of tokens, their candidates, and how many ``times`` each of the tokens is there."""
        chosen = log_probs >= np.log(self.tau)
        self.tokens, self.substituted = self.tokens + int(times[own != EOS].sum()), self.substituted + int(times[chosen].sum())
        pairs, which = np.unique(own[chosen].astype(np.int64) * self.vocabulary + ids[chosen], return_inverse=True)
        self.counts.update(dict(zip(pairs.tolist(), np.bincount(which, times[chosen]).astype(np.int64).tolist())))

    def line(self, language, tokenizer, most=8):
        shown = ((*divmod(pair, self.vocabulary), n) for pair, n in self.counts.most_common(most))
        pairs = ", ".join(f"{tokenizer.words[s]}→{tokenizer.words[t]} {n:,}" for s, t, n in shown)
        return f"{language}: {100 * self.substituted / self.tokens:.1f}% of tokens substituted at tau {self.tau:g}; {pairs}"


def write(data, language, sentences, own, resumable, statistics, made_with):
    """Write ``candidates/LANG`` from the parts; ``own`` are the tokens of the distinct sentences."""
    ids, log_probs = filled(language, own, resumable)

    def chunks(distinct, times):
        for start in range(0, len(distinct), CHUNK // 16):
            which = distinct[start : start + CHUNK // 16]
            lengths = sentences.lengths[which]
            places = ranges(sentences.starts[which], lengths)
            statistics.add(own[places], ids[places], log_probs[places], np.repeat(times[which], lengths))
            yield lengths, ids[places], log_probs[places]

    with replacing(data.path / "candidates" / language, marker="meta.json") as directory:
        sides = dict(zip(INPUTS, sentences.numbers))
        for side, numbers in sides.items():
            (directory / side).mkdir(parents=True)
            times = np.bincount(numbers, minlength=len(sentences))
            distinct = np.flatnonzero(times)
            numbers = np.cumsum(times > 0)[numbers] - 1  # among the distinct ones of this side
            tokens = int(sentences.lengths[distinct].sum())
            write_candidates(directory / side / SUBSET, numbers, tokens, chunks(distinct, times), own.dtype.type)
        sha256 = {f"{side}/{SUBSET}": data.meta["subsets"][SUBSET]["sha256"][side] for side in sides}
        write_manifest(directory, {"sentences_sha256": sha256, **made_with})


def write_all(data, plm, vocabularies, sentences, resumable, made_with):
    """Write the candidates of all languages from the parts, printing what was found."""
    dtype = best_fitting_int_dtype(made_with["vocabulary"])
    with open(resumable.path / "own", "wb") as file:
        for start in range(0, len(sentences), CHUNK // 16):
            which = np.arange(start, min(start + CHUNK // 16, len(sentences)))
            file.write(sentences.tokens(which).astype(dtype).tobytes())
    own = np.memmap(resumable.path / "own", dtype, "r")
    for language, vocabulary in vocabularies.items():
        statistics = Statistics(1e-3 if language == data.meta["source_language"] else 1e-7, made_with["vocabulary"])
        write(data, language, sentences, own, resumable, statistics, {**made_with, "target_vocabulary": len(vocabulary)})
        print(statistics.line(language, plm.tokenizer))


def main():
    args = arguments()
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = args.device
    check_device(device)
    if world_size > 1:
        torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(days=7))  # the slowest is waited for
        if device == "cuda":
            device = f"cuda:{os.environ['LOCAL_RANK']}"
    data, description = DataDirectory(args.data), Description.load(args.plm_dir)
    data.check_vocabulary(description, args.plm_dir)
    if description.lm_head == "untrained":
        raise InputError(f"{args.plm_dir} has an LM head that was never trained: train it with preprocess/train_lm_head.py")
    if SUBSET not in data.meta["subsets"]:
        raise InputError(f"{args.data} has no subset {SUBSET!r} to distill: binarize one with --subset {SUBSET}=FILE")
    languages = args.languages.split(",")
    if len(set(languages)) < len(languages):
        raise InputError(f"--languages {args.languages} names a language twice: leave one of them out")
    source_language = data.meta["source_language"]
    word_lists = parse_word_lists(args.word_list, [*languages, source_language])
    tokenizer = Tokenizer.load(args.plm_dir, description.tokenizer)
    vocabularies = target_vocabularies(tokenizer, languages, word_lists, source_language, args.keep_shared_words)
    for language, vocabulary in vocabularies.items():
        if not len(vocabulary):
            raise InputError(f"no word of the list for {language!r} is a single piece of the PLM's vocabulary")
    tokenizer.keep_words_only()
    return_freed_memory()  # before the weights, which take its place
    plm = PLM.load(args.plm_dir, tokenizer)
    made_with = {
        "plm": description.name,
        "vocabulary": description.architecture.vocabulary,
        "model_sha256": description.sha256["model.pt"],
        "positions": args.positions,
        "keep_shared_words": args.keep_shared_words,
        "dtype": args.dtype,
    }
    search = CounterpartSearch(plm, vocabularies, device, DTYPES[args.dtype], args.logits_budget)
    max_tokens = args.max_tokens or (CPU_TOKENS if search.device.type == "cpu" else GPU_TOKENS)
    chosen = hashlib.sha256(json.dumps([[k, v.tolist()] for k, v in vocabularies.items()]).encode()).hexdigest()
    settings = {
        "data": data.meta["subsets"][SUBSET]["sha256"],
        **made_with,
        "languages": args.languages,
        "target vocabularies": chosen,
        "device": search.device.type,
        "max_tokens": max_tokens,
        "logits_budget": search.budget,
    }
    sentences = DistinctSentences([data.sentences(SUBSET, side) for side in (INPUTS if data.is_pairs else INPUTS[:1])])
    work = args.data / "candidates", settings, "distillation"
    with resuming(*work) if rank == 0 else contextlib.nullcontext() as resumable:
        if world_size > 1:
            torch.distributed.barrier()
        resumable = resumable or Resumable(*work)
        search_all(search, sentences, args.positions, max_tokens, resumable, rank, world_size)
        if rank == 0:
            write_all(data, plm, vocabularies, sentences, resumable, made_with)
            total = sum(map(len, sentences.numbers))
            print(
                f"wrote {args.data / 'candidates'}: {', '.join(languages)}, {total:,} sentences "
                f"({len(sentences):,} distinct, {sentences.lengths.sum():,} tokens read)"
            )
    if world_size > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
