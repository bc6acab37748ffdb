"""The page on which candidates are looked at, and thresholds tried out."""

import json
import math
import re
from collections.abc import Sequence

import numpy as np

from salt_fairseq.candidates import Candidates, open_candidates
from salt_fairseq.cli.printable import printable
from salt_fairseq.data.code_switching import Threshold
from salt_fairseq.data.directory import DataDirectory, TokenLabels
from salt_fairseq.pages.rendering import fill, packed, render, template
from salt_fairseq.tokenizer import MARKERS, Tokenizer

TITLE = "Code-switched sentences"
RIGHT_TO_LEFT = {"ar", "arc", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"}
LEAST = -20  # decimal exponent: no slider goes further down


def shown_pieces(tokenizer: Tokenizer) -> list[str]:
    """The text of each of the V pieces, after a space where it begins a word; specials have none."""
    begins = [
        " " if starts or piece == MARKERS["sentencepiece"] else ""
        for starts, piece in zip(tokenizer.starts_word, tokenizer.pieces)
    ]
    return [space + printable(word) for space, word in zip(begins, tokenizer.words)]


def slider(log_probs: np.ndarray, threshold: Threshold) -> dict:
    """The thresholds that a slider takes, by kind: lists of ``[text, lowest log-probability, substituted tokens]``.

    ``log_probs`` are those of a language's candidates in the subset, float32 (n,), in ascending order. A text is a value of
    ``--thresholds``, the log-probability that of :func:`~salt_fairseq.data.code_switching.log_threshold` as float32, with
    which the training compares (None: infinite). ``threshold`` is one of the positions, ``start`` says which.
    """
    lowest = max(LEAST, math.floor(log_probs[0] / math.log(10))) if len(log_probs) else -1
    values = {
        "probability": {
            0.0,
            1.0,
            *(float(f"{digit}e{exponent}") for exponent in range(lowest, 0) for digit in (1, 1.5, 2, 3, 5, 7)),
        },
        "fraction": {percent / 100 for percent in range(101)},
    }
    kind, value = threshold
    values[kind].add(value)

    def position(kind: str, value: float) -> list:
        if kind == "probability":
            text = re.sub("e-0", "e-", repr(value).removesuffix(".0"))
            lowest = np.float32(math.log(value) if value else np.finfo(np.float32).min)
            return [text, float(lowest), len(log_probs) - int(np.searchsorted(log_probs, lowest))]
        rank = len(log_probs) - round(value * len(log_probs))
        if rank == len(log_probs):
            return [f"{100 * value:.10g}%", None, 0]
        tied = int(np.searchsorted(log_probs, log_probs[rank]))
        return [f"{100 * value:.10g}%", float(log_probs[rank]), len(log_probs) - tied]

    positions = {kind: [position(kind, value) for value in sorted(chosen)] for kind, chosen in values.items()}
    return {"positions": positions, "start": [kind, sorted(values[kind]).index(value)], "total": len(log_probs)}


def candidates_page(
    data: DataDirectory, subset: str, tokenizer: Tokenizer, thresholds: dict[str, Threshold], examples: Sequence[int]
) -> str:
    """HTML that shows these examples of a training subset with their candidates in the languages of ``thresholds``, where its
    sliders begin. What is said of the subset is of all of it, whichever examples are shown."""
    opened = {language: [open_candidates(data.path, subset, language, side) for side in data.sides] for language in thresholds}
    sentences = [(side, i) for i in examples for side in range(len(data.sides))]
    (inputs, _, targets), ids, pieces = data.load(subset), data.ids(subset), shown_pieces(tokenizer)
    tokens = [inputs[side][i].numpy() for side, i in sentences]
    visible = np.array([bool(piece) for piece in pieces])
    lengths = np.array([visible[sentence].sum() for sentence in tokens], dtype="<u4")
    flat = np.concatenate(tokens)
    kept = visible[flat]
    candidate_ids, log_probs = zip(*(_of_sentences(sides, sentences, kept) for sides in opened.values()))
    flat = flat[kept]
    used = np.unique(np.concatenate([flat, *(chosen[chosen >= 0] for chosen in candidate_ids)]))
    numbers = np.zeros(len(pieces) + 1, dtype="<u4")  # the last is that of no candidate
    numbers[used] = 1 + np.arange(len(used))
    arrays = [lengths, numbers[flat], *(numbers[chosen] for chosen in candidate_ids), *log_probs]
    description = {
        "source": data.language(subset),
        "sides": len(data.sides),
        "ids": [printable(ids[i]) for i in examples],
        # An example whose tokens are labelled has no label of its own.
        "labels": [""] if data.has_token_labels else [printable(label) for label in data.labels],
        "targets": [0] * len(examples) if isinstance(targets, TokenLabels) else targets[list(examples)].tolist(),
        "subset": len(targets),
        "words": ["", *(pieces[i] for i in used.tolist())],
        "rightToLeft": sorted(RIGHT_TO_LEFT),
        "languages": [
            {"code": language, **slider(_all_log_probs(opened[language]), threshold)}
            for language, threshold in thresholds.items()
        ],
    }
    body = fill(
        template("candidates.html"),
        title=TITLE,
        data=printable(data.path.resolve().name),
        shown=f"{len(examples):,}",
        examples=f"{len(targets):,}",
        plm=printable(data.meta["plm"]["name"]),
        description=packed(json.dumps(description, allow_nan=False).encode()),
        arrays=packed(b"".join(array.tobytes() for array in arrays)),
    )
    return render(f"{TITLE}: {printable(data.path.resolve().name)}", body, ["candidates.css"], ["candidates.js"])


def _all_log_probs(sides: list[Candidates]) -> np.ndarray:
    """float32 (n,): those of all candidates of the subset, in ascending order."""
    return np.sort(np.concatenate([part[np.isfinite(part)] for candidates in sides for part in candidates.log_probs()]))


def _of_sentences(sides: list[Candidates], sentences: list[tuple[int, int]], kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(ids, log_probs)``: the candidates at the ``kept`` tokens of these sentences, int64 (T,), -1 for none; and the
    log-probabilities of the others, float32 (n,)."""
    read = [sides[side][i] for side, i in sentences]
    ids, log_probs = (np.concatenate([part[k].numpy() for part in read])[kept] for k in range(2))
    chosen = np.isfinite(log_probs)
    return np.where(chosen, ids, -1), log_probs[chosen].astype("<f4")
