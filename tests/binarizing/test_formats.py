"""Files as people have them: what other programs wrote is read as it was, and what does not say what it is, is refused.

References: the writers of csv, json, pyarrow, and where it is installed datasets.
"""

import bz2
import csv
import gzip
import json
import lzma
import random
import string
import sys

import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest
import zstandard

from preprocess.text import blocks
from preprocess.text.readers import Reading, TextFile, every_example
from salt_fairseq.errors import InputError

COLUMNS = ["id", "premise", "hypothesis", "label"]
LABELS = ["entailment", "neutral", "contradiction"]
PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zst": zstandard.compress}


def random_rows(number=40):
    """Sentences with everything that a format has a special use for, but for the ends of the sentences."""
    draw = random.Random(17)
    alphabet = string.ascii_letters * 2 + " ,;\t\"'\\{}[]:|" + "éß中文العربية\u2028\u00a0"
    texts = ["".join(draw.choices(alphabet, k=draw.randint(1, 40))) for _ in range(2 * number)]
    return [(f"n{i}", f"a{texts[2 * i]}b", f"c\n{texts[2 * i + 1]}d", draw.choice(LABELS)) for i in range(number)]


ROWS = random_rows()
ON_ONE_LINE = [tuple(cell.replace("\n", " ").replace("\t", " ") for cell in row) for row in ROWS]


def read(path, **reading):
    return [(e.id, e.sentence1, e.sentence2, e.label) for e in every_example(TextFile.open(path, Reading(**reading)), "en")]


def write_csv(path, rows, **dialect):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, **dialect).writerows(rows)
    return path


def table(rows=ROWS, columns=COLUMNS):
    return pyarrow.table({name: [row[i] for row in rows] for i, name in enumerate(columns)})


def class_label(rows, names, column=3):
    """A table with integer labels and the metadata by which datasets names them."""
    integers = [[*row[:column], names.index(row[column]) if row[column] in names else int(row[column])] for row in rows]
    features = {name: {"dtype": "string", "_type": "Value"} for name in COLUMNS[:column]} | {"label": {"names": names, "_type": "ClassLabel"}}
    return table(integers).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("delimiter, name", [(",", "x.csv"), (";", "x.csv"), ("\t", "x.csv"), ("\t", "x.tsv")])
def test_csv(delimiter, name, packer, tmp_path):
    """Quoted only where it must be, or everywhere; every line end; cells of several lines are one cell, as in csv.

    facebookresearch/pytext#747: a comma within quotation marks was the end of the cell.
    """
    for quoting, end in ((csv.QUOTE_MINIMAL, "\n"), (csv.QUOTE_ALL, "\r\n")):
        path = write_csv(tmp_path / name, [COLUMNS, *ROWS], delimiter=delimiter, quoting=quoting, lineterminator=end)
        packed = tmp_path / f"{name}{packer}"
        packed.write_bytes(PACKERS[packer](path.read_bytes()))
        assert read(packed, quoting="csv" if delimiter == "\t" else None) == ROWS


# pytorch/text#349, rewicks/ersatz#1, kakaobrain/kor-nlu-datasets#8: a quotation mark that begins a cell of a TSV file joined it with the next
@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "array.json", "x.tsv"])
def test_text(name, packer, tmp_path):
    """huggingface/datasets#6891, #1784: .json is an array to some programs and JSONL to others. huggingface/datasets#1763:
    quotation marks of PAWS-X, taken for CSV's, joined its rows."""
    rows = ON_ONE_LINE if name == "x.tsv" else ROWS
    objects = [dict(zip(COLUMNS, row)) for row in rows]
    if name == "array.json":
        text = json.dumps(objects, indent=2)
    elif name == "x.tsv":
        text = "".join("\t".join(row) + "\n" for row in [COLUMNS, *rows])
    else:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in objects)
    path = tmp_path / f"{name}{packer}"
    path.write_bytes(PACKERS[packer](text.encode()))
    assert read(path) == rows


@pytest.mark.parametrize("write", ["parquet", "feather", "stream"])
def test_tables(write, tmp_path):
    path = tmp_path / "x.table"
    if write == "parquet":
        pyarrow.parquet.write_table(table(), path, row_group_size=7)
    elif write == "feather":
        pyarrow.feather.write_feather(table(), path)
    else:
        with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, table().schema) as writer:
            writer.write_table(table(), max_chunksize=7)
    assert read(path) == ROWS
    text = TextFile.open(path)
    assert text.format.name == ("Parquet" if write == "parquet" else "Arrow") and text.where(3) == f"{path}, row 3"


