"""The files of XNLI, PAWS-X and XTREME as they are published."""

import re
from pathlib import Path

from salt_fairseq.data.subset import LANGUAGE
from salt_fairseq.errors import InputError

XNLI_FILES = {"valid": "xnli.dev.tsv", "test": "xnli.test.tsv"}
XNLI_LANGUAGES = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()


def official_files(layout: str, directory: Path, source_language: str = "en") -> tuple[dict[str, Path], list[Path]]:
    """Subset name to file for a downloaded data set, and the TSV files that are left out.

    The layout is ``xnli`` (XNLI-1.0 and XNLI-MT-1.0), ``pawsx`` (x-final), or ``xtreme`` (train-LANG.tsv, dev-LANG.tsv,
    test-LANG.tsv). Names must match exactly; train and valid are in the source language.
    """
    paths = sorted(directory.rglob("*.tsv") if layout != "xtreme" else directory.glob("*.tsv"))
    files = _xnli(paths, source_language) if layout == "xnli" else _by_language(layout, paths, source_language)
    if not files:
        raise InputError(f"{directory} holds no files in the layout of {layout}; see --help for their names")
    return files, [path for path in paths if path not in files.values()]


def _xnli(paths, source_language):
    """The files of dev and test hold all languages each; the training file is that of the source language."""
    named, files = {path.name: path for path in paths}, {}
    if train := named.get(f"multinli.train.{source_language}.tsv"):
        files["train"] = train
    for split, name in XNLI_FILES.items():
        if name in named:
            if split == "valid" and source_language in XNLI_LANGUAGES:
                files[split] = named[name]
            files.update({f"{split}.{language}": named[name] for language in XNLI_LANGUAGES})
    return files


def _by_language(layout, paths, source_language):
    """PAWS-X and XTREME have a file for each split and language."""
    pattern = rf"({LANGUAGE})/(train|dev_2k|test_2k)" if layout == "pawsx" else rf"(train|dev|test)-({LANGUAGE})"
    files = {}
    for path in paths:
        name = f"{path.parent.name}/{path.stem}" if layout == "pawsx" else path.stem
        if not (match := re.fullmatch(pattern, name)):
            continue
        language, split = match.groups() if layout == "pawsx" else match.groups()[::-1]
        split = {"dev": "valid"}.get(split.removesuffix("_2k"), split.removesuffix("_2k"))
        if split != "train":
            files[f"{split}.{language}"] = path
        if split != "test" and language == source_language:
            files[split] = path
    return files
