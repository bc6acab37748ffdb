"""look_up.py against words, spans and substitutes that are worked by hand for tiny vocabularies."""

import json
import shutil

import pytest

from preprocess import look_up
from preprocess.text.dictionaries import read_dictionary
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.lexicon import Lexicon
from salt_fairseq.errors import InputError
from salt_fairseq.storage.files import sha256
from support.edited import edited
from support.in_process import error_of
from support.tiny_plm import UNIGRAMS, WORDPIECES, binarized, looked_up, tiny_plm

PAIRS = [
    ("The houseboats sleeps.", "House, the big cat"),
    ("the cat sleeps", "don't the 3 résumé the"),
    ("big cat, big house", "sleeps"),
    ("dragon", "the dragon the"),
]
SIDES = ["input0", "input1"]


@pytest.fixture(scope="module")
def plms(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return {
        "wordpiece": tiny_plm(root / "cased"),
        "uncased": tiny_plm(root / "uncased", lowercase=True),
        "sentencepiece": tiny_plm(root / "unigram", "sentencepiece"),
    }


def listed(data, pieces, name="muse", sides=SIDES):
    """Listed words of each side's sentences, ``(word, start, end, {language: substitutes})``, spelt from their pieces."""
    names = ["<", "<", "<", "[UNK]", *pieces]

    def spelt(ids):
        return "".join(names[i].removeprefix("##").removeprefix("▁") for i in ids.tolist())

    lexicon, found = Lexicon(data, name, "train", sides), {}
    for number, side in enumerate(sides):
        sentences = DataDirectory(data).sentences("train", side)
        found[side] = [[] for _ in range(len(sentences))]
        for i in range(len(sentences)):
            for entry, start, end in lexicon.listed(number, i):
                choices = {language: [spelt(lexicon.substitute(c)) for c in lexicon.choices(entry, k)] for k, language in enumerate(lexicon.languages)}
                found[side][i].append((spelt(sentences[i][start:end]), start, end, choices))
    return found


def spans(found):
    return [[[word[:3] for word in sentence] for sentence in sentences] for sentences in found.values()]


def test_spans_and_substitutes(plms, tmp_path, capsys):
    """Cased WordPiece reads ``The house ##boat ##s sleeps .`` and ``dragon`` as unknown. MUSE's layout with one space, two,
    a tab, an empty line; words without case, of several pieces, with punctuation between; itself is no substitute."""
    data = binarized(plms["wordpiece"], tmp_path / "data", PAIRS)
    french = "the le\nthe\tla\n\nhouse  maison\nthe le\nhouse demeure\nHOUSEBOATS peniche\ncat cat\ncat Cat\ncat chat\nbig grande\nship navire\n"
    looked_up(plms["wordpiece"], data, fr=french, de="house Haus\nHouse Hausboot\nsleeps zzz\n")
    found = listed(data, WORDPIECES)
    assert spans(found) == [
        [
            [("The", 0, 1), ("houseboats", 1, 4), ("sleeps", 4, 5)],
            [("the", 0, 1), ("cat", 1, 2), ("sleeps", 2, 3)],
            [("big", 0, 1), ("cat", 1, 2), ("big", 3, 4), ("house", 4, 5)],
            [],
        ],
        [[("House", 0, 1), ("the", 2, 3), ("big", 3, 4), ("cat", 4, 5)], [("the", 3, 4), ("the", 6, 7)], [("sleeps", 0, 1)], [("the", 0, 1), ("the", 2, 3)]],
    ]
    substitutes = {
        "the": {"fr": ["le", "la"], "de": []},
        "houseboats": {"fr": ["peniche"], "de": []},
        "cat": {"fr": ["chat"], "de": []},
        "house": {"fr": ["maison", "demeure"], "de": ["Haus", "Hausboot"]},
        "big": {"fr": ["grande"], "de": []},
        "sleeps": {"fr": [], "de": ["[UNK]"]},
    }
    for sentences in found.values():
        assert all(choices == substitutes[word.lower()] for sentence in sentences for word, _, _, choices in sentence)
    lexicon = Lexicon(data, "muse", "train", SIDES)
    entry, *_ = lexicon.listed(0, 2)[3]
    number = {piece: i for i, piece in enumerate(WORDPIECES, 4)}
    assert [lexicon.substitute(c).tolist() for c in lexicon.choices(entry, 1)] == [[number["Haus"]], [number["Haus"], number["##boot"]]]
    # the houseboats sleeps cat big house, and don, t: 8 words; 7 + 3 substitutes; 21 of 31 tokens.
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"wrote {data / 'lexicons' / 'muse'}: 6 of 8 distinct words listed, 10 substitutes in fr, de; 67.7% of tokens belong to a listed word"
    )


