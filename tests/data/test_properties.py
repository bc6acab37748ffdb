"""What holds for every input: round trips of text and files, streams of equal length, specials and labels where they were.

Truncation against the library ``tokenizers``: test_dataset.py. Thresholds: test_code_switching.py.
"""

import contextlib
import io
import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from preprocess.binarize import binarize
from preprocess.distillation.candidate_search import POSITIONS, candidate_positions
from preprocess.look_up import Entries
from preprocess.text.readers import TextFile, every_example
from salt_fairseq.data.code_switching import CodeSwitching
from salt_fairseq.data.directory import DataDirectory, Examples
from salt_fairseq.data.lexicon import LexicalSubstitution
from salt_fairseq.data.sentence_pair_dataset import SentencePairDataset
from salt_fairseq.data.streams import Streams
from salt_fairseq.errors import InputError
from salt_fairseq.modules.encoder import BOS, EOS, PAD
from salt_fairseq.plm import PLM
from support.tiny_plm import tiny_plm
from support.zipped import zip_equal

pytestmark = pytest.mark.slow

KINDS = ("wordpiece", "sentencepiece")
# The same examples in every run, so that a failure is one of the change that is tested.
quick = settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
files = settings(quick, max_examples=12)

# Any text, and text that spells special tokens or words of the tiny vocabularies.
TEXT = st.lists(
    st.one_of(st.text(max_size=12), st.sampled_from(["<s>", "</s>", "[SEP]", "[MASK]", "<mask>", "##s", "▁", "house", "boat", " "])), max_size=8
).map("".join)
# A sentence as it can stand in a file's cell: visible, without tabs, line ends and NUL.
CELL = TEXT.map(lambda text: "".join(c for c in text if c not in "\t\n\r\0" and not "\ud800" <= c <= "\udfff").replace("\ufeff", "").strip()).filter(
    lambda text: text and text not in ("NS", "-")
)
WORD = st.text("abcdefgxyz0123456789 é-_.", min_size=1, max_size=6).map(str.strip).filter(lambda text: text and text != "-")
LABEL = WORD.filter(lambda text: not text.endswith(".0"))  # read as 1 where 1.0 is written: test_order_of_labels


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """PLMs with so few pieces that random ids meet every kind of them."""
    directory = tmp_path_factory.mktemp("plms")
    return {kind: PLM.load(tiny_plm(directory / kind, kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def plms(bert_plm, xlmr_plm):
    """Imported ones, for text."""
    return {"wordpiece": PLM.load(bert_plm), "sentencepiece": PLM.load(xlmr_plm)}


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(texts=st.lists(TEXT, min_size=1, max_size=4))
def test_tokens_of_any_text(plms, kind, texts):
    """Ids of pieces, never of a special token but <unk>; a batch is its sentences; a pair is its sentences, joined."""
    tokenizer, description = plms[kind].tokenizer, plms[kind].description
    encoded = tokenizer(texts)
    mask = description.architecture.vocabulary - 1
    assert all(i not in (BOS, PAD, EOS, mask) and 0 <= i <= mask for ids in encoded for i in ids)
    assert encoded == [tokenizer([text])[0] for text in texts]
    a, b = encoded[0], encoded[-1]
    assert plms[kind].encode(texts[0]).tolist() == [BOS, *a, EOS]
    between = [EOS] * description.separators
    assert plms[kind].encode(texts[0], texts[-1]).tolist() == [BOS, *a, *between, *b, EOS]


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(data=st.data())
def test_text_comes_back(plms, kind, data):
    """Words of the vocabulary, in any order: text to ids to text."""
    pieces = [p for p in plms[kind].tokenizer.pieces if p.removeprefix("▁").isalpha() and p.islower() and p.isascii() != p.startswith("▁")]
    words = [piece.removeprefix("▁") for piece in data.draw(st.lists(st.sampled_from(pieces), min_size=1, max_size=20))]
    ids = plms[kind].encode(" ".join(words))
    assert plms[kind].decode(ids) == " ".join(words) and len(ids) >= len(words) + 2
    assert [text for _, _, text in plms[kind].tokenizer.word_spans(ids[1:])] == words


rows_of = st.lists(st.tuples(CELL, CELL, LABEL), min_size=1, max_size=8)


def written(path, rows, names, layout):
    """Write rows under these names; returns the path."""
    if path.suffix == ".jsonl":
        text = "".join(json.dumps(dict(zip(names, row)), ensure_ascii=layout["escaped"]) + "\n" for row in rows)
    else:
        text = "".join("\t".join(row) + "\n" for row in [names, *rows])
    content = text.replace("\n", "\r\n" if layout["windows"] else "\n").encode()
    path.write_bytes(b"\xef\xbb\xbf" * layout["mark"] + content)
    return path


@pytest.mark.parametrize("ending", ["tsv", "jsonl"])
@quick
@given(rows=rows_of, order=st.permutations(range(4)), layout=st.fixed_dictionaries({"mark": st.booleans(), "windows": st.booleans(), "escaped": st.booleans()}))
def test_readers_give_back_what_was_written(tmp_path_factory, ending, rows, order, layout):
    """Columns in any order, a byte order mark, line ends of Windows: every cell as it was, in order, with its line."""
    rows = [(f"n{i}", *row) for i, row in enumerate(rows)]
    names = ("id", "premise", "hypothesis", "gold_label")
    path = written(tmp_path_factory.mktemp("rows") / f"x.{ending}", [[row[k] for k in order] for row in rows], [names[k] for k in order], layout)
    examples = list(every_example(TextFile.open(path), "en"))
    assert [(e.id, e.sentence1, e.sentence2, e.label) for e in examples] == rows
    assert [e.line for e in examples] == [i + 1 + (ending == "tsv") for i in range(len(rows))]


@quick
@given(
    content=st.one_of(
        st.binary(max_size=120),
        st.lists(
            st.sampled_from([b"id", b"\t", b"\n", b"sentence1", b"label", b"a", b'"', b"{", b"}", b":", b"1", b",", b"\xff", b"\r", b"NS"]), max_size=40
        ).map(b"".join),
    )
)
@pytest.mark.parametrize("ending", ["tsv", "jsonl"])
def test_readers_of_any_bytes(tmp_path_factory, ending, content):
    """Examples, if any, or one sentence that names the file."""
    path = tmp_path_factory.mktemp("bytes") / f"x.{ending}"
    path.write_bytes(content)
    try:
        examples = list(every_example(TextFile.open(path), "en"))
    except InputError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
    else:
        assert all(e.id and e.sentence1 and e.label and e.sentence2 != "" for e in examples)


@pytest.mark.parametrize("kind", KINDS)
@files
@given(rows=rows_of)
def test_binarized_data_is_the_tokenized_text(plms, bert_plm, xlmr_plm, tmp_path_factory, kind, rows):
    """Tokens, labels and ids of every example, from TSV and from JSONL alike; or a sentence without visible character."""
    directory, tokenizer = tmp_path_factory.mktemp("data"), plms[kind].tokenizer
    plm = {"wordpiece": bert_plm, "sentencepiece": xlmr_plm}[kind]
    rows = [(f"n{i}", *row[:2], "ab"[i % 2]) for i, row in enumerate(rows)]
    layout = {"mark": False, "windows": False, "escaped": True}
    names, read_back = ("id", "sentence1", "sentence2", "label"), []
    for ending in ("tsv", "jsonl"):
        path = written(directory / f"train.{ending}", rows, names, layout)
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                binarize(plm, directory / ending, {"train": path}, "a,b")
            except InputError as error:
                assert "no visible character" in str(error)
                assert any(not tokenizer([text])[0] for row in rows for text in row[1:3])
                return
        data = DataDirectory(directory / ending)
        inputs, places, targets = data.load("train")
        for side, source in enumerate(inputs):
            assert [source[i].tolist() for i in places[side]] == [ids + [EOS] for ids in tokenizer([row[1 + side] for row in rows])]
            assert source.sizes.tolist() == [len(source[i]) for i in range(len(rows))]
        assert [data.labels[k] for k in targets] == [row[3] for row in rows] and data.ids("train") == [row[0] for row in rows]
        read_back.append([data.labels, targets.tolist()])
    assert read_back[0] == read_back[1]


class Sentences(list):
    """What the dataset needs of an indexed input."""

    @property
    def sizes(self):
        return np.array([len(sentence) for sentence in self])


def sentences_of(vocabulary):
    """LongTensors that end with eos, as binarize.py stores them."""
    token = st.integers(3, vocabulary - 1)
    return st.lists(st.lists(token, min_size=1, max_size=12).map(lambda ids: torch.tensor([*ids, EOS])), min_size=1, max_size=5)


def switching(tokenizer, sentences, positions, draw):
    """Candidates at every position that distill.py would search, at a random threshold."""
    vocabulary, stored = len(tokenizer.pieces), []
    for sentence in sentences:
        at = candidate_positions(tokenizer, sentence.numpy(), positions)
        assert not at[(sentence <= 3) | (sentence == vocabulary - 1)].any(), "specials are no candidates"
        ids = torch.where(torch.tensor(at), torch.tensor(draw(st.lists(st.integers(4, vocabulary - 2), min_size=len(at), max_size=len(at)))), sentence)
        log_probs = torch.where(torch.tensor(at), torch.tensor(draw(st.lists(st.floats(-30, 0, width=32), min_size=len(at), max_size=len(at)))), -torch.inf)
        stored.append((ids, log_probs))
    made = CodeSwitching.__new__(CodeSwitching)
    made._candidates, made.log_threshold = [stored, stored], draw(st.floats(-31, 1, width=32))
    return made


def lexical(tokenizer, sentences, draw):
    """A lexicon of some words of the vocabulary, looked up as look_up.py does it."""
    words = sorted({word.casefold() for word in tokenizer.words if word.isalpha()})
    listed = {
        word: dict.fromkeys(draw(st.lists(st.sampled_from(["maison", "la peniche", "chat", "quux"]), max_size=2)))
        for word in draw(st.lists(st.sampled_from(words), max_size=5, unique=True))
    }
    entries = Entries(tokenizer, {"fr": listed}, draw(st.booleans()))
    marks = [entries.mark(sentence.numpy()) for sentence in sentences]
    ends = np.cumsum(entries.counts) if entries.counts else np.zeros(0, int)
    spans = [[(int(m[s]) - 1, s, s + 1 + sum(1 for _ in itertools.takewhile(lambda x: x == -1, m[s + 1 :]))) for s in np.flatnonzero(m > 0)] for m in marks]
    lexicon = SimpleNamespace(
        languages=["fr"],
        listed=lambda side, i: spans[i],
        choices=lambda entry, language: range(ends[entry - 1] if entry else 0, ends[entry]),
        substitute=lambda number: torch.tensor(entries.substitutes[number], dtype=torch.long),
    )
    return LexicalSubstitution(lexicon, 0, draw(st.integers(0, 99)), redraw=True)


@pytest.mark.parametrize("source", [*POSITIONS, "lexicon"])
@pytest.mark.parametrize("kind", KINDS)
@quick
@given(data=st.data())
def test_streams(tiny, kind, source, data):
    """Any sentences, candidates, thresholds and lengths: both streams are equally long, no special token is substituted,
    every label stays with its instance, and what stands unchanged is the original."""
    tokenizer, join, draw = tiny[kind].tokenizer, tiny[kind].description.join, data.draw
    vocabulary = len(tokenizer.pieces)
    sentences = draw(sentences_of(vocabulary))
    count, max_length = len(sentences), draw(st.integers(8, 30))
    made = lexical(tokenizer, sentences, draw) if source == "lexicon" else switching(tokenizer, sentences, source, draw)
    inputs, targets = [Sentences(sentences), Sentences(sentences)], np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))
    rows = [np.arange(count), np.array(draw(st.permutations(range(count))))]
    one_stream = draw(st.booleans())
    examples = Examples(inputs, rows, targets)
    dataset = SentencePairDataset(examples, join, max_length, Streams([None, made], one_per_instance=one_stream))
    dataset.set_epoch(draw(st.integers(1, 3)))
    plain = SentencePairDataset(examples, join, max_length)
    assert len(dataset) == count * (1 if one_stream else 2)
    for i in range(len(dataset)):
        item, original = dataset[i], plain[i % count]
        tokens, substitutes = item["tokens"], item["substitutes"]
        assert item["target"] == targets[i % count] and torch.equal(tokens, original["tokens"])
        assert len(substitutes) == len(tokens) == dataset.size(i) <= max_length and substitutes.shape[1] >= 1
        special = (tokens <= EOS) | (tokens == vocabulary - 1)
        assert torch.equal(substitutes[special, 0], tokens[special]) and (substitutes[special, 1:] == PAD).all()
        assert not ((substitutes[~special] == BOS) | (substitutes[~special] == EOS)).any()
        if not one_stream and i < count:
            assert torch.equal(substitutes[:, 0], tokens) and (substitutes[:, 1:] == PAD).all()
    batch = dataset.collater([dataset[i] for i in range(len(dataset))])
    net = batch["net_input"]
    assert net["src_tokens"].shape == net["substitutes"].shape[:2] and batch["target"].tolist() == [targets[i % count] for i in range(len(dataset))]
    padding = net["src_tokens"] == PAD
    assert (net["substitutes"][padding] == PAD).all()


@pytest.mark.parametrize("source", POSITIONS)
@quick
@given(data=st.data())
def test_substituted_text(tiny, source, data):
    """Without mixup: as long as the original, and different only where a candidate passes the threshold."""
    tokenizer = tiny["wordpiece"].tokenizer
    sentences = data.draw(sentences_of(len(tokenizer.pieces)))
    made = switching(tokenizer, sentences, source, data.draw)
    for i, sentence in enumerate(sentences):
        ids, log_probs = made._candidates[0][i]
        text = made.text(0, i, sentence)
        for old, new, candidate, log_prob in zip_equal(sentence.tolist(), text.tolist(), ids.tolist(), log_probs.tolist()):
            assert new == (candidate if log_prob >= made.log_threshold and log_prob > -np.inf else old)
        assert text[-1] == EOS


def test_the_tsv_reader_is_not_csv(tmp_path):
    """Quotation marks are text, as XNLI has them: csv would take a tab between two of them for text."""
    text = 'id\tsentence1\tsentence2\tlabel\n1\t"a\tb"\tno\n2\t"\t"c\tyes\n'
    (tmp_path / "x.tsv").write_text(text)
    assert [(e.sentence1, e.sentence2) for e in every_example(TextFile.open(tmp_path / "x.tsv"), "en")] == [('"a', 'b"'), ('"', '"c')]
