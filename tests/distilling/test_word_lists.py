"""Scripts of languages, running text as a word list, and what a target vocabulary's size means.

References: the names of characters in Python's unicodedata; counts and numbers worked by hand.
"""

import sys
import types
import unicodedata

import numpy as np
import pytest
import wordfreq

from preprocess.distillation import running_text
from preprocess.distillation.scripts import is_in_scripts, scripts_of
from preprocess.distillation.target_vocabularies import Verdict, check_vocabularies, verdict
from preprocess.distillation.word_lists import frequencies
from salt_fairseq.errors import InputError

NAMES = {
    "Latn": "LATIN",
    "Cyrl": "CYRILLIC",
    "Arab": "ARABIC",
    "Grek": "GREEK",
    "Deva": "DEVANAGARI",
    "Beng": "BENGALI",
    "Taml": "TAMIL",
    "Thai": "THAI",
    "Hang": "HANGUL",
    "Hira": "HIRAGANA",
    "Kana": "KATAKANA",
    "Hani": "CJK",
}


@pytest.mark.parametrize(
    ("language", "scripts"),
    [
        ("en", "Latn"),
        ("vi", "Latn"),
        ("ru", "Cyrl"),
        ("ur", "Arab"),
        ("ta", "Taml"),
        ("th", "Thai"),
        ("zh", "Hani"),
        ("zh-Hant", "Hani"),
        ("ja", "Hira Kana Hani"),
        ("ko", "Hang Hani"),
        ("sr", "Cyrl"),
        ("sr-Latn", "Latn"),
        ("pt-BR", "Latn"),
        ("xx", ""),
        ("klingon", ""),
    ],
)
def test_scripts(language, scripts):
    assert scripts_of(language) == tuple(scripts.split())


@pytest.mark.parametrize("language", ["en", "ru", "ar", "el", "hi", "ta", "ko", "ja", "zh"])
def test_words_in_their_script(language):
    """Letters by the names of their characters, for the 2,000 most frequent words; marks and digits belong to any script."""
    names, kept = tuple(NAMES[script] for script in scripts_of(language)), 0
    for word in wordfreq.top_n_list(language, 2000, wordlist="small"):
        letters = [c for c in word if c.isalpha() and c not in "ー々"]  # marks of long vowels and repetition
        expected = all(unicodedata.name(c).startswith(names) for c in letters)
        assert is_in_scripts(word, scripts_of(language)) == expected, word
        kept += expected
    assert kept == 2000 if language == "en" else 1800 < kept < 2000


def test_any_script_of_an_unknown_language():
    assert is_in_scripts("maison", ()) and is_in_scripts("дом", ()) and not is_in_scripts("дoм", ("Cyrl",)), "its o is Latin"


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("The house, the garden.\nthe end\n", "en", {"the": 3 / 6, "house": 1 / 6, "garden": 1 / 6, "end": 1 / 6}),
        ("Nyumba kubwa na nyumba ndogo.\n\nNa 12!\n", "sw", {"nyumba": 2 / 6, "na": 2 / 6, "kubwa": 1 / 6, "ndogo": 1 / 6}),
        ("l'arbre et l'eau sont là", "fr", {"l": 2 / 7, "arbre": 1 / 7, "et": 1 / 7, "eau": 1 / 7, "sont": 1 / 7, "là": 1 / 7}),
        ("ghItlh nuqneH Qapla' nuqneH je", "klingon", {"nuqneh": 2 / 5, "ghitlh": 1 / 5, "qapla": 1 / 5, "je": 1 / 5}),
        ("the\nhouse of\ngarden\n", "en", None),  # two lines of three are entries
        ("the 5\nof 3\n. 9\n", "en", {"the": 5 / 8, "of": 3 / 8}),
    ],
)
def test_running_text(text, language, expected, tmp_path, capsys):
    """Where most lines are neither a word nor 'word count', words are counted; the punctuation of lists is not text."""
    (tmp_path / "text").write_text(text, encoding="utf-8")
    if expected is None:
        with pytest.raises(InputError, match="text, line 2: 'house of' is neither a word nor 'word count', as most lines are"):
            frequencies(language, tmp_path / "text")
        return
    assert frequencies(language, tmp_path / "text") == pytest.approx(expected)
    assert ("read as running text of" in capsys.readouterr().err) == (" 5" not in text)


def test_thai_is_cut_by_pythainlp(monkeypatch, tmp_path):
    (tmp_path / "text").write_text("ฉันรักบ้าน ฉันรักบ้าน\n" * 2, encoding="utf-8")
    fake = types.ModuleType("pythainlp.tokenize")
    fake.word_tokenize = lambda line: [line[start : start + 3] for start in range(0, 6, 3)]
    monkeypatch.setitem(sys.modules, "pythainlp", types.ModuleType("pythainlp"))
    monkeypatch.setitem(sys.modules, "pythainlp.tokenize", fake)
    assert frequencies("th", tmp_path / "text") == {"ฉัน": 0.5, "รัก": 0.5}


@pytest.mark.parametrize(
    ("language", "package", "said"),
    [
        ("th", "pythainlp", "'th' are separated by a package that is not installed (pythainlp"),
        ("zh", "jieba", "'zh' are separated by a package that is not installed (jieba"),
        ("zh-Hant", "jieba", "'zh' are separated by a package that is not installed (jieba"),
        ("ja", "MeCab", "'ja' are separated by a package that is not installed (MeCab"),
        ("km", "re", "running text in 'km' (script Khmr) has no spaces between words"),
    ],
)
def test_no_package_that_finds_the_words(language, package, said, monkeypatch):
    for module in ("wordfreq.chinese", "wordfreq.mecab", "pythainlp.tokenize"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    if package != "re":
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as error:
        running_text.segmenter(language)
    assert said in str(error.value) and "give a list, one word a line" in str(error.value)
    assert ("salt_fairseq[segmentation]" in str(error.value)) == (package != "re")


@pytest.mark.parametrize(
    ("words", "own_list", "expected"),
    [(0, False, "cannot serve"), (49, False, "cannot serve"), (50, False, "weak"), (299, False, "weak"), (300, False, "good")]
    + [(0, True, "cannot serve"), (1, True, "weak"), (299, True, "weak"), (300, True, "good")],
)
def test_verdict(words, own_list, expected):
    assert verdict(words, own_list) is Verdict(expected)


def test_small_vocabularies():
    """Spellings that differ in case are one word; every language that cannot serve is named."""
    tokenizer = types.SimpleNamespace(caseless=np.repeat(np.arange(400), 2))
    sizes = {"ru": 700, "ja": 98, "ta": 0, "bg": 200}
    all_of = {language: np.arange(size) for language, size in sizes.items()}
    with pytest.raises(InputError, match="substitutes: ja 49, ta 0; at least 50 are needed: leave .* --word-list ja=FILE"):
        list(check_vocabularies(tokenizer, all_of, {}))
    with pytest.raises(InputError, match=r"no word of the list for 'ta' is a single piece of the PLM's vocabulary \(script Taml\)"):
        list(check_vocabularies(tokenizer, all_of, {"ja": "list", "ta": "list"}))
    del all_of["ta"]
    warnings = list(check_vocabularies(tokenizer, all_of, {"ja": "list"}))
    assert [line.split(" words, ")[0] for line in warnings] == ["the target vocabulary of ja has only 49", "the target vocabulary of bg has only 100"]