def test_sentencepiece(plms, tmp_path):
    """A word is its first piece, which carries the marker, and the lettered pieces that follow."""
    data = binarized(plms["sentencepiece"], tmp_path / "data", [("The houseboats sleeps.", "Houseboat, the big cat")])
    looked_up(plms["sentencepiece"], data, fr="houseboats peniche\nhouseboat peniche\nthe maison\n", de="cat Katze\nhouseboats Hausboot\n")
    found = listed(data, UNIGRAMS)
    assert spans(found) == [[[("The", 0, 1), ("houseboats", 1, 4)]], [[("Houseboat", 0, 2), ("the", 3, 4), ("cat", 5, 6)]]]
    assert found["input0"][0][1][3] == {"fr": ["peniche"], "de": ["Hausboot"]}
    assert found["input1"][0][2][3] == {"fr": [], "de": ["Katze"]}


def test_uncased_bert_drops_accents(plms, tmp_path):
    """The text has ``Résumé``, the dictionary ``résumé`` or ``resume``: the same word; its substitute is read alike."""
    data = binarized(plms["uncased"], tmp_path / "data", [("Résumé the RESUME", "the résumé")])
    looked_up(plms["uncased"], data, fr="RÉSUMÉ maison\nresume chat\n", es="the Cása\n")
    found = listed(data, WORDPIECES)
    assert spans(found) == [[[("resume", 0, 1), ("the", 1, 2), ("resume", 2, 3)]], [[("the", 0, 1), ("resume", 1, 2)]]]
    assert [found["input0"][0][k][3]["fr"] for k in (0, 2)] == [["maison", "chat"]] * 2
    assert found["input1"][0][0][3] == {"fr": [], "es": ["casa"]}


def test_json_and_the_word_itself(plms, tmp_path):
    """RS-DA: lists of neighbours, of several words too; the word itself comes first, as an empty substitute; a word
    without neighbours is not listed."""
    data = binarized(plms["wordpiece"], tmp_path / "data", PAIRS)
    neighbours = {"house": ["casa", "la maison"], "Big": ["grande"], "cat": [], "The": ["le", "the", "le"]}
    looked_up(plms["wordpiece"], data, "--name", "synonyms", "--include-word", en=neighbours)
    choices = {
        word.lower(): choices["en"] for sentences in listed(data, WORDPIECES, "synonyms").values() for sentence in sentences for word, _, _, choices in sentence
    }
    assert choices == {"the": ["", "le"], "house": ["", "casa", "lamaison"], "big": ["", "grande"]}
    meta = json.loads((data / "lexicons" / "synonyms" / "meta.json").read_text())
    assert meta["languages"] == ["en"] and meta["include_word"] is True
    assert meta["dictionaries_sha256"] == {"en": sha256(tmp_path / "en-en.json")}
    assert meta["sentences_sha256"] == {f"{side}/train": sha256(data / side / "train.bin") for side in SIDES}


def test_single_sentences(plms, tmp_path):
    data = binarized(plms["wordpiece"], tmp_path / "data", ["the house", "the cat"])
    looked_up(plms["wordpiece"], data, fr="cat chat\n")
    assert spans(listed(data, WORDPIECES, sides=SIDES[:1])) == [[[], [("cat", 1, 2)]]]
    assert not (data / "lexicons" / "muse" / "input1").exists()


