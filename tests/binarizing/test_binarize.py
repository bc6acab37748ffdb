"""A data directory holds the sentences of its files: tokens, labels, ids, and stock fairseq trains on it.

References: the BERT tokenizer of transformers and the sentencepiece library, fairseq's own command.
"""

import json

import numpy as np
import pytest
import sentencepiece
from fairseq.data import Dictionary
from fairseq.data.indexed_dataset import MMapIndexedDataset
from transformers import BertTokenizerFast

from preprocess import binarize
from salt_fairseq.data.directory import DataDirectory
from support.in_process import call
from support.running import QUICKSTART, read_tsv, run

pytestmark = pytest.mark.slow

ROWS = [("7", 'He said "no', "Il n'est pas là", "1"), ("x9", "The house", "Das Haus", "0"), ("11", "Dog ,", "Hund .", "1")]


def stored(data, side, subset):
    sequences = MMapIndexedDataset(str(data / side / subset))
    return [sequences[i].tolist() for i in range(len(sequences))]


def tsv(rows, header=None, end="\n", mark=""):
    lines = ["\t".join(row) for row in ([header] if header else []) + rows]
    return (mark + end.join(lines) + end).encode()


def jsonl(rows, names):
    return "\n\n".join(json.dumps(dict(zip(names, row)), ensure_ascii=False) for row in rows).encode()


NAMES = ["id", "sentence1", "sentence2", "label"]
FORMS = {  # file name and bytes that all say ROWS
    "header": ("a.tsv", tsv(ROWS, NAMES)),
    "other names and order": ("a.txt", tsv([(c, b, a, "extra", i) for i, a, b, c in ROWS], ["gold_label", "Hypothesis", "Premise", "note", "pairID"])),
    "byte order mark": ("a.tsv", tsv(ROWS, NAMES, mark="\ufeff")),
    "CRLF": ("a.tsv", tsv(ROWS, NAMES, end="\r\n")),
    "mark and CRLF": ("a.tsv", tsv(ROWS, NAMES, end="\r\n", mark="\ufeff")),
    "no last line end": ("a.tsv", tsv(ROWS, NAMES)[:-1]),
    "JSONL": ("a.jsonl", jsonl(ROWS, NAMES)),
    "JSONL with numbers": ("a.jsonl", jsonl([(i, a, b, int(c)) for i, a, b, c in ROWS], ["idx", "question1", "question2", "is_duplicate"])),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_file(form, xlmr_plm, tmp_path):
    name, content = FORMS[form]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "plain.tsv").write_bytes(tsv([row[1:] for row in ROWS]))
    call(binarize, xlmr_plm, tmp_path / "data", "--subset", f"train={tmp_path / name}", f"valid={tmp_path / 'plain.tsv'}")
    data = DataDirectory(tmp_path / "data")
    assert data.ids("train") == ["7", "x9", "11"] and data.ids("valid") == ["1", "2", "3"]
    for part in ("input0", "input1", "label"):
        assert stored(data.path, part, "train") == stored(data.path, part, "valid")
    assert data.labels == ["0", "1"] and data.targets("train").tolist() == [1, 0, 1]


@pytest.mark.parametrize("kind", ["bert", "xlmr"])
def test_tokens(kind, request):
    """The fixtures' data, made by the command: what the model's own tokenizer gives, eos after each sentence."""
    data, source = request.getfixturevalue(f"{kind}_data"), request.getfixturevalue(f"{kind}_dir")
    dictionary = Dictionary.load(str(data / "input0" / "dict.txt"))  # fairseq's way to name ids
    if kind == "bert":
        tokenizer = BertTokenizerFast.from_pretrained(source)
        special = {"[CLS]": "<s>", "[PAD]": "<pad>", "[SEP]": "</s>", "[UNK]": "<unk>"}

        def pieces(text):
            return [special.get(p, p) for p in tokenizer.tokenize(text)]

    else:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(source / "sentencepiece.bpe.model"))

        def pieces(text):
            return [processor.id_to_piece(i) for i in processor.encode(text)]

    for subset, file in (("train", "train.en"), ("valid", "valid.en"), ("test.ru", "test.ru")):
        rows = read_tsv(QUICKSTART / f"{file}.tsv")
        for side, name in (("input0", "sentence1"), ("input1", "sentence2")):
            expected = [[*pieces(row[name]), "</s>"] for row in rows]
            assert [[dictionary[i] for i in ids] for ids in stored(data, side, subset)] == expected
        assert [ids[0] - dictionary.nspecial for ids in stored(data, "label", subset)] == [int(r["label"]) for r in rows]
        assert DataDirectory(data).ids(subset) == [row["id"] for row in rows]


