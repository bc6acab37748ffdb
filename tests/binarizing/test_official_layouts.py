"""The layouts in which XNLI, PAWS-X, XTREME, SIB-200 and xSID are published, in miniature, written here as their files look."""

import json
import lzma

import pytest

from preprocess import binarize
from preprocess.text.official_layouts import official_files
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.data.subset import Subset
from salt_fairseq.errors import InputError
from salt_fairseq.plm import PLM
from support.in_process import call

XNLI_COLUMNS = (
    "language gold_label sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse sentence1 "
    "sentence2 promptID pairID genre label1 label2 label3 label4 label5 sentence1_tokenized "
    "sentence2_tokenized match"
).split()
PREMISES = {
    "en": ["And he said, \"Mama, I'm home.", 'The "house" is green', 'Quote " alone'],
    "de": ['und er sagte , Mama , ich bin " da .', "Das Haus ist grün", "Zitat"],
    "ar": ["وقال ، ماما", "المنزل أخضر", "اقتباس"],
}
COUNT = ["one", "two", "three"]
LANGUAGES_OF_XNLI = "ar bg de el en es fr hi ru sw th tr ur vi zh".split()


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def texts(plm, data, side, subset):
    """The sentences of a subset, decoded."""
    sequences = data.sentences(subset, side)
    return [plm.decode(sequences[i]) for i in range(len(sequences))]


@pytest.fixture(scope="module")
def plm(xlmr_plm):
    return PLM.load(xlmr_plm)


def decoded(plm, sentences):
    """What decoding makes of these sentences: characters that the tiny vocabulary lacks are lost."""
    return [plm.decode(plm.encode(sentence)) for sentence in sentences]


def xnli_rows(split):
    """Languages one after another; pair ids are equal across them, in an order of their own in German."""
    for language in LANGUAGES_OF_XNLI:
        premises = PREMISES.get(language, PREMISES["en"])
        for i in (2, 0, 1) if language == "de" else (0, 1, 2):
            label = ["entailment", "contradiction", "neutral"][i]
            row = dict.fromkeys(XNLI_COLUMNS, "x") | {
                "language": language,
                "gold_label": label,
                "sentence1_binary_parse": "",
                "sentence1": premises[i],
                "sentence2": f"{split} {COUNT[i]}",
                "pairID": str(100 + i),
                "promptID": "1",
            }
            yield [row[name] for name in XNLI_COLUMNS]


# facebookresearch/XNLI#11: one of XNLI's archives says contradictory, the paper and MNLI contradiction
def test_xnli(plm, xlmr_plm, tmp_path, capsys):
    source = tmp_path / "downloads"
    write(source / "XNLI-1.0" / "xnli.dev.tsv", [XNLI_COLUMNS, *xnli_rows("dev")])
    write(source / "XNLI-1.0" / "xnli.test.tsv", [XNLI_COLUMNS, *xnli_rows("test")])
    train = [('He said "so .', "No", "contradictory"), ("Good", "Great", "entailment"), ("A", "B", "neutral")] * 2
    write(source / "XNLI-MT-1.0" / "multinli" / "multinli.train.en.tsv", [("premise", "hypo", "label"), *train])
    write(source / "XNLI-MT-1.0" / "multinli" / "multinli.train.fr.tsv", [("premise", "hypo", "label"), *train])
    call(binarize, xlmr_plm, tmp_path / "data", "--xnli", source)
    data = DataDirectory(tmp_path / "data")
    assert set(data.meta["subsets"]) == {"train", "valid", *(f"{s}.{c}" for s in ("valid", "test") for c in LANGUAGES_OF_XNLI)}
    assert data.labels == ["entailment", "neutral", "contradiction"]
    assert data.targets("train").tolist() == [2, 0, 1, 2, 0, 1]
    assert data.targets("valid").tolist() == data.targets("test.ar").tolist() == [0, 2, 1]
    assert data.ids("test.de") == ["102", "100", "101"] and data.targets("test.de").tolist() == [1, 0, 2]
    for language, premises in PREMISES.items():
        order = [int(i) - 100 for i in data.ids(f"test.{language}")]
        assert texts(plm, data, "input0", f"test.{language}") == decoded(plm, [premises[i] for i in order])
        assert texts(plm, data, "input1", f"test.{language}") == [f"test {COUNT[i]}" for i in order]
    assert texts(plm, data, "input0", "valid") == texts(plm, data, "input0", "valid.en")
    (premises, hypotheses), (first, second), targets = data.load("test.de-ar")
    assert [plm.decode(hypotheses[i]) for i in second] == ["test three", "test one", "test two"] and targets.tolist() == [1, 0, 2]
    assert f"{len(train) + 31 * 3} examples" in capsys.readouterr().out