def test_another_run_replaces_the_lexicon(plms, tmp_path, monkeypatch):
    """Completely, or not at all when it fails half-way; other lexicons, candidates and data stay."""
    plm, data = plms["wordpiece"], binarized(plms["wordpiece"], tmp_path / "data", PAIRS)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    looked_up(plm, data, fr="cat chat\n")
    looked_up(plm, data, "--name", "other", de="cat Haus\n")
    first = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    looked_up(plm, data, fr="house maison\n", es="house casa\n")
    again = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert first.keys() == again.keys() and before.items() <= first.items() and before.items() <= again.items()
    changed = {path.relative_to(data).parts[:2] for path in first if first[path] != again[path]}
    assert changed == {("lexicons", "muse")}
    assert spans(listed(data, WORDPIECES))[0][2] == [("house", 4, 5)]

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(look_up, "write_lexicon", full)
    with pytest.raises(OSError):
        looked_up(plm, data, fr="cat chat\n")
    assert again == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}


def test_other_sentences(plms, tmp_path):
    """Binarized again with one word changed: the lexicon is refused until it is made again."""
    plm, data = plms["wordpiece"], binarized(plms["wordpiece"], tmp_path / "data", PAIRS)
    looked_up(plm, data, fr="cat chat\n")
    saved = shutil.copytree(data / "lexicons", tmp_path / "lexicons")
    binarized(plm, data, [*PAIRS[:3], ("dragon", "the cat the")])
    shutil.copytree(saved, data / "lexicons")
    with pytest.raises(InputError, match=f"{data}/lexicons/muse was not made from {data}/input1/train as it is now: make it again with preprocess/look_up.py"):
        Lexicon(data, "muse", "train", SIDES)
    assert len(Lexicon(data, "muse", "train", SIDES[:1]).languages) == 1, "the first sentences are the same"
    looked_up(plm, data, fr="cat chat\n")
    assert spans(listed(data, WORDPIECES))[1][3] == [("cat", 1, 2)]


