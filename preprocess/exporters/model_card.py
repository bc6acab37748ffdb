"""The model card (README.md) of an exported model: its origin, its training and its accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

from salt_fairseq.checkpoints import Checkpoint
from salt_fairseq.data.subset import Subset, source_languages
from salt_fairseq.errors import InputError
from salt_fairseq.evaluation.scores import MEASURES
from salt_fairseq.plm import Description
from salt_fairseq.report.markup import code, escaped, in_cell
from salt_fairseq.storage.files import read_json

PAIR = '{"text": "A premise.", "text_pair": "A hypothesis."}'
AGGREGATION = ', aggregation_strategy="first"'  # the label of a word's first piece


def scores(results: str | Path, digest: str) -> tuple[str, dict[str, float]]:
    """The measure, and subset to score (%), of the checkpoint with this SHA-256, from a file of ``salt_fairseq.evaluate``."""
    content = read_json(results, "python -m salt_fairseq.evaluate")
    try:
        key = content.get("measure", "accuracy")
        measure = MEASURES[key]
        entries = [dict(entry[key]) for entry in content["checkpoints"] if entry["sha256"] == digest]
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{results} is not a file of python -m salt_fairseq.evaluate: name one with --results") from None
    if not entries:
        raise InputError(f"{results} has no results of this checkpoint (SHA-256 {digest[:12]}…): evaluate it first")
    for subset, score in entries[0].items():
        if type(score) not in (int, float) or not 0 <= score <= 100:
            raise InputError(f"{results} has the {measure} {score!r} on {subset}, which is no percentage: evaluate again")
    return measure, entries[0]


def of_classifier(
    checkpoint: Checkpoint,
    labels: list[str],
    sentences: int,
    results: tuple[str, dict[str, float]] | None = None,
    repository: str | None = None,
) -> str:
    """Markdown for a checkpoint that reads so many ``sentences``; ``results`` is what :func:`scores` returns, and
    ``repository`` the name on the hub with which the example loads the model."""
    cfg, description = checkpoint.cfg, checkpoint.model.description
    sources = source_languages(checkpoint.task.get("source_language", "en"))
    measure, by_subset = results or ("", {})
    by_language = _by_language(by_subset, sources)
    augment = [language for language in cfg.task.augment.split(",") if language]
    kind, example = ("sentence pairs", PAIR) if sentences == 2 else ("sentences", '"A sentence."')
    task, call, options = "text-classification", f"model({example}, truncation=True)", ""
    if checkpoint.has_token_labels:  # blanks separate words, as in the training data
        kind, task, call, options = "words", "token-classification", 'model("Words , between blanks .")', AGGREGATION
    name = Path(cfg.task.data).name
    lines = [
        *_front_matter(task, sorted({*sources, *augment, *by_language})),
        f"# {escaped(description.name)}, fine-tuned on {escaped(name)}",
        "",
        f"Classifies {kind} as {', '.join(map(code, labels))}. Fine-tuned on labels in the language{'s'[: len(sources) > 1]} "
        f"{' and '.join(map(code, sources))} alone; it is meant for the other languages of its base model, too.",
        "",
        *_usage(task, call, repository, options),
        "## Training",
        "",
        *_table(("", ""), _training(cfg, description, name, augment, checkpoint.updates, checkpoint.model.pooling)),
        "",
        "Trained with salt_fairseq. SALT: Fei Wang, Kuan-Hao Huang, Kai-Wei Chang, Muhao Chen. *Self-Augmentation Improves "
        "Zero-Shot Cross-Lingual Transfer.* 2023.",
        "",
    ]
    if by_language:
        rows = [(escaped(language), f"{score:.2f}") for language, score in by_language.items()]
        others = [score for language, score in by_language.items() if language not in sources]
        if others:
            rows.append((f"average without {escaped(', '.join(sources))}", f"{fmean(others):.2f}"))
        lines += [f"## {measure[0].upper()}{measure[1:]} (%)", "", *_table(("language", measure), rows), ""]
    return "\n".join(lines)


def of_plm(description: Description, repository: str | None = None) -> str:
    """Markdown for an exported PLM; ``repository`` as in :func:`of_classifier`."""
    arch, head = description.architecture, "with its masked-LM head" if description.lm_head != "untrained" else "encoder"
    task = "fill-mask" if description.lm_head != "untrained" else "feature-extraction"
    trimmed = f", trimmed from {description.trimmed_from:,}" if description.trimmed_from else ""
    return "\n".join(
        [
            *_front_matter(task, []),
            f"# {escaped(description.name)}",
            "",
            f"A multilingual language model ({head}): {arch.layers} layers, {arch.dim} dimensions, {arch.vocabulary:,} pieces"
            f"{trimmed}. Imported from {code(_origin(description))} and exported again by salt_fairseq.",
            "",
            *_usage(task, f"model({json.dumps('Hello ' + description.special_tokens['mask'] + '.')})", repository),
        ]
    )


def _training(cfg, description, data, augment, updates, pooling):
    """Yield ``(option, value)`` of the training for the options that had an effect."""
    yield "base model", code(_origin(description))
    if pooling == "mean":
        yield "classified", "the mean of all tokens, which the last layer makes (its weights were not trained)"
    yield "data", escaped(data)
    if augment:
        yield "languages of augmentation", escaped(", ".join(augment))
        yield "thresholds", code(cfg.task.thresholds)
    lexicon = cfg.task.get("lexicon")
    if lexicon:
        yield "substitutes from the lexicon", escaped(lexicon)
    if augment or lexicon:
        ratio = f" {cfg.model.mixup_ratio}" if cfg.model.mixup == "fixed" else ""
        yield "embedding mixup", escaped(f"{cfg.model.mixup}{ratio}")
        yield "unchanged instances", "left out" if cfg.task.no_original else "included"
    else:
        yield "augmentation", "none"
    if cfg.task.get("perturbation", "none") != "none":
        yield "perturbation of embeddings", escaped(f"{cfg.task.perturbation}, radius {cfg.task.radius} ({cfg.task.norm})")
    if cfg.model.freeze_embeddings:
        yield "token embeddings", "frozen"
    yield "seed", cfg.common.seed
    yield "updates", f"{updates:,}"
    yield "learning rate", ", ".join(f"{rate:g}" for rate in cfg.optimization.lr)
    size = cfg.dataset.batch_size
    if size:
        yield "batch size", size * cfg.optimization.update_freq[0] * cfg.distributed_training.distributed_world_size
    yield "tokens of an example, at most", cfg.task.max_length


def _by_language(results, sources):
    """Language to accuracy on the test sets, source languages first, without the generalized setting."""
    accuracy_of = {}
    for subset, accuracy in results.items():
        split, languages = Subset.parse(subset)
        if split == "test" and len(languages) < 2:
            accuracy_of[languages[0] if languages else sources[0]] = accuracy
    return dict(sorted(accuracy_of.items(), key=lambda item: (item[0] not in sources, item[0])))


def _front_matter(task, languages):
    lines = ["---", "library_name: transformers", f"pipeline_tag: {task}"]
    if languages:
        lines += ["language:", *(f"- {json.dumps(language)}" for language in languages)]  # "no" would be a boolean
    return [*lines, "tags:", "- salt_fairseq", "---", ""]


def _origin(description):
    """What the PLM was imported from, without a path on somebody's disk."""
    return description.name if Path(description.source).is_absolute() else description.source


def _usage(task, call, repository, options=""):
    return [
        "```python",
        "from transformers import pipeline",
        "",
        f'model = pipeline("{task}", "{repository or "PATH OF THIS DIRECTORY"}"{options})',
        f"print({call})",
        "```",
        "",
    ]


def _table(header, rows):
    yield f"| {header[0]} | {header[1]} |"
    yield "|---|---|"
    for name, value in rows:
        yield f"| {name} | {in_cell(str(value))} |"
