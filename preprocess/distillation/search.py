"""The search through all distinct sentences, by any number of processes, in parts that a killed run leaves behind."""

from __future__ import annotations

import numpy as np
import torch

from preprocess.distillation.candidate_search import CandidateSearch, candidate_positions
from preprocess.distillation.distinct_sentences import DistinctSentences
from salt_fairseq.cli.freed_memory import return_freed_memory
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.errors import InputError
from salt_fairseq.storage.resumable import Resumable
from salt_fairseq.tokenizer import Tokenizer

# On a CPU, freed blocks of ever different sizes are scattered in memory: they are given back after this many batches.
TRIMMED = 4
FEW_POSITIONS = 0.05  # fraction of the tokens with a letter


def count_positions(sentences: DistinctSentences, tokenizer: Tokenizer, longest: int, positions: str) -> int:
    """The number of candidate positions in all distinct sentences, of which the PLM reads the first ``longest`` tokens."""
    return sentences.count(longest, lambda ids: candidate_positions(tokenizer, ids, positions))


def few_positions(positions: int, lettered: int, source_language: str) -> str | None:
    """A warning if hardly any of the ``lettered`` tokens, those with a letter, are candidate positions."""
    if positions >= FEW_POSITIONS * lettered:
        return None
    return (
        f"only {100 * positions / lettered:.1f}% of the tokens with a letter are whole words (source language "
        f"{source_language}), so hardly anything can be substituted: use --positions tokens"
    )


def search_all(
    search: CandidateSearch,
    sentences: DistinctSentences,
    positions: str,
    max_tokens: int,
    resumable: Resumable,
    rank: int,
    world_size: int,
) -> None:
    """Search this process's fraction of the batches that no saved part has, and save the results as further parts.

    A part holds the numbers of its ``batches``; ``places`` int64 (n,), the candidate positions among the tokens of all distinct
    sentences; and ``found``, language to ``(ids, log_probs)`` there.
    """
    longest = search.plm.description.architecture.positions - 1
    batches = list(sentences.batches(longest, max_tokens))
    saved = {name.removeprefix("part") for name in resumable.names("part.*")}
    numbers_of = [name for name in resumable.names("batches.*") if name.removeprefix("batches") in saved]
    done = {number for name in numbers_of for number in resumable.load(name).tolist()}
    if world_size > 1:
        torch.distributed.barrier()  # all processes have seen the same parts
    numbers = [number for number in range(len(batches)) if number not in done][rank::world_size]
    tokens = {number: int(sentences.lengths[batches[number]].sum()) for number in numbers}
    total, unsaved, running = sum(tokens.values()), [], None
    with progress_bar(total=total, unit=" tokens", desc="distilling", unit_scale=True, disable=rank > 0) as progress:

        def finish(number, places, candidates):
            candidates = {language: (ids.to(torch.int32).cpu(), values.cpu()) for language, (ids, values) in candidates.items()}
            if any(values.isnan().any() for _, values in candidates.values()):
                raise InputError("the PLM gives logits that are not finite: use --dtype fp32 or bf16")
            unsaved.append((number, places, candidates))
            progress.update(tokens[number])
            if resumable.due():
                _save(unsaved, resumable)

        for count, number in enumerate(numbers):
            inputs, masks, places = sentences.read(
                batches[number], longest, lambda ids: candidate_positions(search.plm.tokenizer, ids, positions)
            )
            if search.device.type == "cpu" and count % TRIMMED == 0:
                return_freed_memory()
            candidates = search(inputs, masks)
            if running:
                finish(*running)
            running = number, torch.from_numpy(places), candidates  # a GPU works on it while the one before is fetched
        if running:
            finish(*running)
        if unsaved:
            _save(unsaved, resumable)
    if world_size > 1:
        torch.distributed.barrier()


def _save(unsaved, resumable):
    """Save the results of batches under the number of the first, and empty the list."""
    numbers, places, candidates = zip(*unsaved)
    results = [by_language for by_language in candidates if by_language]  # empty: a batch without candidate positions
    languages = results[0] if results else ()
    joined = {language: tuple(map(torch.cat, zip(*(result[language] for result in results)))) for language in languages}
    part = {"batches": torch.tensor(numbers), "places": torch.cat(places), "found": joined}
    resumable.save(f"part.{numbers[0]:012}.pt", part)
    resumable.save(f"batches.{numbers[0]:012}.pt", part["batches"])  # all that a resumed run needs to read
    unsaved.clear()


def count_answered(tokens: int, resumable: Resumable) -> int:
    """The number of candidate positions, among the ``tokens`` of all distinct sentences, whose candidates the parts hold."""
    answered = np.memmap(resumable.path / "answered", bool, "w+", shape=(tokens,))
    for name in resumable.names("part.*"):
        answered[resumable.load(name)["places"].numpy()] = True
    return int(np.count_nonzero(answered))


def candidates_of(language: str, tokens: np.ndarray, resumable: Resumable, block: int) -> tuple[np.ndarray, np.ndarray]:
    """``(ids, log_probs)`` of all ``tokens`` of the distinct sentences, from the parts: arrays in files."""
    ids = np.memmap(resumable.path / "ids", tokens.dtype, "w+", shape=tokens.shape)
    log_probs = np.memmap(resumable.path / "log_probs", np.float32, "w+", shape=tokens.shape)
    for start in range(0, len(tokens), block):
        ids[start : start + block], log_probs[start : start + block] = tokens[start : start + block], -np.inf
    for name in resumable.names("part.*"):
        part = resumable.load(name)
        if language in part["found"]:
            part_ids, values = part["found"][language]
            has_candidate = values > -np.inf  # false where the language has no word but the token itself
            places = part["places"][has_candidate].numpy()
            ids[places], log_probs[places] = part_ids[has_candidate].numpy(), values[has_candidate].numpy()
    return ids, log_probs