def test_meta_and_last_line(xlmr_plm, tmp_path, capsys):
    (tmp_path / "train.tsv").write_bytes(tsv([*ROWS, ("",), ("2", "No", "Yes", "-"), ("3", "NS", "Yes", "0")], NAMES))
    call(binarize, xlmr_plm, tmp_path / "data", "--subset", f"train={tmp_path / 'train.tsv'}", "--source-language", "de")
    meta = json.loads((tmp_path / "data" / "meta.json").read_text())
    tokens = sum(len(s) for side in ("input0", "input1") for s in stored(tmp_path / "data", side, "train"))
    assert meta["source_language"] == "de" and meta["labels"] == ["0", "1"]
    subset = meta["subsets"]["train"]
    assert (subset["examples"], subset["tokens"], subset["skipped"]) == (3, tokens, {"NS": 1, "-": 1, "blank": 1, "other language": 0})
    assert capsys.readouterr().out == (
        f"wrote {tmp_path / 'data'}: 1 subset, 3 examples, {tokens} tokens, labels 0, 1; "
        "skipped 1 row without translation (NS) and 1 without label (-), 1 blank line, "
        "0 rows of other languages; read train as TSV, pairs (id = id, sentence1 = sentence1, sentence2 = sentence2, label = label; not used: none)\n"
    )


def test_a_label_without_examples(xlmr_plm, tmp_path, capsys):
    """NLI's order has three labels, of which two-class data leaves one out."""
    (tmp_path / "train.tsv").write_bytes(tsv([("a", "b", "entailment"), ("b", "a", "contradiction")]))
    call(binarize, xlmr_plm, tmp_path / "data", "--subset", f"train={tmp_path / 'train.tsv'}")
    assert capsys.readouterr().err == "warning: train has no example of neutral, which cannot be learned\n"
    meta = json.loads((tmp_path / "data" / "meta.json").read_text())
    assert meta["subsets"]["train"]["examples_by_label"] == {"entailment": 1, "neutral": 0, "contradiction": 1}


@pytest.mark.parametrize(
    ("labels", "given", "order"),
    [
        (["contradictory", "neutral", "contradiction"], None, ["entailment", "neutral", "contradiction"]),
        (["10", "9", "2"], None, ["2", "9", "10"]),
        (["1", "-1", "1"], None, ["-1", "1"]),
        (["1", "0", "1.0", "0.0"], None, ["0", "1"]),
        (["-1", "1", "0"], "-1, 0, 1", ["-1", "0", "1"]),
        (["+", "-", "+"], "-,+", ["-", "+"]),
        (["none", "pro", "None"], "none,None,pro", ["none", "None", "pro"]),
        (["spam", "ham", "NA"], "spam,ham,NA", ["spam", "ham", "NA"]),
        (["spam", "ham", "spam"], None, ["spam", "ham"]),
        (["spam", "ham", "spam"], "ham,eggs,spam", ["ham", "eggs", "spam"]),
        (["neutral", "entailment", "entailment"], "neutral,entailment", ["neutral", "entailment"]),
    ],
)
def test_order_of_labels(labels, given, order, xlmr_plm, tmp_path):
    (tmp_path / "train.tsv").write_bytes(tsv([("a", "b", label) for label in labels]))
    call(binarize, xlmr_plm, tmp_path / "data", "--subset", f"train={tmp_path / 'train.tsv'}", *([f"--labels={given}"] if given else []))
    data = DataDirectory(tmp_path / "data")
    assert data.labels == order
    read = [order[t] for t in data.targets("train")]
    assert read == [label.replace("contradictory", "contradiction").removesuffix(".0") for label in labels]
    counts = Dictionary.load(str(tmp_path / "data" / "label" / "dict.txt"))
    assert counts.symbols[4:] == order and counts.count[4:] == [read.count(label) for label in order]


