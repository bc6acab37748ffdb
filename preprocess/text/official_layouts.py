"""The files of XNLI, PAWS-X, XTREME with PAN-X and UDPOS, SIB-200 and xSID as they are published."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

import langcodes

from salt_fairseq.data.subset import LANGUAGE, Subset, source_languages, source_subsets
from salt_fairseq.errors import InputError

LAYOUTS = {  # what is read, with the source language or any other for SOURCE and LANG
    "xnli": "multinli.train.SOURCE.tsv, xnli.dev.tsv and xnli.test.tsv, in DIR or below it",
    "pawsx": "SOURCE/train.tsv, LANG/dev_2k.tsv and LANG/test_2k.tsv, in DIR or below it",
    "xtreme": "train-SOURCE.tsv, dev-LANG.tsv and test-LANG.tsv, in DIR, without a header",
    "sib200": "SOURCE/train.tsv, LANG/dev.tsv and LANG/test.tsv, in DIR or below it; eng_Latn is the language en, and zho_Hant "
    "zh-Hant",
    "xsid": "train.SOURCE.tsv (or .tsv.xz), LANG.valid.tsv and LANG.test.tsv, in DIR; the dialect of de-st is de_st, and the "
    "intent GetWeather, which weather/find names as well, is skipped",
    "panx": "train-SOURCE.tsv, dev-LANG.tsv and test-LANG.tsv, in DIR, or SOURCE/train, LANG/dev and LANG/test",
    "udpos": "train-SOURCE.tsv, dev-LANG.tsv and test-LANG.tsv, in DIR",
}
NAMES = {
    "xnli": "XNLI",
    "pawsx": "PAWS-X",
    "xtreme": "XTREME's data set",
    "sib200": "SIB-200",
    "xsid": "xSID's intents",
    "panx": "PAN-X, which has a named entity's tag for each word,",
    "udpos": "XTREME's UDPOS, which has a part of speech for each word,",
}
TAGGED = ("panx", "udpos")  # with a tag for each word
BELOW = ("xnli", "pawsx", "sib200")  # whose files may lie in folders
CODE = rf"(?=[a-z]{{2,3}}(?:-|$|/)){LANGUAGE}"  # no other word is a language in the name of a file
TRAIN = rf"multinli\.train\.\w+|train([-.]{CODE})?"
XNLI_FILES = {"xnli.dev.tsv": "valid", "xnli.test.tsv": "test"}
XNLI_LANGUAGES = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()
FILES = {  # split and language in the names of files that hold one of each, without their ending; of others as of XTREME's
    "pawsx": rf"(?P<language>{CODE})/(?P<split>train|dev_2k|test_2k)",
    "xtreme": rf"(?P<split>train|dev|test)-(?P<language>{CODE})",
    "sib200": r"(?P<language>[a-z]{3}_[A-Z][a-z]{3})/(?P<split>train|dev|test)",
    "xsid": r"(?P<language>[a-z]{2,3}(-[a-z]{2,3})?)\.(?P<split>train|valid|test)",
}
# The members of macrolanguages that FLORES-200 and others mean by their names: Arabic, but not Moroccan Arabic (ary).
STANDARD = set("als arb ayr azj gaz khk lvs npi ory pes plt swh uzn ydd zsm".split())
# Beyond the layout: whether cells are quoted as in CSV, and labels of rows that are no examples.
QUOTING = {"sib200": "csv"}
MISSING_LABELS = {"xsid": ["GetWeather"]}


def official_files(
    layout: str, directory: Path, source_language: str = "en", others: Collection[str] = (), languages: Collection[str] = ()
) -> tuple[dict[str, Path], list[Path]]:
    """Subset name to file for a downloaded data set, and the TSV files that are left out.

    The layout is one of :data:`LAYOUTS`: ``xnli`` is XNLI-1.0 and XNLI-MT-1.0, ``pawsx`` is x-final, ``panx`` has a folder for
    each language, or files as XTREME's scripts write them. Names must match exactly; train and valid are in the source language
    (or several, ``en,de``), and must be there unless they are among the ``others``, subsets that are given otherwise, or the
    directory has them in no language. Of other languages only ``languages`` are read, if there are any.
    """
    endings = "*.tsv*" if layout == "xsid" else "*.tsv"
    paths = sorted(directory.rglob(endings) if layout in BELOW else directory.glob(endings))
    if layout == "panx" and not paths:
        paths = sorted(path for split in ("train", "dev", "test") for path in directory.glob(f"*/{split}"))
    sources, files = source_languages(source_language), dict[str, Path]()
    for path in paths:
        for name in _xnli(path, sources) if layout == "xnli" else _by_language(layout, path, sources):
            if languages and not {*sources, *languages}.issuperset(Subset.parse(name).languages):
                continue
            if name in files:
                raise InputError(f"--{layout} {directory} has {files[name]} and {path}: leave one of them out")
            files[name] = path
    if not files:
        raise InputError(f"{directory} holds no files in the layout of {layout}: {LAYOUTS[layout]} are read")
    left_out = [path for path in paths if path not in files.values()]
    has_valid = any(Subset.parse(name).split == "valid" for name in files)
    has_train = has_valid or any(re.fullmatch(TRAIN, _stem(path)) for path in left_out)
    for split, is_needed in (("train", has_train), ("valid", has_valid)):
        for name, source in zip(source_subsets(split, sources), sources) if is_needed else ():
            if name not in files and name not in others:
                raise InputError(
                    f"--{layout} {directory} has no {split} file in the source language {source!r} ({LAYOUTS[layout]} are "
                    f"read): add it, name another --source-language, or give --subset {name}=FILE"
                )
    return files, left_out


def _stem(path):
    return path.name.removesuffix(".xz").removesuffix(".tsv")


def _names(split, language, sources):
    """Names of the subsets in a file: train in source languages only, and valid of the only one also without its language."""
    alone = [split] if sources == (language,) and split != "test" else []
    if split == "train":
        return alone or ([f"train.{language}"] if language in sources else [])
    return [*alone, f"{split}.{language}"]


def _xnli(path, sources):
    """The files of dev and test hold all languages, the training files are in one."""
    if match := re.fullmatch(r"multinli\.train\.(.+)\.tsv", path.name):
        return _names("train", match[1], sources)
    split = XNLI_FILES.get(path.name)
    names = [name for language in XNLI_LANGUAGES for name in _names(split, language, sources)] if split else []
    return sorted(names, key=lambda name: name != split)


def _by_language(layout, path, sources):
    """Each file is of one split and language."""
    name = _stem(path)
    if layout in ("pawsx", "sib200"):
        name = f"{path.parent.name}/{name}"
    if layout == "panx" and not path.suffix:
        name = f"{name}-{path.parent.name}"
    if layout == "xsid":
        name = re.sub(r"^(train)\.(.+)", r"\2.\1", name)
    if not (match := re.fullmatch(FILES.get(layout, FILES["xtreme"]), name)):
        return []
    language = match["language"]
    if layout == "sib200":
        language = _tag(language)
    if layout == "xsid":  # de-st would be a pair of languages
        language = language.replace("-", "_")
    return _names(match["split"].removesuffix("_2k").replace("dev", "valid"), language, sources)


def _tag(code: str) -> str:
    """``eng_Latn`` to ``en``; ``zho_Hans`` to ``zh``, whose usual script it is, and ``zho_Hant`` to ``zh-Hant``."""
    language, script = code.split("_")
    standard = langcodes.standardize_tag(language, macro=language in STANDARD)
    language = language if "-" in standard else standard  # prs, to langcodes the Persian of a region
    usual = langcodes.Language.get(language).maximize().script or ""
    return language if script == usual.replace("Kore", "Hang") else f"{language}-{script}"