def test_unknown_and_damaged_lexicons(plms, tmp_path):
    plm, data = plms["wordpiece"], binarized(plms["wordpiece"], tmp_path / "data", PAIRS)
    with pytest.raises(InputError, match=r"has no lexicon 'muse' \(it has: none\): run preprocess/look_up.py"):
        Lexicon(data, "muse", "train", SIDES)
    looked_up(plm, data, fr="cat chat\nthe le\n")
    looked_up(plm, data, "--name", "other", fr="cat chat\n")
    with pytest.raises(InputError, match=r"has no lexicon 'must' \(it has: muse, other\): run preprocess/look_up.py"):
        Lexicon(data, "must", "train", SIDES)
    lexicon = data / "lexicons" / "muse"
    for name in ("substitutes.bin", "counts.bin", "input0/train.bin", "input1/train.idx", "meta.json"):
        whole = (lexicon / name).read_bytes()
        for damaged in (whole[: len(whole) // 2], None):
            (lexicon / name).unlink()
            if damaged is not None:
                (lexicon / name).write_bytes(damaged)
            with pytest.raises(InputError, match=f"{name.split('.')[0]}.*with preprocess/look_up.py"):
                Lexicon(data, "muse", "train", SIDES)
            (lexicon / name).write_bytes(whole)
    for suffix in ("bin", "idx"):
        shutil.copy(data / "lexicons" / "other" / f"counts.{suffix}", lexicon / f"counts.{suffix}")
    with pytest.raises(InputError, match="muse/counts.idx is not the file that .*meta.json describes: make it again with preprocess/look_up.py"):
        Lexicon(data, "muse", "train", SIDES)


@pytest.mark.parametrize(
    "name, text, sentence",
    [
        ("d.txt", "cat chat\n\ncat chat gros\n", "d.txt, line 3: 'cat chat gros' is not 'source target'"),
        ("d.txt", "cat chat\ncat\n", "d.txt, line 2: 'cat' is not 'source target'"),
        ("d.txt", b"cat ch\xe2t\n", "d.txt, line 1: not UTF-8 (invalid continuation byte), convert the text"),
        ("d.json", '{"cat": ["chat"]', "d.json cannot be read (Expecting ',' delimiter: line 1"),
        ("d.json", '["cat"]', "d.json is not a JSON object that maps each word to a list of substitutes"),
        ("d.json", '{"cat": "chat"}', "d.json is not a JSON object that maps each word to a list of substitutes"),
        ("d.json", '{"cat": ["chat", 3]}', "d.json is not a JSON object that maps each word to a list of substitutes"),
        ("d.json", '{"cat": {"chat": 1}}', "d.json is not a JSON object that maps each word to a list of substitutes"),
        ("gone.txt", None, "gone.txt cannot be read (No such file or directory"),
    ],
)
def test_bad_dictionaries(tmp_path, name, text, sentence):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as error:
        read_dictionary(tmp_path / name)
    assert str(error.value).removeprefix("dictionary ").startswith(f"{tmp_path}/{sentence}")


def test_dictionaries_with_a_mark_or_windows_line_ends(tmp_path):
    (tmp_path / "d.txt").write_bytes("\ufeffcat chat\r\nCat minou\r\n\r\ndog CHIEN".encode())
    assert read_dictionary(tmp_path / "d.txt") == {"cat": ["chat", "minou"], "dog": ["CHIEN"]}
    (tmp_path / "d.json").write_bytes('\ufeff{"cat": ["chat", "CAT"], "Cat": ["chat", "minou"], "Straße": []}'.encode())
    assert read_dictionary(tmp_path / "d.json") == {"cat": ["chat", "minou"], "strasse": []}


def test_bad_options(plms, tmp_path):
    """Nothing of the data directory is touched."""
    plm, data = plms["wordpiece"], binarized(plms["wordpiece"], tmp_path / "data", PAIRS)
    (tmp_path / "fr.txt").write_text("cat chat\n")
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    fr = ["--dictionary", f"fr={tmp_path / 'fr.txt'}"]
    for words in (["--dictionary", "fr.txt"], ["--dictionary", "=fr.txt"]):
        assert "LANG=FILE is needed" in error_of(look_up, plm, data, *words)
    assert "fr is given twice, also as" in error_of(look_up, plm, data, *fr, fr[1])
    for name in ("..", ".", "", "a/b", "../other", str(tmp_path / "x")):
        assert error_of(look_up, plm, data, "--name", name, *fr).startswith(f"--name {name}: a plain name is needed")
    assert "was binarized with the vocabulary of tiny" in error_of(look_up, plms["sentencepiece"], data, *fr)
    (tmp_path / "none.txt").write_text("dog chien\n")
    assert error_of(look_up, plm, data, "--dictionary", f"fr={tmp_path / 'none.txt'}") == (
        f"no word of {data} is listed in {tmp_path / 'none.txt'}: give dictionaries whose source language is that of the data (en)"
    )
    assert before == {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    with edited(data / "meta.json") as meta:
        meta["subsets"]["valid"] = meta["subsets"].pop("train")
    assert f"{data} has no subset 'train': binarize one with --subset train=FILE" == error_of(look_up, plm, data, *fr)


def test_dictionary_inside_the_lexicon(plms, tmp_path):
    """What is read is not replaced."""
    data = binarized(plms["wordpiece"], tmp_path / "data", PAIRS)
    looked_up(plms["wordpiece"], data, fr="cat chat\n")
    inside = shutil.copy(tmp_path / "en-fr.txt", data / "lexicons" / "muse" / "fr.txt")
    said = error_of(look_up, plms["wordpiece"], data, "--dictionary", f"fr={inside}")
    assert said == f"{data / 'lexicons' / 'muse'} holds {inside}, which is read by this command: choose another output path"
    assert inside.read_text() == "cat chat\n"
