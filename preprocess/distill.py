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
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from preprocess.distillation.candidate_files import write_all
from preprocess.distillation.candidate_search import CPU_LOGITS, GPU_LOGITS, POSITIONS, CandidateSearch
from preprocess.distillation.distinct_sentences import DistinctSentences
from preprocess.distillation.inputs import TRAINING, add_inputs, open_inputs
from preprocess.distillation.processes import check_shared, process_group
from preprocess.distillation.search import search_all
from preprocess.distillation.sources import SourceSentences, choose_positions, one_or_each
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
    add(
        "--positions",
        choices=POSITIONS,
        help="candidate positions: all tokens with a letter, or whole words (default: whole words, but all tokens in source "
        "languages that have hardly any, as Chinese)",
    )
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


def vocabularies_of(
    args: argparse.Namespace, tokenizer: Tokenizer, sources: Sequence[str]
) -> tuple[dict[str, dict], list[str]]:
    """Source language to target language to piece ids of its target vocabulary, and warnings about small ones."""
    languages = args.languages.split(",")
    word_lists = parse_word_lists(args.word_list, [*languages, *sources])
    vocabularies = {
        source: target_vocabularies(tokenizer, languages, word_lists, source, args.keep_shared_words) for source in sources
    }
    warnings = [
        f"source language {source}: {warning}" if len(sources) > 1 else warning
        for source, of_source in vocabularies.items()
        for warning in check_vocabularies(tokenizer, of_source, word_lists)
    ]
    return vocabularies, warnings


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
    subsets = {data.language(subset): subset for subset in data.parts(TRAINING)}
    vocabularies, warnings = vocabularies_of(args, tokenizer, list(subsets))
    tokenizer.keep_words_only()
    return_freed_memory()  # before the weights, which take its place
    sources = []
    for language, subset in subsets.items():
        sentences = DistinctSentences([data.sentences(subset, side) for side in data.sides])
        longest = description.architecture.positions - 1
        positions, count, warning = choose_positions(sentences, tokenizer, longest, args.positions, language)
        sources.append(SourceSentences(subset, language, sentences, vocabularies[language], positions, count))
        warnings += [warning] if warning else []
    for warning in warnings if rank == 0 else ():
        print_line(f"warning: {warning}", sys.stderr)
    plm = PLM.load(args.plm_dir, tokenizer)
    searches = [CandidateSearch(plm, each.vocabularies, device, DTYPES[args.dtype], args.logits_budget) for each in sources]
    device_type, budget = searches[0].device.type, searches[0].budget
    max_tokens = args.max_tokens or (CPU_TOKENS if device_type == "cpu" else GPU_TOKENS)
    made_with = {
        "plm": description.name,
        "vocabulary": description.architecture.vocabulary,
        "model_sha256": description.sha256["model.pt"],
        "positions": one_or_each({each.language: each.positions for each in sources}),
        "keep_shared_words": args.keep_shared_words,
        "dtype": args.dtype,
    }
    ids = json.dumps([[language, ids.tolist()] for each in sources for language, ids in each.vocabularies.items()])
    settings = {
        "data": one_or_each({each.subset: data.meta["subsets"][each.subset]["sha256"] for each in sources}),
        **made_with,
        "languages": args.languages,
        "target vocabularies": hashlib.sha256(ids.encode()).hexdigest(),
        "device": device_type,
        "max_tokens": max_tokens,
        "logits_budget": budget,
    }
    with shared(world_size, args.data / "candidates", settings, rank) as resumable:
        work = [resumable if len(sources) == 1 else resumable.part(each.subset) for each in sources]
        for each, search, part in zip(sources, searches, work):
            search_all(search, each.sentences, each.positions, max_tokens, part, rank, world_size)
        if rank == 0:
            write_all(data, tokenizer, sources, work, made_with)
            searched = [each.sentences for each in sources]
            print_line(
                f"wrote {args.data / 'candidates'}: {args.languages.replace(',', ', ')}, "
                f"{sum(len(numbers) for each in searched for numbers in each.numbers):,} sentences "
                f"({sum(map(len, searched)):,} distinct, {sum(int(each.lengths.sum()) for each in searched):,} tokens read)"
            )


if __name__ == "__main__":
    main()
