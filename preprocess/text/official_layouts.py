"""The files of XNLI, PAWS-X and XTREME as they are published."""

import re
from collections.abc import Collection
from pathlib import Path

from salt_fairseq.data.subset import LANGUAGE, Subset
from salt_fairseq.errors import InputError

LAYOUTS = {  # what is read, with the source language or any other for SOURCE and LANG
    "xnli": "multinli.train.SOURCE.tsv, xnli.dev.tsv and xnli.test.tsv, in DIR or below it",
    "pawsx": "SOURCE/train.tsv, LANG/dev_2k.tsv and LANG/test_2k.tsv, in DIR or below it",
    "xtreme": "train-SOURCE.tsv, dev-LANG.tsv and test-LANG.tsv, in DIR, without a header",
}
CODE = rf"(?=[a-z]{{2,3}}(?:-|$|/)){LANGUAGE}"  # no other word is a language in the name of a file
TRAIN = rf"multinli\.train\.\w+|train(-{CODE})?"
XNLI_FILES = {"xnli.dev.tsv": "valid", "xnli.test.tsv": "test"}
XNLI_LANGUAGES = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()


def official_files(
    layout: str, directory: Path, source_language: str = "en", others: Collection[str] = ()
) -> tuple[dict[str, Path], list[Path]]:
    """Subset name to file for a downloaded data set, and the TSV files that are left out.

    The layout is one of :data:`LAYOUTS`: ``xnli`` is XNLI-1.0 and XNLI-MT-1.0, ``pawsx`` is x-final. Names must match exactly;
    train and valid are in the source language, and must be there unless they are among the ``others``, subsets that are given
    otherwise, or the directory has them in no language.
    """
    paths = sorted(directory.rglob("*.tsv") if layout != "xtreme" else directory.glob("*.tsv"))
    files: dict[str, Path] = {}
    for path in paths:
        for name in _xnli(path, source_language) if layout == "xnli" else _by_language(layout, path, source_language):
            if name in files:
                raise InputError(f"--{layout} {directory} has {files[name]} and {path}: leave one of them out")
            files[name] = path
    if not files:
        raise InputError(f"{directory} holds no files in the layout of {layout}: {LAYOUTS[layout]} are read")
    left_out = [path for path in paths if path not in files.values()]
    has_valid = any(Subset.parse(name).split == "valid" for name in files)
    has_train = has_valid or any(re.fullmatch(TRAIN, path.stem) for path in left_out)
    for split, is_needed in (("train", has_train), ("valid", has_valid)):
        if is_needed and split not in files and split not in others:
            raise InputError(
                f"--{layout} {directory} has no {split} file in the source language {source_language!r} ({LAYOUTS[layout]} are "
                f"read): add it, name another --source-language, or give --subset {split}=FILE"
            )
    return files, left_out


def _xnli(path, source_language):
    """Names of the subsets in a file: those of dev and test hold all languages, the training file is in one."""
    if path.name == f"multinli.train.{source_language}.tsv":
        return ["train"]
    split = XNLI_FILES.get(path.name)
    names = [f"{split}.{language}" for language in XNLI_LANGUAGES] if split else []
    return ["valid", *names] if split == "valid" and source_language in XNLI_LANGUAGES else names


def _by_language(layout, path, source_language):
    """PAWS-X and XTREME have a file for each split and language."""
    pattern, name = rf"(?P<split>train|dev|test)-(?P<language>{CODE})", path.stem
    if layout == "pawsx":
        pattern, name = rf"(?P<language>{CODE})/(?P<split>train|dev_2k|test_2k)", f"{path.parent.name}/{path.stem}"
    if not (match := re.fullmatch(pattern, name)):
        return []
    split, is_source = match["split"].removesuffix("_2k").replace("dev", "valid"), match["language"] == source_language
    names = [] if split == "train" else [f"{split}.{match['language']}"]
    return [split, *names] if is_source and split != "test" else names
