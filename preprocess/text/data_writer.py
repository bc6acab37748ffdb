"""Files of examples as a data directory."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from preprocess.text import blocks
from preprocess.text.encoded_blocks import BadText, encode_block
from preprocess.text.existing_data import ExistingData, existing_data
from preprocess.text.labels import label_order, parse_labels, tag_order
from preprocess.text.parallel import in_order
from preprocess.text.readers import AS_PUBLISHED, Reading, TextFile
from preprocess.text.subset_writer import SubsetWriter
from preprocess.text.tagged_sentences import encode_tagged, open_tagged
from salt_fairseq.cli.progress import progress_bar
from salt_fairseq.data.directory import SENTENCES, TOKENS
from salt_fairseq.data.subset import Subset, source_languages
from salt_fairseq.plm import Description
from salt_fairseq.storage.files import replacing
from salt_fairseq.storage.indexed_data import best_fitting_int_dtype
from salt_fairseq.storage.manifest import write_manifest
from salt_fairseq.storage.resumable import Remembered, resuming
from salt_fairseq.tokenizer import Tokenizer


def binarize(
    plm_dir: Path,
    data: Path,
    files: dict[str, Path],
    labels: str | None = None,
    source_language: str = "en",
    workers: int = 1,
    reading: Reading = AS_PUBLISHED,
    replace: bool = False,
) -> dict:
    """Write the data directory ``data`` from ``files``, subset name to path, and return its ``meta.json`` value.

    Subsets are added to a data directory that exists; those that it has must be allowed to be ``replace``-d.

    ``labels``: their names in order, separated by commas (None: the data set's own order).
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes work in parallel, and threads do not survive a fork
    description = Description.load(plm_dir)
    tokenizer = Tokenizer.load(plm_dir, description.tokenizer)
    names = None if labels is None else parse_labels(labels)
    existing = existing_data(data, files, replace)
    if existing:
        existing.check(description, source_language, names, reading.tags is not None)
        if existing.kept:
            names = existing.meta["labels"]
    if names:
        reading = dataclasses.replace(reading, labels=frozenset(names))
    open_file = TextFile.open if reading.tags is None else open_tagged
    texts = {path: open_file(path, reading) for path in dict.fromkeys(files.values())}
    languages = {name: Subset.parse(name).pair(source_language)[0] for name in files}
    tasks = [(texts[path], block, languages[name]) for name, path in files.items() for block in texts[path].blocks]
    size = sum(block.size for _, block, _ in tasks)
    settings = {
        "PLM": description.sha256["tokenizer.json"],
        "labels": names,
        "reading": [reading.columns, reading.quoting, reading.delimiter, list(reading.label_names), sorted(reading.missing)],
        "tags": reading.tags,
        "source language": source_language,
        "files": [[name, texts[path].sha256, texts[path].format.name] for name, path in files.items()],
        "size of blocks": blocks.BLOCK,
    }
    workers = min(workers, max(1, size // blocks.BLOCK))

    def work(task):
        file, block, language = task
        if reading.tags is None:
            facts, arrays = encode_block(file, block, language, tokenizer)
        else:
            facts, arrays = encode_tagged(file, block, tokenizer)
        return facts, [torch.from_numpy(array) for array in arrays]  # as it can be saved

    # The processes start before the lock is taken: they inherit open files, and would hold the lock after a SIGKILL.
    with (
        in_order(work, tasks, workers) as results,
        existing.locked() if existing else contextlib.nullcontext(),
        replacing(data, marker="meta.json", inputs=[plm_dir, *texts]) as directory,
        resuming(data, settings, "binarization") as resumable,
    ):
        dtype = best_fitting_int_dtype(description.architecture.vocabulary)
        subsets = {name: SubsetWriter(directory, name, texts[path], languages[name], dtype) for name, path in files.items()}
        remembered = Remembered(resumable)
        try:
            with progress_bar(total=size, desc="binarizing", unit="B", unit_scale=True) as progress:
                _write_chunks(subsets, remembered.chunks(results), names, progress, existing)
            decisive = _decisive(subsets, existing, source_language)
            if decisive and labels is None:
                decisive.check_plausible()
            order = tag_order if decisive and decisive.is_tagged else label_order
            names = names or order(list(decisive.counts), decisive.file.label_names)
            entries = {name: subset.write_labels(names) for name, subset in subsets.items()}
            for subset in subsets.values():
                if subset is not decisive and labels is None:
                    subset.check_others()
        except BadText:
            remembered.forget()
            raise
        for side in entries[next(iter(entries))]["sha256"]:
            shutil.copy(Path(plm_dir) / "dict.txt", directory / side / "dict.txt")
        if decisive:
            lines = "".join(f"{label} {decisive.counts[label]}\n" for label in names)
            (directory / "label" / "dict.txt").write_text(lines, encoding="utf-8")
        meta = {
            "source_language": source_language,
            "labels": names,
            "labelled": SENTENCES if reading.tags is None else TOKENS,
            "plm": {
                "name": description.name,
                "special_tokens": description.special_tokens,
                "vocabulary_sha256": description.vocabulary_sha256,
                "tokenizer_sha256": description.sha256["tokenizer.json"],
            },
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "subsets": {name: existing.meta["subsets"][name] for name in existing.kept} | entries if existing else entries,
        }
        meta = write_manifest(directory, meta, existing.checksums(directory) if existing else {})
        if existing:
            existing.link_into(directory, meta)
    return meta


def _decisive(subsets, existing, source_language):
    """The subset that decides which labels there are: train (in the first source language), or the first one, or None where
    others that are kept do."""
    for name in ("train", *(f"train.{language}" for language in source_languages(source_language))):
        if name in subsets:
            return subsets[name]
    return None if existing and existing.kept else next(iter(subsets.values()))


def _write_chunks(
    subsets: dict[str, SubsetWriter], chunks: Iterator, labels: list[str] | None, progress: tqdm, existing: ExistingData | None
) -> None:
    """Write the chunks of all subsets, one subset after another, checking their labels against ``labels`` if given."""
    first = next(iter(subsets.values()))
    for subset in subsets.values():
        with subset:
            for block in subset.file.blocks:
                facts, tensors = next(chunks)
                subset.add(facts, [tensor.numpy() for tensor in tensors])
                if labels:
                    subset.check_labels(labels)
                progress.update(block.size)
        if subset.is_pairs != (existing.is_pairs if existing and existing.kept else first.is_pairs):
            raise BadText(f"{subset.file.path}: some subsets are sentence pairs, others single sentences")