def test_names_of_integer_labels(tmp_path):
    """huggingface/datasets#3578: they are in the metadata of the file. Their order is that of the names."""
    names = ["contradiction", "entailment", "neutral"]
    pyarrow.parquet.write_table(class_label(ROWS, names), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet") == ROWS
    assert TextFile.open(tmp_path / "x.parquet").label_names == tuple(names)
    integers = [(*row[:3], str(names.index(row[3]))) for row in ROWS]
    write_csv(tmp_path / "x.csv", [COLUMNS, *integers])
    assert read(tmp_path / "x.csv", label_names=tuple(names)) == ROWS and read(tmp_path / "x.csv") == integers
    with pytest.raises(InputError, match="names its labels contradiction, entailment, neutral: leave out --label-names"):
        read(tmp_path / "x.parquet", label_names=("a", "b"))


def test_labels_without_a_name(tmp_path):
    """huggingface/datasets#8596: an integer beyond the names. huggingface/datasets#183: -1 where there is no label."""
    pyarrow.parquet.write_table(class_label([*ROWS, ("x", "a", "b", "3")], LABELS), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x.parquet, row 41: label 3 has no name; those from 0 on are entailment, neutral, contradiction"):
        read(tmp_path / "x.parquet")
    pyarrow.parquet.write_table(class_label([*ROWS, ("x", "a", "b", "-1")], LABELS), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", missing=frozenset(["-1"])) == ROWS


def test_saved_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(dict.fromkeys(COLUMNS[:3], datasets.Value("string")) | {"label": datasets.ClassLabel(names=LABELS)})
    data = datasets.Dataset.from_dict({name: [row[i] for row in ROWS] for i, name in enumerate(COLUMNS)}, features=features)
    data.save_to_disk(tmp_path / "saved", num_shards=3)
    assert read(tmp_path / "saved") == ROWS
    datasets.DatasetDict(train=data, test=data).save_to_disk(tmp_path / "splits")
    with pytest.raises(InputError, match="holds several splits: name one of .*test, .*train$"):
        read(tmp_path / "splits")


def test_saved_dataset_without_the_package(tmp_path):
    """The files that save_to_disk writes: Arrow streams, and a JSON object that lists them."""
    for i, part in enumerate((ROWS[:13], ROWS[13:])):
        with pyarrow.OSFile(str(tmp_path / f"data-{i}.arrow"), "wb") as file:
            part = class_label(part, LABELS)
            with pyarrow.ipc.new_stream(file, part.schema) as writer:
                writer.write_table(part)
    (tmp_path / "state.json").write_text(json.dumps({"_data_files": [{"filename": "data-0.arrow"}, {"filename": "data-1.arrow"}]}))
    assert read(tmp_path) == ROWS and TextFile.open(tmp_path).format.name == "data set of datasets"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "parquet"])
def test_named_columns(suffix, tmp_path):
    names, path = ["n", "claim", "evidence", "verdict"], tmp_path / f"x.{suffix}"
    if suffix == "csv":
        write_csv(path, [names, *ROWS])
    elif suffix == "parquet":
        pyarrow.parquet.write_table(table(columns=names), path)
    else:
        objects = [json.dumps(dict(zip(names, row))) for row in ROWS]
        path.write_text("\n".join(objects) if suffix == "jsonl" else f"[{','.join(objects)}]")
    chosen = {"id": "n", "sentence1": "claim", "sentence2": "evidence", "label": "verdict"}
    assert read(path, columns=chosen) == ROWS
    with pytest.raises(InputError, match=r"--columns"):
        read(path)


def test_blocks_do_not_show(tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 500)
    for path, text in ((tmp_path / "x.csv", COLUMNS), (tmp_path / "y.csv", None)):
        write_csv(path, [COLUMNS, *ROWS] if text else [row[1:] for row in ROWS])
        file = TextFile.open(path)
        assert len(file.blocks) > 5 and [e.sentence1 for e in every_example(file, "en")] == [row[1] for row in ROWS]
    lines = [1 + sum(2 for _ in ROWS[:i]) for i in range(len(ROWS))]  # each hypothesis has a line end
    assert [e.line for e in every_example(file, "en")] == lines


def cut(name, content):
    return lambda path: (path / name).write_bytes(content[: len(content) // 2])


def written(name, content):
    return lambda path: (path / name).write_bytes(content)


def parquet(name, columns):
    return lambda path: pyarrow.parquet.write_table(pyarrow.table(columns), path / name)


PLAIN = b"id\tsentence1\tsentence2\tlabel\n" + b"".join(b"%d\tA house %d\tA cat\t%d\n" % (i, i * i, i % 2) for i in range(300))
REFUSED = {  # how the file is made, its name and what the sentence says
    "gzip cut off": (cut("x.tsv.gz", gzip.compress(PLAIN)), "x.tsv.gz", "cannot be unpacked (Compressed file ended before"),
    "xz cut off": (cut("x.tsv.xz", lzma.compress(PLAIN)), "x.tsv.xz", "cannot be unpacked (Compressed file ended before"),
    "bzip2 cut off": (cut("x.tsv.bz2", bz2.compress(PLAIN)), "x.tsv.bz2", "cannot be unpacked (Compressed file ended before"),
    "zstd cut off": (cut("x.tsv.zst", zstandard.compress(PLAIN)), "x.tsv.zst", "cannot be unpacked (the end of the last frame is missing)"),
    "gzip damaged": (written("x.gz", gzip.compress(PLAIN)[:60] + bytes(400)), "x.gz", "cannot be unpacked ("),
    "zstd damaged": (written("x.zst", zstandard.compress(PLAIN)[:60] + bytes(400)), "x.zst", "cannot be unpacked ("),
    "open quotation mark": (written("x.csv", b'text,label\na,1\n"b,0\nc,1\n'), "x.csv", "line 3: not quoted as in CSV (unexpected end of data)"),
    "text after a quotation mark": (written("x.csv", b'text,label\n"a" b,1\n'), "x.csv", "line 2: not quoted as in CSV ("),
    "two delimiters": (
        written("x.csv", b"a;b,1\nc;d,0\n"),
        "x.csv",
        "line 1: its columns may be separated by comma or by semicolon: say which with --delimiter",
    ),
    "commas, called TSV": (written("x.tsv", b"text,label\na,1\n"), "x.tsv", "line 1: 1 columns and no header"),
    "lines of a quoted TSV": (written("x.tsv", b'text\tlabel\n"a\nb"\t1\n'), "x.tsv", "line 2: 1 columns where line 1 has 2; if its cells are quoted"),
    # huggingface/datasets#1763 the other way round: quotation marks that are CSV's would stay in the sentences
    "some cells quoted": (written("x.tsv", b'text\tlabel\na\t1\n"say ""b"""\t0\nc\t1\n'), "x.tsv", "each sentence1 with quotation marks has them as in CSV"),
    # huggingface/transformers#13178: pandas' error for a line with more columns than the first
    "unequal columns of CSV": (written("x.csv", b"text,label\na,1\nb, c,0\n"), "x.csv", "line 3: 3 columns where line 1 has 2"),
    "array that is not closed": (written("x.json", b'[{"text": "a", "label": 1},'), "x.json", "is no JSON array (Expecting value: line 1"),
    "array of texts": (written("x.json", b'["a", "b"]'), "x.json", "item 1: not a JSON object"),
    "columns of pandas": (written("x.json", b'{"text": {"0": "a"}, "label": {"0": 1}}'), "x.json", 'line 1: sentence1 is {"0": "a"}, not text'),
    "Parquet cut off": (cut("x.parquet", b"PAR1" + bytes(100)), "x.parquet", "cannot be read after row 0 ("),
    "Arrow cut off": (cut("x.arrow", b"\xff\xff\xff\xff" + bytes(100)), "x.arrow", "cannot be read after row 0 ("),
    "bytes": (parquet("x.parquet", {"text": [b"a"], "label": [1]}), "x.parquet", 'row 1: sentence1 is {"type": "bytes"}, not text'),
    "translations": (parquet("x.parquet", {"premise": [{"en": "a"}], "label": [1]}), "x.parquet", 'row 1: sentence1 is {"type": "struct'),
    "no sentence": (parquet("x.parquet", {"text": ["a", None], "label": [1, 0]}), "x.parquet", "row 2: sentence1 is null, not text"),
    "other names": (parquet("x.parquet", {"tweet": ["a"], "stance": [1]}), "x.parquet", "row 1: the object needs the keys sentence1"),
    "unlabelled Parquet": (parquet("x.parquet", {"text": ["a"]}), "x.parquet", "row 1: the object needs the keys sentence1"),
    "a folder": (lambda path: (path / "x").mkdir(), "x", "cannot be read: Is a directory, and not of datasets' save_to_disk"),
    "a device": (lambda path: None, "/dev/zero", "is neither a file nor a pipe"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    make, name, said = REFUSED[case]
    make(tmp_path)
    with pytest.raises(InputError) as raised:
        read(tmp_path / name)
    message = str(raised.value)
    assert message.startswith(str(tmp_path / name)) and said in message and "\n" not in message, message


@pytest.mark.parametrize("package, name", [("zstandard", "x.zst"), ("pyarrow", "x.parquet")])
def test_missing_package(package, name, tmp_path, monkeypatch):
    (tmp_path / "x.zst").write_bytes(zstandard.compress(PLAIN))
    pyarrow.parquet.write_table(table(), tmp_path / "x.parquet")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=f"{name} needs the package {package}: install it, pip install 'salt_fairseq\\[formats\\]'"):
        read(tmp_path / name)
