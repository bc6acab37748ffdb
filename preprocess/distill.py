"""Distill candidates: the PLM reads each distinct training sentence once and names its candidates in every language.

    python preprocess/distill.py plm/xlmr data/xnli --languages en,fr,es,de
    torchrun --nproc-per-node 4 preprocess/distill.py plm/xlmr data/xnli --device cuda --dtype bf16
After an interruption, the same command resumes, with any number of processes.
"""

from salt_fairseq.cli.command import start_command

if __name__ == "__main__":
    start_command()  # first: an interrupt while the rest loads ends in one line, too

import argparse
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from preprocess.distillation.candidate_files import write_all
from preprocess.distillation.candidate_search import CPU_LOGITS, GPU_LOGITS, POSITIONS, CandidateSearch
from preprocess.distillation.distinct_sentences import DistinctSentences
from preprocess.distillation.inputs import SUBSET, add_inputs, open_inputs
from preprocess.distillation.processes import check_shared, process_group
from preprocess.distillation.search import count_positions, few_positions, search_all
from preprocess.distillation.target_vocabularies import check_vocabularies, target_vocabularies
from preprocess.distillation.word_lists import WORD_LIST_HELP, parse_word_lists
from salt_fairseq.cli.arguments import command_parser, positive
from salt_fairseq.cli.device import add_device, check_device
from salt_fairseq.cli.freed_memory import return_freed_memory
from salt_fairseq.cli.printable import print_line
from salt_fairseq.errors import InputError
from salt_fairseq.plm import PLM, Description
from salt_fairseq.storage.files import check_output
from salt_fairseq.storage.resumable import Resumable, resuming, work_directory
from salt_fairseq.tokenizer import Tokenizer

CPU_TOKENS, GPU_TOKENS = 512, 32768
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def arguments():
    parser = command_parser(__doc__)
    add = parser.add_argument
    add_inputs(parser, "data directory; candidates are written into it")
    add("--languages", default="en,fr,es,de", help="target languages")
    add("--word-list", metavar="LANG=FILE", nargs="+", action="extend", default=[], help=WORD_LIST_HELP)
    add("--positions", choices=POSITIONS, default="words", help="candidate positions: all tokens with a letter, or whole words")
    add(
        "--keep-shared-words",
        action="store_true",
        help="keep words as frequent in the source language, or far more so in another",
    )
    add_device(parser)
    add("--dtype", choices=DTYPES, default="fp32", help="precision of the weights and of what is computed with them")
    add("--max-tokens", type=positive, help=f"padded tokens at once (default: {CPU_TOKENS} on a CPU, {GPU_TOKENS} on a GPU)")
    add("--logits-budget", type=positive, help=f"logits held at once (default: {CPU_LOGITS} on a CPU, {GPU_LOGITS} on a GPU)")
    return parser.parse_args()


def check(args: argparse.Namespace, description: Description) -> None:
    """Raise unless the PLM can name candidates, and each language is named once."""
    if description.lm_head == "untrained":
        raise InputError(f"{args.plm_dir} has an LM head that was never trained: train it with preprocess/train_lm_head.py")
    languages = args.languages.split(",")
    if len(set(languages)) < len(languages):
        raise InputError(f"--languages {args.languages} names a language twice: leave one of them out")


def vocabularies_of(args: argparse.Namespace, tokenizer: Tokenizer, source_language: str) -> tuple[dict, list[str]]:
    """Language to piece ids of its target vocabulary, and warnings about small ones."""
    languages = args.languages.split(",")
    word_lists = parse_word_lists(args.word_list, [*languages, source_language])
    vocabularies = target_vocabularies(tokenizer, languages, word_lists, source_language, args.keep_shared_words)
    return vocabularies, list(check_vocabularies(tokenizer, vocabularies, word_lists))


def check_outputs(args: argparse.Namespace) -> None:
    """Raise, before the work begins, where a language's candidates would replace anything but candidates."""
    word_lists = parse_word_lists(args.word_list).values()
    for language in args.languages.split(","):
        check_output(args.data / "candidates" / language, [args.plm_dir, *word_lists], marker="meta.json")


@contextlib.contextmanager
def shared(world_size: int, out: Path, settings: dict, rank: int) -> Iterator[Resumable]:
    """The :class:`Resumable` of this process: the first one locks ``out`` and sets up the state that all of them use."""
    work = out, settings, "distillation"
    with resuming(*work) if rank == 0 else contextlib.nullcontext() as resumable:
        if world_size > 1:
            check_shared(work_directory(out, "distillation"), rank)
        yield resumable or Resumable(*work)


def main() -> None:
    args = arguments()
    with process_group() as (rank, world_size):
        distill(args, rank, world_size)


def distill(args: argparse.Namespace, rank: int, world_size: int) -> None:
    """This process's part of the distillation; the first process writes the result of all."""
    device = args.device
    check_device(device)
    if world_size > 1 and device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', rank)}"
    data, description, tokenizer = open_inputs(args)
    check(args, description)
    check_outputs(args)
    source_language = data.meta["source_language"]
    vocabularies, warnings = vocabularies_of(args, tokenizer, source_language)
    tokenizer.keep_words_only()
    return_freed_memory()  # before the weights, which take its place
    sentences = DistinctSentences([data.sentences(SUBSET, side) for side in data.sides])
    longest = description.architecture.positions - 1
    positions, lettered = (count_positions(sentences, tokenizer, longest, which) for which in (args.positions, "tokens"))
    if warning := few_positions(positions, lettered, source_language):
        warnings.append(warning)
    for warning in warnings if rank == 0 else ():
        print_line(f"warning: {warning}", sys.stderr)
    search = CandidateSearch(PLM.load(args.plm_dir, tokenizer), vocabularies, device, DTYPES[args.dtype], args.logits_budget)
    max_tokens = args.max_tokens or (CPU_TOKENS if search.device.type == "cpu" else GPU_TOKENS)
    made_with = {
        "plm": description.name,
        "vocabulary": description.architecture.vocabulary,
        "model_sha256": description.sha256["model.pt"],
        "positions": args.positions,
        "keep_shared_words": args.keep_shared_words,
        "dtype": args.dtype,
    }
    ids = json.dumps([[language, vocabulary.tolist()] for language, vocabulary in vocabularies.items()])
    settings = {
        "data": data.meta["subsets"][SUBSET]["sha256"],
        **made_with,
        "languages": args.languages,
        "target vocabularies": hashlib.sha256(ids.encode()).hexdigest(),
        "device": search.device.type,
        "max_tokens": max_tokens,
        "logits_budget": search.budget,
    }
    with shared(world_size, args.data / "candidates", settings, rank) as resumable:
        search_all(search, sentences, args.positions, max_tokens, resumable, rank, world_size)
        if rank == 0:
            made_with["candidate_positions"] = positions
            write_all(data, tokenizer, vocabularies, sentences, resumable, made_with)
            total = sum(map(len, sentences.numbers))
            print_line(
                f"wrote {args.data / 'candidates'}: {', '.join(vocabularies)}, {total:,} sentences "
                f"({len(sentences):,} distinct, {sentences.lengths.sum():,} tokens read)"
            )


if __name__ == "__main__":
    main()