WORDS = [("A very good house", "A house is very good", "yes"), ("The bad dog is here", "The dog is a cat", "no")] * 3
JSON = b"".join(json.dumps(dict(zip(("text", "text_pair", "label"), row))).encode() + b"\n" for row in WORDS)
READ = {  # file name, content, options; what is read, and what the last line says of it
    "QNLI": (
        "a.tsv",
        tsv(WORDS, ["question", "sentence", "label"]),
        [],
        "TSV, pairs (sentence1 = question, sentence2 = sentence, label = label; not used: none)",
    ),
    "JSONL of Hugging Face": ("a.jsonl", JSON, [], "JSONL, pairs (sentence1 = text, sentence2 = text_pair, label = label; not used: none)"),
    "NDJSON": ("a.ndjson", JSON, [], "JSONL, pairs (sentence1 = text, sentence2 = text_pair, label = label; not used: none)"),
    "gold": (
        "a.tsv",
        tsv(WORDS, ["premise", "hypothesis", "gold"]),
        [],
        "TSV, pairs (sentence1 = premise, sentence2 = hypothesis, label = gold; not used: none)",
    ),
    "named": (
        "a.tsv",
        tsv([(c, "x", a, b) for a, b, c in WORDS], ["verdict", "note", "claim", "evidence"]),
        ["--columns", "premise=claim, hypothesis=evidence, label=verdict"],
        "TSV, pairs (sentence1 = claim, sentence2 = evidence, label = verdict; not used: note)",
    ),
    "numbered": (
        "a.tsv",
        tsv([(c, a, b) for a, b, c in WORDS]),
        ["--columns", "label=1,sentence1=2,sentence2=3"],
        "TSV, pairs (sentence1 = column 2, sentence2 = column 3, label = column 1; not used: none)",
    ),
    "quoted": (
        "a.tsv",
        tsv([(f'"{a}"', f'"{b}"', f'"{c}"') for a, b, c in WORDS]),
        ["--quoting", "csv"],
        "CSV with tabs, pairs (sentence1 = column 1, sentence2 = column 2, label = column 3; not used: none)",
    ),
    "blank lines": (
        "a.tsv",
        b"\n" + tsv(WORDS).replace(b"\n", b"\n \n"),
        [],
        "TSV, pairs (sentence1 = column 1, sentence2 = column 2, label = column 3; not used: none)",
    ),
    # PolyAI/minds14 and AmazonScience/massive: rows of all languages, told apart by their locale
    "locales": (
        "a.tsv",
        tsv([("en-US", *row) for row in WORDS] + [("fr-FR", "Une maison", "Un chien", "yes")], ["locale", *NAMES[1:]]),
        [],
        "TSV, pairs (language = locale, sentence1 = sentence1, sentence2 = sentence2, label = label; not used: none)",
    ),
    "missing": (
        "a.tsv",
        tsv([*WORDS, ("Good", "Bad", "nan"), ("Bad", "Good", "")]),
        ["--missing-label=nan", "--missing-label", ""],
        "TSV, pairs (sentence1 = column 1, sentence2 = column 2, label = column 3; not used: none)",
    ),
}