HEADER = ("id", "sentence1", "sentence2", "label")
NS = ("NS", "NS", "0")


def paws(language, untranslated=()):
    """Four examples, some of them never translated."""
    rows = [
        (f"{language} one", f"{language} eins", "1"),
        (f"{language} two", f"{language} zwei", "0"),
        (f"{language} three", f"{language} drei", "1"),
        (f"{language} four", f"{language} vier", "0"),
    ]
    return [NS if i in untranslated else row for i, row in enumerate(rows)]


# google-research-datasets/paws#15: placeholders NS in the validation and test sets
def test_pawsx(plm, xlmr_plm, tmp_path, capsys):
    def numbered(rows):
        return [HEADER, *((str(i), *row) for i, row in enumerate(rows, 1))]

    for language, untranslated in (("en", ()), ("de", [1]), ("fr", [0, 3])):
        for split in ("dev_2k", "test_2k"):
            write(tmp_path / "x-final" / language / f"{split}.tsv", numbered(paws(language, untranslated)))
    write(tmp_path / "x-final" / "en" / "train.tsv", numbered(paws("train")))
    write(tmp_path / "x-final" / "de" / "translated_train.tsv", numbered(paws("translated")))
    call(binarize, xlmr_plm, tmp_path / "data", "--pawsx", tmp_path / "x-final")
    assert "skipped 6 rows without translation (NS) and 0 without label" in capsys.readouterr().out
    data = DataDirectory(tmp_path / "data")
    expected = {"train", "valid", *(f"{s}.{c}" for s in ("valid", "test") for c in ("en", "de", "fr"))}
    assert set(data.meta["subsets"]) == expected and data.labels == ["0", "1"]
    assert texts(plm, data, "input0", "train")[0] == "train one"
    assert data.ids("test.de") == ["1", "3", "4"] and data.targets("test.de").tolist() == [1, 1, 0]
    assert data.meta["subsets"]["test.fr"]["skipped"] == {"NS": 2, "-": 0, "blank": 0, "other language": 0}
    (premises, hypotheses), (first, second), targets = data.load("test.de-fr")
    assert [plm.decode(premises[i]) for i in first] == ["de three"]
    assert [plm.decode(hypotheses[i]) for i in second] == ["fr drei"] and targets.tolist() == [1]


# google-research/xtreme#57, #70: the first example was skipped as a header that these files do not have
def test_xtreme(plm, xlmr_plm, tmp_path):
    """No header and no ids: the line is the example's id, also where lines before it are skipped."""
    source = tmp_path / "pawsx"
    write(source / "train-en.tsv", paws("train"))
    for language, untranslated in (("en", ()), ("de", [0, 1]), ("fr", [0])):
        write(source / f"dev-{language}.tsv", paws(language, untranslated))
        write(source / f"test-{language}.tsv", paws(language, untranslated))
    call(binarize, xlmr_plm, tmp_path / "data", "--xtreme", source)
    data = DataDirectory(tmp_path / "data")
    expected = {"train", "valid", *(f"{s}.{c}" for s in ("valid", "test") for c in ("en", "de", "fr"))}
    assert set(data.meta["subsets"]) == expected
    assert data.ids("test.de") == ["3", "4"] and data.ids("test.fr") == ["2", "3", "4"]
    (premises, hypotheses), (first, second), targets = data.load("test.fr-de")
    assert [plm.decode(premises[i]) for i in first] == ["fr three", "fr four"]
    assert [plm.decode(hypotheses[i]) for i in second] == ["de drei", "de vier"] and targets.tolist() == [1, 0]


TOPICS = [
    ("index_id", "category", "text"),
    ("7", "science and/or technology", '"""So, it turns,"" she said."'),
    ("9", "travel", "A new garden"),
    *((str(id), "travel", "A new garden") for id in (4, 3, 2)),
]


