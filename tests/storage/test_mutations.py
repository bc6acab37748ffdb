"""Damaged files of every format, seeded: whatever the bytes, an InputError or a correct result. Never another exception, a
crash, a hang, a huge allocation, or a wrong result that looks right.

A few hundred inputs; SALT_FUZZ=N tries about N. An input is known by its number, which a failure names.
"""

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils

from preprocess import binarize, look_up, target_vocabulary
from preprocess.import_plm import import_plm
from salt_fairseq.candidates import open_candidates
from salt_fairseq.checkpoints import load_checkpoint, load_tokenizer
from salt_fairseq.cli.sentences import sentence_of
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.lexicon import Lexicon
from salt_fairseq.errors import InputError
from salt_fairseq.plm import PLM
from salt_fairseq.report import __main__ as report
from salt_fairseq.storage.manifest import read_verified, write_with_checksum
from salt_fairseq.storage.resumable import Resumable
from support.in_process import call
from support.small_world import TYPED, ended

pytestmark = pytest.mark.slow

TOTAL = int(os.environ.get("SALT_FUZZ", 300))
SECONDS, BYTES = 30, 3 << 30  # that one input may take


def digest(*values):
    """A hash of tensors, arrays and plain values, in order."""
    hasher = hashlib.sha256()
    for value in values:
        if torch.is_tensor(value):
            value = value.detach().float().numpy()
        hasher.update(value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode())
    return hasher.hexdigest()


def read_data():
    data = DataDirectory("data")
    values = [data.labels, data.is_pairs, data.meta["source_language"], data.dictionary.symbols]
    for subset in data.meta["subsets"]:
        inputs, rows, targets = data.load(subset)
        values += [subset, *rows, targets, data.ids(subset)] + [source[i].numpy() for source in inputs for i in range(len(source))]
    values += [data.load("test.en-fr")[2]]
    for side in ("input0", "input1"):
        candidates = open_candidates("data", "train", "fr", side)
        values += [tensor for i in range(len(candidates)) for tensor in candidates[i]]
    lexicon = Lexicon("data", "muse", "train", ["input0", "input1"])
    values += [lexicon.languages, *[lexicon.listed(side, i) for side in (0, 1) for i in range(12)]]
    entries = 1 + max(entry for side in (0, 1) for i in range(12) for entry, _, _ in lexicon.listed(side, i))
    values += [lexicon.substitute(n) for entry in range(entries) for n in lexicon.choices(entry, 0)]
    return digest(*values)


def read_plm():
    plm = PLM.load("plm")
    return digest(
        plm.logits(plm.encode("the big house sleeps .", "the cat")[None]), plm.tokenizer.pieces, plm.description.lm_head, plm.description.special_tokens
    )


def read_checkpoint():
    checkpoint = load_checkpoint("checkpoint.pt")
    ids = torch.tensor([[0, 5, 6, 7, 2, 8, 2]])
    with torch.no_grad():
        return digest(checkpoint.model(ids)[0], checkpoint.task, str(checkpoint.cfg.task), checkpoint.updates, load_tokenizer(checkpoint)(["the house"]))


def read_fairseq_checkpoint():
    """As fairseq-train does it to go on, and fairseq-validate."""
    state = checkpoint_utils.load_checkpoint_to_cpu("checkpoint.pt")
    return digest(
        *state["model"].values(),
        str(state["cfg"]),
        state["optimizer_history"],
        str(state["last_optimizer_state"]),
        str(state["extra_state"]),
        str(state["task_state"]),
    )


def read_unfinished():
    resumable = Resumable(Path("new"), {"lr": 1.0}, "training")
    return digest(*resumable.load("checkpoint.pt").values())


def imported():
    """Not compared: what was published has no hash, so another weight or score is another model."""
    import_plm("source", Path("imported"))


def binarized(name):
    def read():
        call(binarize, "plm", "new", "--subset", f"train={name}")

    return read


def reported():
    call(report, "a=results.json", "--out", "reported")