@pytest.mark.parametrize("form", READ)
def test_what_is_read(form, xlmr_plm, tmp_path, capsys):
    name, content, options, said = READ[form]
    (tmp_path / name).write_bytes(content)
    (tmp_path / "plain.tsv").write_bytes(tsv(WORDS, NAMES[1:]))
    call(binarize, xlmr_plm, tmp_path / "plain", "--subset", f"train={tmp_path / 'plain.tsv'}")
    call(binarize, xlmr_plm, tmp_path / "data", "--subset", f"train={tmp_path / name}", *options)
    assert capsys.readouterr().out.endswith(f"read train as {said}\n")
    for part in ("input0", "input1", "label"):
        assert stored(tmp_path / "data", part, "train") == stored(tmp_path / "plain", part, "train")
    assert DataDirectory(tmp_path / "data").labels == ["yes", "no"]


def test_single_sentences(xlmr_plm, tmp_path):
    (tmp_path / "train.tsv").write_bytes(tsv([("sentence", "label"), ("Good house", "1"), ("Bad house", "0")]))
    (tmp_path / "test.tsv").write_bytes(tsv([("Bon", "1"), ("Mal .", "0")]))
    (tmp_path / "valid.jsonl").write_bytes(jsonl([("Good", 1)], ["text", "label"]))
    call(
        binarize,
        xlmr_plm,
        tmp_path / "data",
        "--subset",
        f"train={tmp_path / 'train.tsv'}",
        f"test.fr={tmp_path / 'test.tsv'}",
        f"valid={tmp_path / 'valid.jsonl'}",
    )
    data = DataDirectory(tmp_path / "data")
    assert not data.is_pairs and not (data.path / "input1").exists()
    inputs, rows, targets = data.load("test.fr")
    assert len(inputs) == len(rows) == 1 and rows[0].tolist() == [0, 1] and targets.tolist() == [1, 0]
    assert [len(inputs[0][i]) for i in range(2)] == [len(s) for s in stored(data.path, "input0", "test.fr")]


@pytest.mark.long
def test_stock_fairseq_trains_on_it(xlmr_data, tmp_path):
    done = run(
        "fairseq-train",
        xlmr_data,
        "--task",
        "sentence_prediction",
        "--criterion",
        "sentence_prediction",
        "--arch",
        "roberta_base",
        "--encoder-layers",
        "1",
        "--encoder-embed-dim",
        "16",
        "--encoder-ffn-embed-dim",
        "16",
        "--encoder-attention-heads",
        "2",
        "--num-classes",
        "2",
        "--init-token",
        "0",
        "--separator-token",
        "2",
        "--max-positions",
        "120",
        "--batch-size",
        "32",
        "--required-batch-size-multiple",
        "1",
        "--optimizer",
        "adam",
        "--lr",
        "1e-3",
        "--max-update",
        "2",
        "--no-save",
        "--cpu",
        "--log-format",
        "json",
        "--num-workers",
        "0",
        "--data-buffer-size",
        "0",  # no thread that reads on while the process exits, of which it may die (SIGABRT)
    )
    printed = done.stdout + done.stderr
    assert f"dictionary: {len(Dictionary.load(str(xlmr_data / 'input0' / 'dict.txt'))) + 1} types" in printed
    assert "Stopping training due to num_updates: 2 >= max_update: 2" in printed and "valid_accuracy" in printed


def test_ids_are_stored_in_the_smallest_type(xlmr_data):
    assert MMapIndexedDataset(str(xlmr_data / "input0" / "train"))._index.dtype == np.uint16


def test_an_option_that_is_given_twice_adds(xlmr_plm, tmp_path):
    (tmp_path / "a.tsv").write_bytes(tsv(ROWS, NAMES))
    words = [word for name in ("train", "valid", "test.fr") for word in ("--subset", f"{name}={tmp_path / 'a.tsv'}")]
    call(binarize, xlmr_plm, tmp_path / "data", *words)
    assert list(DataDirectory(tmp_path / "data").meta["subsets"]) == ["train", "valid", "test.fr"]