def test_sib200(plm, xlmr_plm, tmp_path, capsys):
    """Cells quoted as in CSV, labels with spaces and slashes, and FLORES codes: the script is part of the language where it is not the usual one."""
    for code in ("eng_Latn", "deu_Latn", "zho_Hans", "zho_Hant", "arb_Arab", "swh_Latn"):
        for split in ("train", "dev", "test"):
            write(tmp_path / "x" / "annotated" / code / f"{split}.tsv", TOPICS)
    call(binarize, xlmr_plm, tmp_path / "data", "--sib200", tmp_path / "x", "--languages", "de,zh-Hant,ar,sw")
    data = DataDirectory(tmp_path / "data")
    languages = ("en", "de", "zh-Hant", "ar", "sw")
    assert set(data.meta["subsets"]) == {"train", "valid", *(f"{split}.{language}" for split in ("valid", "test") for language in languages)}
    assert data.labels == ["science and/or technology", "travel"] and data.ids("test.de") == ["7", "9", "4", "3", "2"] and not data.is_pairs
    assert texts(plm, data, "input0", "train") == decoded(plm, ['"So, it turns," she said.', *["A new garden"] * 4])
    assert (tmp_path / "data" / "label" / "dict.txt").read_text().splitlines() == ["science and/or technology 1", "travel 4"]
    files, left_out = official_files("sib200", tmp_path / "x", "en,de")
    assert {name for name in files if "train" in name} == {"train.en", "train.de"} and len(files) == 2 + 2 * 6 and len(left_out) == 4


def test_xsid(plm, xlmr_plm, tmp_path):
    """Intents with slashes; dialects; the training set has one intent under two names, of which the test sets know one."""
    rows = [("text", "intent"), ("Is it hot ?", "weather/find"), ("play it", "PlayMusic")]
    (tmp_path / "x").mkdir()
    train = "".join("\t".join(row) + "\n" for row in [*rows, ("is it cold", "GetWeather")])
    (tmp_path / "x" / "train.en.tsv.xz").write_bytes(lzma.compress(train.encode()))
    for name in ("en.valid", "en.test", "de-st.test", "gsw.test", "de.test.old", "train.de"):
        write(tmp_path / "x" / f"{name}.tsv", rows)
    call(binarize, xlmr_plm, tmp_path / "data", "--xsid", tmp_path / "x")
    data = DataDirectory(tmp_path / "data")
    assert set(data.meta["subsets"]) == {"train", "valid", "valid.en", "test.en", "test.de_st", "test.gsw"}
    assert data.labels == ["weather/find", "PlayMusic"] and data.targets("train").tolist() == data.targets("test.de_st").tolist() == [0, 1]
    assert data.language("test.de_st") == "de_st" and texts(plm, data, "input0", "train")[1] == "play it"


def test_a_language_of_xnli_that_is_no_other(tmp_path):
    for language in ("en", "fr", "zh"):
        write(tmp_path / f"multinli.train.{language}.tsv", [])
    write(tmp_path / "xnli.dev.tsv", [])
    files, left_out = official_files("xnli", tmp_path, "fr,zh", languages=["de"])
    assert set(files) == {"train.fr", "train.zh", "valid.fr", "valid.zh", "valid.de"} and [path.name for path in left_out] == ["multinli.train.en.tsv"]


def test_a_subset_of_ones_own_wins(plm, xlmr_plm, tmp_path):
    write(tmp_path / "x" / "train-en.tsv", paws("theirs"))
    write(tmp_path / "mine.tsv", paws("mine"))
    call(binarize, xlmr_plm, tmp_path / "data", "--xtreme", tmp_path / "x", "--subset", f"train={tmp_path / 'mine.tsv'}")
    data = DataDirectory(tmp_path / "data")
    assert texts(plm, data, "input0", "train")[0] == "mine one"
    assert json.loads((tmp_path / "data" / "meta.json").read_text())["subsets"]["train"]["file"].endswith("mine.tsv")


def test_part_of_a_layout(tmp_path):
    write(tmp_path / "XNLI-1.0" / "xnli.test.tsv", [XNLI_COLUMNS])
    assert set(official_files("xnli", tmp_path)[0]) == {f"test.{language}" for language in LANGUAGES_OF_XNLI}


@pytest.mark.parametrize(
    "layout, names, others",
    [
        ("xtreme", ["train-fr.tsv", "dev-fr.tsv", "test-pt-BR.tsv", "test-zh-Hans.tsv"], ["train-en.tsv", "translate-train.tsv", "test-de (1).tsv"]),
        (
            "pawsx",
            ["fr/train.tsv", "fr/dev_2k.tsv", "pt-BR/test_2k.tsv", "zh-Hans/test_2k.tsv"],
            ["fr/._dev_2k.tsv", "fr/old_dev_2k.tsv", "en/train.tsv", "fr/train_2k.tsv"],
        ),
    ],
)
def test_exact_names_in_another_source_language(layout, names, others, tmp_path):
    for name in names + others:
        write(tmp_path / name, paws("x"))
    train, valid, brazil, simplified = (tmp_path / name for name in names)
    files, left_out = official_files(layout, tmp_path, "fr")
    assert files == {"train": train, "valid": valid, "valid.fr": valid, "test.pt-BR": brazil, "test.zh-Hans": simplified}
    assert set(left_out) == {tmp_path / name for name in others}
    assert Subset.parse("test.pt-BR").pair("en") == ("pt-BR", "pt-BR") and Subset.parse("test.en-zh-Hans").pair("en") == ("en", "zh-Hans")