def mutated(content, rng):
    """The bytes with one to three random edits."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, length = int(rng.integers(len(content) + 1)), int(min(rng.geometric(0.05), 400))
        kind = rng.integers(7)
        if kind == 0 and content:
            content[at % len(content)] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            content = content[:at]
        elif kind == 2:
            content[at:at] = rng.bytes(length)
        elif kind == 3:
            content[at : at + length] = bytes(len(content[at : at + length]))
        elif kind == 4:
            del content[at : at + length]
        elif kind == 5:
            content[at:at] = content[at : at + length]
        elif content:
            content[at % len(content)] = int(rng.choice([0, 9, 10, 34, 44, 48, 57, 91, 123, 125, 127, 255]))
    return bytes(content)


def other_value(value, rng):
    """A JSON value with one thing changed, removed or of another type."""
    odd = [None, True, -1, 0, 1 << 40, 1e300, "", "../x", [], {}, [1], {"a": 1}, "\0", value, [value]]
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = list(value)[rng.integers(len(value))]
        rest = {k: v for k, v in value.items() if k != key}
        return rest if rng.random() < 0.2 else {**rest, key: other_value(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.7:
        at = int(rng.integers(len(value)))
        return value[:at] + ([] if rng.random() < 0.2 else [other_value(value[at], rng)]) + value[at + 1 :]
    return odd[rng.integers(len(odd))]


# What is read, the files that are damaged (globs), whether the result must be the same where there is one, relative number of inputs.
TARGETS = {
    "data directory": (read_data, "data", True, 4),
    "PLM directory": (read_plm, "plm", True, 2),
    "checkpoint": (read_checkpoint, "checkpoint.pt", True, 2),
    "checkpoint of fairseq": (read_fairseq_checkpoint, "checkpoint.pt", True, 1),
    "unfinished training": (read_unfinished, ".new.training", True, 1),
    "Hugging Face directory": (imported, "hf", False, 2),
    "SentencePiece directory": (imported, "xlmr", False, 1),
    "results": (reported, "results.json", False, 1),
    "TSV": (binarized("train.tsv"), "train.tsv", False, 1),
    "JSONL": (binarized("train.jsonl"), "train.jsonl", False, 1),
    "word list": (lambda: call(target_vocabulary, "plm", "fr", "--word-list", "fr=words.fr.txt"), "words.fr.txt", False, 0.1),
    "dictionary": (lambda: call(look_up, "plm", "data", "--name", "x", "--dictionary", "fr=en-fr.txt"), "en-fr.txt", False, 1),
    "dictionary in JSON": (lambda: call(look_up, "plm", "data", "--name", "x", "--dictionary", "fr=en-fr.json"), "en-fr.json", False, 1),
}
WEIGHTS = sum(weight for *_, weight in TARGETS.values())


@contextlib.contextmanager
def limits():
    """An input that takes long, or much memory, is an exception."""

    def too_long(*unused):
        raise TimeoutError(f"more than {SECONDS} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, hard))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def outcome(read):
    """``("error", sentence)``, ``("result", value)``, or ``("defect", exception)``."""
    try:
        with limits():
            return "result", read()
    except InputError as error:
        one_line = "\n" not in str(error) and len(str(error)) < 2000
        return ("error" if one_line else "defect"), str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if sentence_of(error):  # what else a command tells in one sentence
            return "error", sentence_of(error)
        return "defect", f"{type(error).__name__}: {error}"


@pytest.fixture
def farm(here, bert_dir, xlmr_dir, monkeypatch):
    """The working directory with further kinds of files to damage."""
    monkeypatch.setenv("TQDM_DISABLE", "1")
    shutil.copytree(bert_dir, "hf")
    torch.save({"note": torch.ones(3)}, "hf/training_args.bin")
    shutil.copytree(xlmr_dir, "xlmr")
    rows = [line.split("\t") for line in Path("train.tsv").read_text().splitlines()[1:]]
    names = ("id", "sentence1", "sentence2", "label")
    Path("train.jsonl").write_text("".join(json.dumps(dict(zip(names, row))) + "\n" for row in rows))
    Path("en-fr.json").write_text(json.dumps({"house": ["maison"], "cat": ["chat", "la"]}))
    resumable = Resumable(Path("new"), {"lr": 1.0}, "training")
    resumable.save("checkpoint.pt", {"steps": 3, "weights": torch.arange(2000.0)})
    return here


def tidy():
    for name in ("imported", "new", "reported", "data/lexicons/x", "source"):
        shutil.rmtree(name, ignore_errors=True)


@pytest.mark.parametrize("target", TARGETS)
def test_random_damage(target, farm):
    use, place, compared, weight = TARGETS[target]
    files = [Path(place)] if Path(place).is_file() else sorted(path for path in Path(place).rglob("*") if path.is_file())

    def read():
        if use is imported:  # what it reads must not be what it is compared with
            shutil.copytree(place, "source", dirs_exist_ok=True)
        return use()

    clean = outcome(read)
    assert clean[0] == "result", clean
    tidy()
    wrong, refused = [], 0
    for number in range(max(3, round(TOTAL * weight / WEIGHTS))):
        rng = np.random.default_rng([number, len(target)])
        path = files[rng.integers(len(files))]
        whole = path.read_bytes()
        path.write_bytes(mutated(whole, rng))
        kind, value = outcome(read)
        refused += kind == "error"
        if kind == "defect" or (compared and kind == "result" and value != clean[1]):
            wrong.append(f"input {number}, {path}: {kind} {str(value)[:300]}")
        path.write_bytes(whole)
        tidy()
    assert not wrong, "\n".join([f"{len(wrong)} wrong", *wrong[:25]])
    assert refused, "no input was refused: is anything read?"


@pytest.mark.parametrize(
    "path, read",
    [("plm/plm.json", read_plm), ("data/meta.json", read_data), ("data/candidates/fr/meta.json", read_data), ("data/lexicons/muse/meta.json", read_data)],
)
def test_odd_descriptions_with_the_right_checksum(path, read, farm):
    """JSON of other values or types, with the checksum that fits: somebody wrote it on purpose, or another version did."""
    whole, wrong = Path(path).read_bytes(), []
    for number in range(max(10, round(TOTAL / 20))):
        values = read_verified(path, "")
        values = other_value(values, np.random.default_rng([number, 7]))
        if isinstance(values, dict):
            write_with_checksum(path, values)
            kind, value = outcome(read)
            wrong += [f"input {number}: {value[:300]}"] if kind == "defect" else []
        Path(path).write_bytes(whole)
    assert not wrong, "\n".join([f"{len(wrong)} wrong", *wrong[:25]])


def test_flipped_bits_that_only_a_checksum_shows(farm):
    """In a weight of a checkpoint, a state to go on with, and the probability of a candidate."""
    weight = torch.load("checkpoint.pt", weights_only=True)["model"]["pooler.weight"]
    probabilities = Path("data/candidates/fr/input0/train.log_probs.npy")
    for path, value, command, words in (
        ("checkpoint.pt", weight.numpy().tobytes(), "evaluate", "data --path checkpoint.pt --out new.json"),
        ("checkpoint.pt", weight.numpy().tobytes(), "fairseq-validate", TYPED["fairseq-validate"]),
        (".new.training/checkpoint.pt", torch.arange(2000.0).numpy().tobytes(), None, None),
        (str(probabilities), probabilities.read_bytes()[-8:], "show_candidates", "plm data --languages fr --thresholds 50%"),
    ):
        whole = Path(path).read_bytes()
        at = whole.index(value) + 2
        Path(path).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        if command:
            code, lines = ended(command, words)
            assert code == 1 and len(lines) == 1 and path.split("/")[-1] in lines[0], lines
        else:
            kind, sentence = outcome(read_unfinished)
            assert kind == "error" and path in sentence
        Path(path).write_bytes(whole)
