"""Files that are bad, fed to every command: one sentence that says what, where and what to do; outputs as before.

Further kinds of bad files: test_binarize_errors.py, test_import_errors.py, test_look_up.py, test_target_vocabulary.py,
test_predict.py, test_report_refusals.py, test_training_errors.py. Options, models and the environment: the other test_error_*.py.
"""

import gzip
import os
from pathlib import Path

import pytest

from support.small_world import FILES, TYPED, assert_refused, changed, ended

pytestmark = pytest.mark.slow


def write(name, content):
    return lambda: Path(name).write_bytes(content)


def append(name, content):
    return lambda: Path(name).write_bytes(Path(name).read_bytes() + content)


def directory(name):
    def damage():
        Path(name).unlink(missing_ok=True)
        Path(name).mkdir()

    return damage


def gone(name):
    return lambda: Path(name).unlink()


def cut(name, keep=0.5):
    def damage():
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: int(len(content) * keep)])

    return damage


def layout(*names):
    for name in names:
        path = Path("layout", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(FILES["train.tsv"])


UTF16 = "house maison\n".encode("utf-16")
UTF16_WITHOUT_MARK = "the house\tthe cat\tno\n".encode("utf-16-le")
NUL = b"the house\tthe\0cat\tno\n"
HUGE = b"house " * (50_000_000 // 6) + b"\n"
NESTED = b"[" * 200_000

# command, change of its words, damage, what the sentence says
CASES = [
    ("binarize", [], gone("train.tsv"), ["train.tsv cannot be read: No such file", "give a TSV or JSONL file"]),
    ("binarize", [], directory("train.tsv"), ["train.tsv cannot be read: Is a directory", "give a TSV or JSONL file"]),
    ("binarize", [], write("train.tsv", NUL), "train.tsv, line 1: not UTF-8 text (a NUL byte), convert"),
    ("binarize", [], write("train.tsv", UTF16_WITHOUT_MARK), "train.tsv, line 1: not UTF-8 text (a NUL byte), convert"),
    # facebookresearch/pytext#477: a large field of a TSV file ended in csv's error on its limit
    ("binarize", [], append("train.tsv", HUGE), "train.tsv, line 14: more than 1,048,576 bytes, which is no sentence: break"),
    ("binarize", [], append("train.tsv", b"99\ta\tb\tno\tmore\n"), "train.tsv, line 14: 5 columns where line 1 has 4"),
    ("binarize", [], append("test.fr.tsv", b"0\ta\tb\tno\n"), "test.fr.tsv, line 6: id 0 stands on line 2 already"),
    ("binarize", [], append("test.fr.tsv", b"9\ta\tb\tperhaps\n"), "test.fr.tsv, line 6: label 'perhaps' is none of no, yes"),
    ("binarize", ["train=train.tsv -> train=bad.jsonl"], write("bad.jsonl", NESTED), "bad.jsonl, line 1: not a JSON object"),
    (
        "binarize",
        ["train=train.tsv -> train=bad.jsonl"],
        write("bad.jsonl", b'{"id": "1\\n2", "sentence1": "a", "sentence2": "b", "label": "no"}\n'),
        "bad.jsonl, line 1: the id '1\\n2' holds a line break",
    ),
    (
        "binarize",
        ["train=train.tsv -> train=bad.jsonl"],
        write("bad.jsonl", b'{"sentence1": "a", "sentence2": "b", "label": "\\ud800"}\n'),
        "bad.jsonl, line 1: the label '\\ud800' holds a line break or half a",
    ),
    ("binarize", ["train=train.tsv -> train=bad.jsonl"], write("bad.jsonl", b"[" + b"1," * 9 + b"1]\n"), "bad.jsonl, line 1: not a JSON object"),
    ("binarize", [], write("plm/tokenizer.json", b"{}"), "plm/tokenizer.json is not"),
    ("binarize", [], directory("plm/plm.json"), "plm/plm.json cannot be read"),
    # Formats: test_formats.py has more. One of each kind as a command ends for it, and options that cannot be right.
    (
        "binarize",
        ["train=train.tsv -> train=bad.tsv.gz"],
        write("bad.tsv.gz", gzip.compress(FILES["train.tsv"].encode())[:90]),
        "bad.tsv.gz cannot be unpacked (Compressed file ended before the end-of-stream marker was reached): it is damaged or incomplete",
    ),
    ("binarize", ["train=train.tsv -> train=bad.csv"], write("bad.csv", b'text,label\n"the house,no\n'), "bad.csv, line 2: not quoted as in CSV"),
    ("binarize", ["train=train.tsv -> train=bad.csv"], write("bad.csv", b"the house; a,no\nb;c,yes\n"), ["bad.csv, line 1", "--delimiter"]),
    ("binarize", ["train=train.tsv -> train=bad.json"], write("bad.json", b'[{"text": "a", "label": "no"}, 3]'), "bad.json, item 2: not a JSON object"),
    ("binarize", ["train=train.tsv -> train=bad.json"], write("bad.json", NESTED), "bad.json is no JSON array (maximum recursion depth"),
    ("binarize", ["train=train.tsv -> train=bad.pq"], write("bad.pq", b"PAR1" + bytes(99)), "bad.pq cannot be read after row 0 ("),
    ("binarize", ["train=train.tsv -> train=data"], lambda: None, "data cannot be read: Is a directory, and not of datasets' save_to_disk"),
    ("binarize", ["train=train.tsv -> train=/dev/zero"], lambda: None, "/dev/zero is neither a file nor a pipe"),
    ("binarize", ["train=train.tsv -> train=-"], lambda: None, "test.fr.tsv: some subsets are sentence pairs, others single sentences"),
    ("binarize", ["--label-names no"], lambda: None, "--label-names no: a classifier needs at least two labels"),
    ("binarize", ["--label-names yes,yes"], lambda: None, "--label-names yes,yes: a label is empty or given twice"),
    # pytorch/pytorch#15666: labels counted from 1 where classes count from 0
    (
        "binarize",
        ["train=train.tsv -> train=bad.tsv", "--label-names no,yes"],
        write("bad.tsv", b"the house\t0\nthe cat\t2\n"),
        "bad.tsv, line 2: label 2 has no name; those from 0 on are no, yes",
    ),
    ("binarize", ["--delimiter comma"], lambda: None, "train.tsv, line 1: 1 columns and no header"),
    ("binarize", ["new -> data"], lambda: None, ["data has train, test.fr already", "--replace"]),
    ("binarize", ["new -> data/candidates/fr"], lambda: None, "data/candidates/fr lies in the data directory"),
    (
        "binarize",
        ["--xtreme layout"],
        lambda: layout("train-de.tsv", "dev-de.tsv", "test-en.tsv"),
        "--xtreme layout has no valid file in the source language 'en'",
    ),
    (
        "binarize",
        ["--pawsx layout"],
        lambda: layout("en/test_2k.tsv", "old/en/test_2k.tsv"),
        "layout/en/test_2k.tsv and layout/old/en/test_2k.tsv: leave one of them out",
    ),
    ("target_vocabulary", [], gone("words.fr.txt"), ["word list words.fr.txt cannot be read (No such file", "a UTF-8 text file is needed"]),
    ("target_vocabulary", [], directory("words.fr.txt"), "word list words.fr.txt cannot be read (Is a directory)"),
    ("target_vocabulary", [], write("words.fr.txt", UTF16), "words.fr.txt, line 1: not UTF-8 (invalid start byte), convert"),
    ("target_vocabulary", [], append("words.fr.txt", b"a\0b\n"), "words.fr.txt, line 7: not UTF-8 text (a NUL byte)"),
    ("target_vocabulary", [], write("plm/plm.json", NESTED), "plm/plm.json cannot be read"),
    ("distill", [], append("words.fr.txt", "été\n".encode("latin-1")), "words.fr.txt, line 7: not UTF-8"),
    ("distill", [], append("words.fr.txt", HUGE.replace(b" ", b"")), "words.fr.txt, line 7: more than 1,048,576 bytes"),
    ("distill", [], cut("data/input1/train.bin"), "data/input1/train.bin"),
    ("distill", [], gone("plm/model.pt"), "plm/model.pt does not exist: import the PLM again"),
    ("distill", [], write("plm/dict.txt", b"a 1\n"), "plm/dict.txt is not the file plm.json describes: import the PLM again"),
    ("show_candidates", [], cut("data/candidates/fr/meta.json"), "data/candidates/fr/meta.json"),
    ("show_candidates", [], write("data/meta.json", b"[]"), "data/meta.json is not"),
    ("show_candidates", ["--html data"], lambda: None, "data is a directory: name a file"),
    ("look_up", [], write("en-fr.txt", UTF16), "en-fr.txt, line 1: not UTF-8 (invalid start byte), convert"),
    ("look_up", [], append("en-fr.txt", b"a\0 b\n"), "en-fr.txt, line 4: not UTF-8 text (a NUL byte)"),
    ("look_up", [], append("en-fr.txt", HUGE), "en-fr.txt, line 4: more than 1,048,576 bytes"),
    ("look_up", [], write("en-fr.txt", b""), "no word of data is listed in en-fr.txt: give dictionaries"),
    ("look_up", ["en-fr.txt -> bad.json"], write("bad.json", NESTED), "dictionary bad.json cannot be read"),
    ("look_up", [], directory("en-fr.txt"), "en-fr.txt cannot be read"),
    ("train_lm_head", [], write("text.txt", NUL * 9), "text.txt, line 1: not UTF-8 text (a NUL byte)"),
    ("train_lm_head", [], append("text.txt", HUGE), "text.txt, line 31: more than 1,048,576 bytes"),
    ("train_lm_head", [], directory("text.txt"), "text.txt does not exist: give --text files"),
    ("substitution_precision", [], append("en-fr.txt", b"cat\n"), "en-fr.txt, line 4: 'cat' is not 'source target'"),
    ("substitution_precision", [], gone("data/candidates/fr/input0/train.log_probs.npy"), "data/candidates/fr/input0/train.log_probs.npy"),
    # CompVis/stable-diffusion#93: a download that was cut off is, to torch.load, a zip archive without central directory
    ("export_hf", [], cut("checkpoint.pt"), "checkpoint.pt is not a checkpoint, or not a complete one"),
    ("export_hf", ["--results results.json"], write("results.json", b"\xff\xfe{\0}\0"), "results.json cannot be read"),
    ("evaluate", [], write("checkpoint.pt", b""), "checkpoint.pt is not a checkpoint, or not a complete one"),
    ("evaluate", [], gone("data/label/test.en.bin"), "data/label/test.en.bin"),
    (
        "evaluate",
        ["--generalized test"],
        append("data/id/test.fr.txt", b"17\n"),
        "data/id/test.fr.txt is not the file that data/meta.json describes: make it again",
    ),
    ("evaluate", ["new.json -> data"], lambda: None, "data is a directory: name a file"),
    ("evaluate", ["new.json -> pipe"], lambda: os.mkfifo("pipe"), "pipe is not a regular file: choose another output path"),
    ("predict", ["new.tsv -> pipe"], lambda: os.mkfifo("pipe"), "pipe is not a regular file: choose another output path"),
    ("show_candidates", ["--html pipe"], lambda: os.mkfifo("pipe"), "pipe is not a regular file: choose another output path"),
    ("report", [], directory("results.json"), "results.json cannot be read"),
    ("report", [], cut("results.json"), "results.json cannot be read"),
    ("report", [], write("results.json", NESTED), "results.json cannot be read"),
    ("report", ["--out new -> --out train.tsv"], lambda: None, "cannot write"),
    ("predict", [], directory("checkpoint.pt"), "checkpoint.pt is a directory: name a checkpoint in it"),
    ("predict", [], write("plm/tokenizer.json", b"{}"), "plm/tokenizer.json is not the file plm.json describes: import the PLM again"),
    ("fairseq-train", [], gone("data/label/train.idx"), "data/label/train.idx"),
    ("fairseq-train", ["--augment fr"], cut("data/candidates/fr/input0/train.log_probs.npy", 0.9), "data/candidates/fr/input0/train.log_probs.npy"),
    ("fairseq-train", ["--lexicon muse"], write("data/lexicons/muse/counts.bin", b"\0" * 8), "data/lexicons/muse/counts.bin"),
    # facebookresearch/metaseq#143: a --restore-file that cannot be loaded was passed over, and training began at random weights
    ("fairseq-train", ["--restore-file bad.pt"], write("bad.pt", b"PK"), "bad.pt is not a checkpoint, or not a complete one"),
    # microsoft/muzic#195: fairseq's traceback for such a checkpoint
    ("fairseq-validate", [], cut("checkpoint.pt", 0.99), "checkpoint.pt is not a checkpoint, or not a complete one"),
    ("fairseq-validate", ["--path checkpoint.pt -> --path absent.pt"], lambda: None, "absent.pt does not exist: name a checkpoint that fairseq-train wrote"),
    ("fairseq-validate", ["--path checkpoint.pt -> --path data"], lambda: None, "data"),
]


@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{c[0]}-{c[3] if isinstance(c[3], str) else c[3][0]}"[:60] for c in CASES])
def test_bad_file(case, here):
    command, changes, damage, said = CASES[case]
    damage()
    assert_refused(command, changed(command, *changes), said)


@pytest.mark.parametrize(
    "stdin, said",
    [
        (NUL, "standard input, line 1: not UTF-8 text (a NUL byte), convert"),
        (b"a\tb\n" + "the house\tthe cat\n".encode("utf-16"), "standard input, line 2: not UTF-8"),
        (b"a\tb\n" + HUGE, "standard input, line 2: more than 1,048,576 bytes"),
    ],
)
def test_bad_standard_input(stdin, said, here):
    assert_refused("predict", TYPED["predict"], said, stdin)


def windows(text):
    """With a byte order mark and line ends of Windows."""
    return b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode()


def results_of(command, name, out):
    """What a command writes, or prints, with and without Windows' forms of one of its input files."""
    for content in (FILES[name].encode(), windows(FILES[name])):
        Path(name).write_bytes(content)
        code, lines = ended(command, TYPED[command] + " --replace" * (command == "binarize"))
        assert code == 0, lines
        files = sorted(path for path in Path(out).rglob("*") if path.is_file() and path.suffix != ".json")
        assert files
        yield [(path, path.read_bytes()) for path in files]


@pytest.mark.parametrize(
    "command, name, out", [("binarize", "train.tsv", "new"), ("distill", "words.fr.txt", "data/candidates"), ("look_up", "en-fr.txt", "data/lexicons/again")]
)
# UKGovernmentBEIS/inspect_ai#5353, google-research/bert#80: a byte order mark became part of the first column's name
def test_byte_order_mark_and_windows_line_ends(command, name, out, here):
    clean, other = results_of(command, name, out)
    assert clean == other
