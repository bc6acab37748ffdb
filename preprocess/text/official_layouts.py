"""The files of XNLI, PAWS-X and XTREME as they are published."""

from pathlib import Path

from salt_fairseq.errors import InputError

XNLI_FILES = {"train": "multinli.train.en.tsv", "valid": "xnli.dev.tsv", "test": "xnli.test.tsv"}
XNLI_LANGUAGES = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()


def official_files(layout: str, directory: Path) -> dict[str, Path]:
    """Subset name to file for a downloaded data set: ``xnli`` (XNLI-1.0 and XNLI-MT-1.0), ``pawsx`` (x-final), or
    ``xtreme`` (train-en.tsv, dev-LANG.tsv, test-LANG.tsv)."""
    files = _xnli(directory) if layout == "xnli" else _by_language(layout, directory)
    if not files:
        raise InputError(f"{directory} holds no files in the layout of {layout}; see --help for their names")
    return files


def _xnli(directory):
    """Its files hold all languages each; the training file, and a split without a language, are English."""
    paths, files = {path.name: path for path in sorted(directory.rglob("*.tsv"))}, {}
    for split, name in XNLI_FILES.items():
        if name in paths:
            if split != "test":
                files[split] = paths[name]
            if split != "train":
                files.update({f"{split}.{language}": paths[name] for language in XNLI_LANGUAGES})
    return files


def _by_language(layout, directory):
    """PAWS-X and XTREME have a file for each split and language."""
    if layout == "pawsx":
        paths = sorted(directory.rglob("*_2k.tsv")) + sorted(directory.rglob("en/train.tsv"))
        named = [(path.stem.removesuffix("_2k"), path.parent.name, path) for path in paths]
    else:
        named = [(*path.stem.split("-", 1), path) for path in sorted(directory.glob("*-*.tsv"))]
    files = {}
    for split, language, path in named:
        split = "valid" if split == "dev" else split
        files["train" if split == "train" else f"{split}.{language}"] = path
        if (split, language) == ("valid", "en"):
            files["valid"] = path
    return files
