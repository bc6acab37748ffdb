"""Labelled sentence pairs from TSV and JSONL files: XNLI's, PAWS-X's, XTREME's, your own."""

import json
import re
from dataclasses import dataclass

from salt_fairseq.errors import InputError
from salt_fairseq.text_lines import text_lines

COLUMNS = {  # what files call the four columns, lower case
    "id": ("id", "pairid", "idx"),
    "sentence1": ("sentence1", "premise", "question1", "sentence", "text"),
    "sentence2": ("sentence2", "hypothesis", "hypo", "question2"),
    "label": ("label", "gold_label", "is_duplicate"),
}
ALIASES = {"contradictory": "contradiction"}  # XNLI-MT's training file
UNWRITABLE = re.compile("[\n\r\ud800-\udfff]")  # in a list of ids or labels, one a line
UNTRANSLATED, UNDECIDED = "NS", "-"  # PAWS-X's sentence without a translation; NLI's label without a majority


@dataclass(slots=True)  # there are millions of them
class Example:
    id: str
    sentence1: str
    sentence2: str | None
    label: str
    line: int


def _positions(cells):
    """Column name to position if ``cells`` are a header, else None."""
    lowered = [cell.strip().lower() for cell in cells]
    found = {name: lowered.index(alias) for name, aliases in COLUMNS.items() for alias in aliases[::-1]
             if alias in lowered}
    if "language" in lowered:
        found["language"] = lowered.index("language")
    return found if {"sentence1", "label"} <= found.keys() else None


def _lines(path):
    """(line number, text) without line ends."""
    try:
        with open(path, "rb") as file:
            yield from text_lines(file, path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; give a TSV or JSONL file") from None


def _tsv_rows(path):
    """(line number, values by column name). Tabs separate, nothing quotes: XNLI has bare quotation marks."""
    positions, width = None, None
    for number, line in _lines(path):
        cells = line.split("\t")
        if width is None:
            width, positions = len(cells), _positions(cells)
            if positions is not None:
                continue
            if width not in (2, 3):
                raise InputError(f"{path}, line 1: {width} columns and no header; without a header the columns are "
                                 "sentence1, sentence2, label (or sentence, label), separated by tabs")
            positions = dict(zip(("sentence1", "sentence2", "label") if width == 3 else ("sentence1", "label"), range(3)))
        if len(cells) != width:
            raise InputError(f"{path}, line {number}: {len(cells)} columns where line 1 has {width}")
        yield number, {name: cells[at].strip() for name, at in positions.items()}


def _jsonl_rows(path):
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise InputError(f"{path}, line {number}: not a JSON object") from None
        positions, cells = _positions(list(value)), list(value.values())
        if positions is None:
            raise InputError(f"{path}, line {number}: the object needs the keys sentence1, sentence2 and label")
        for name, at in positions.items():
            if not isinstance(cells[at], str | int | float):
                raise InputError(f"{path}, line {number}: {name} is {json.dumps(cells[at])}, not text")
        yield number, {name: str(cells[at]).strip() for name, at in positions.items()}


def read(path, language):
    """The examples of a file and the number of rows skipped by reason: ``(list of Example, {"NS": n, "-": n})``.

    Where the file has a column ``language`` (XNLI's own), only rows of ``language`` are taken. An example without an id
    column has its row number as id, counted before anything is skipped.
    """
    rows = _jsonl_rows(path) if str(path).endswith((".jsonl", ".json")) else _tsv_rows(path)
    examples, skipped, seen = [], {UNTRANSLATED: 0, UNDECIDED: 0}, {}
    row_number = 0
    for number, row in rows:
        if row.get("language", language) != language:
            continue
        row_number += 1
        sentences = [row["sentence1"], row.get("sentence2")]
        if UNTRANSLATED in sentences:
            skipped[UNTRANSLATED] += 1
            continue
        if row["label"] == UNDECIDED:
            skipped[UNDECIDED] += 1
            continue
        if "" in sentences:
            raise InputError(f"{path}, line {number}: sentence{sentences.index('') + 1} is empty")
        if not row["label"]:
            raise InputError(f"{path}, line {number}: the label is empty")
        id = row.get("id", str(row_number))
        for name, value in (("id", id), ("label", row["label"])):
            if UNWRITABLE.search(value):
                raise InputError(f"{path}, line {number}: the {name} {value!r} holds a line break or half a character: "
                                 "remove it")
        if id in seen:
            raise InputError(f"{path}, line {number}: id {id} stands on line {seen[id]} already")
        seen[id] = number
        examples.append(Example(id, *sentences, ALIASES.get(row["label"], row["label"]), number))
    if not examples:
        raise InputError(f"{path} holds no examples" + (f" in language {language!r}" if row_number == 0 else ""))
    if len({example.sentence2 is None for example in examples}) > 1:
        raise InputError(f"{path}: some examples have one sentence, others two")
    return examples, skipped


def official_files(layout, directory):
    """Subset name to file, for a downloaded data set: ``xnli`` (XNLI-1.0 and XNLI-MT-1.0), ``pawsx`` (x-final),
    ``xtreme`` (train-en.tsv, dev-LANG.tsv, test-LANG.tsv)."""
    files = {}
    if layout == "xnli":
        found = {p.name: p for p in sorted(directory.rglob("*.tsv"))}
        names = {"train": "multinli.train.en.tsv", "valid": "xnli.dev.tsv", "test": "xnli.test.tsv"}
        languages = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()
        for split, name in names.items():
            if name in found:
                codes = [None] if split == "train" else [None, *languages] if split == "valid" else languages
                files.update({split if c is None else f"{split}.{c}": found[name] for c in codes})
    elif layout == "pawsx":
        for path in sorted(directory.rglob("*_2k.tsv")) + sorted(directory.rglob("en/train.tsv")):
            language, split = path.parent.name, {"dev_2k": "valid", "test_2k": "test", "train": "train"}[path.stem]
            files["train" if split == "train" else f"{split}.{language}"] = path
            if (language, split) == ("en", "valid"):
                files["valid"] = path
    else:
        for path in sorted(directory.glob("*-*.tsv")):
            split, _, language = path.stem.partition("-")
            split = {"dev": "valid"}.get(split, split)
            files["train" if split == "train" else f"{split}.{language}"] = path
            if (language, split) == ("en", "valid"):
                files["valid"] = path
    if not files:
        raise InputError(f"{directory} holds no files in the layout of {layout}; see --help for their names")
    return files