INCOMPLETE = [  # layout, files, source language, the split that is missing
    ("xnli", ["multinli.train.en.tsv", "xnli.dev.tsv", "xnli.test.tsv"], "de", "train"),
    ("xnli", ["multinli.train.en.tsv"], "en", None),
    ("xnli", ["xnli.dev.tsv", "xnli.test.tsv"], "en", "train"),
    ("xnli", ["multinli.train.it.tsv", "xnli.dev.tsv"], "it", "valid"),
    ("xnli", ["multinli.train.de.tsv", "xnli.dev.tsv"], "de", None),
    ("pawsx", ["en/train.tsv", "en/dev_2k.tsv", "de/dev_2k.tsv"], "de", "train"),
    ("pawsx", ["de/train.tsv", "en/dev_2k.tsv"], "de", "valid"),
    ("pawsx", ["de/translated_train.tsv", "de/test_2k.tsv"], "de", None),
    ("xtreme", ["train-en.tsv", "dev-en.tsv", "dev-fr.tsv"], "fr", "train"),
    ("xtreme", ["train-fr.tsv", "dev-en.tsv", "test-fr.tsv"], "fr", "valid"),
    ("xtreme", ["train-pt-BR.tsv", "test-fr.tsv"], "pt", "train"),
    ("xtreme", ["test-fr.tsv", "test-en.tsv"], "en", None),
]


@pytest.mark.parametrize("layout, names, source, missing", INCOMPLETE)
def test_files_of_the_source_language(layout, names, source, missing, tmp_path):
    """Without them, training would be on another language, or on nothing; with --subset, or tests alone, it is all right."""
    for name in names:
        write(tmp_path / name, paws("x"))
    if missing:
        with pytest.raises(InputError, match=rf"^--{layout} \S+ has no {missing} file in the source language '{source}' \(.*--subset {missing}=FILE$"):
            official_files(layout, tmp_path, source)
    official_files(layout, tmp_path, source, [missing])


@pytest.mark.parametrize(
    "layout, names", [("xnli", ["XNLI-1.0/xnli.test.tsv", "copy of XNLI-1.0/xnli.test.tsv"]), ("pawsx", ["x-final/fr/test_2k.tsv", "old/fr/test_2k.tsv"])]
)
def test_two_files_of_one_name(layout, names, tmp_path):
    for name in names:
        write(tmp_path / name, paws("x"))
    with pytest.raises(InputError) as raised:
        official_files(layout, tmp_path)
    assert all(str(tmp_path / name) in str(raised.value) for name in names) and "leave one of them out" in str(raised.value)


ODD = {  # names that look like those of a layout
    "xnli": ["._xnli.dev.tsv", "xnli.dev (1).tsv", "xnli.dev.tsv.tsv", "multinli.train.en.tsv.part.tsv", "XNLI.test.tsv", "xnli.test.de.tsv"],
    "pawsx": ["fr/._test_2k.tsv", "fr/test_2k (1).tsv", "fr/TEST_2k.tsv", "backup/dev_2k.tsv", "fr/test.tsv", "test_2k.tsv", "FR/test_2k.tsv"],
    "xtreme": [
        "._test-fr.tsv",
        "test-fr.tsv.tsv",
        "test-fr-old.tsv",
        "test-fr_FR.tsv",
        "test-final.tsv",
        "test-.tsv",
        "Test-fr.tsv",
        "test.tsv",
        "dev-english.tsv",
    ],
}


@pytest.mark.parametrize("layout", ODD)
def test_odd_names_are_left_out_and_listed(layout, xlmr_plm, tmp_path, capsys):
    names = {"xnli": "xnli.test.tsv", "pawsx": "en/test_2k.tsv", "xtreme": "test-en.tsv"}
    write(tmp_path / "x" / names[layout], [XNLI_COLUMNS, *xnli_rows("test")] if layout == "xnli" else paws("en") * 2)
    for name in ODD[layout]:
        write(tmp_path / "x" / name, [("never", "read")])
    call(binarize, xlmr_plm, tmp_path / "data", f"--{layout}", tmp_path / "x")
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == f"--{layout}: left out, by their names no files of the layout in this source language: {', '.join(sorted(ODD[layout]))}"
    subsets = list(DataDirectory(tmp_path / "data").meta["subsets"])
    assert subsets == ([f"test.{language}" for language in LANGUAGES_OF_XNLI] if layout == "xnli" else ["test.en"])
