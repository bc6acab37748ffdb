"""Target vocabularies: the single-piece whole words among a language's most frequent (paper §2.1, footnotes 2 and 3).

References: wordfreq's own list; a definition word by word with the BERT tokenizer of transformers and sentencepiece.
"""

import numpy as np
import pytest
import sentencepiece
import wordfreq
from transformers import BertTokenizerFast

from preprocess import target_vocabulary as command
from preprocess.distillation import target_vocabularies as vocabularies
from preprocess.distillation.target_vocabularies import highest, target_vocabularies, target_vocabulary
from preprocess.distillation.word_lists import REFERENCES
from salt_fairseq.plm import PLM
from support.in_process import call, error_of
from support.word_lists import frequencies

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("language", ["en", "de", "ru"])
def test_frequencies_are_wordfreqs(language):
    """wordfreq's own lists are without case."""
    found = frequencies(language)
    assert list(found) == [w for w in wordfreq.top_n_list(language, 30_000) if any(c.isalpha() for c in w)][:10_000]
    some = list(found)[::250]
    expected = [wordfreq.word_frequency(w, language, wordlist="small") for w in some]
    np.testing.assert_allclose([found[w] for w in some], expected, rtol=6e-3)  # word_frequency rounds to three digits
    assert 0.7 < sum(found.values()) < 1


def test_list_with_counts(tmp_path):
    (tmp_path / "list").write_text("\ufeffun 10\nLe 60\n\nle\t15.0\n1999 500\nDie 15\n", encoding="utf-8")
    assert frequencies("xx", tmp_path / "list") == {"le": 0.75, "die": 0.15, "un": 0.1}


def test_list_without_counts(tmp_path):
    """Zipf's law: the word of rank k has a frequency proportional to 1 / k."""
    (tmp_path / "list").write_text("the\nof\nand\n", encoding="utf-8")
    assert frequencies("xx", tmp_path / "list") == pytest.approx({"the": 6 / 11, "of": 3 / 11, "and": 2 / 11})


def test_long_list_is_cut(tmp_path):
    (tmp_path / "list").write_text("".join(f"w{'x' * (i % 7)}{i} {i}\n" for i in range(1, 12_001)), encoding="utf-8")
    found = frequencies("xx", tmp_path / "list")
    assert len(found) == 10_000 and next(iter(found)).endswith("12000") and "wxxx2000" not in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("the 5\nof five\n", "line 2: 'of five' is neither a word nor 'word count'"),
        ("the 5\nnew york 7\n", "line 2: 'new york 7' is neither"),
        ("the 5\n\nof 3 4\n", "line 3: 'of 3 4' is neither"),
        ("the 5\nof nan\n", "line 2: 'of nan' is neither"),
        ("the inf\n", "line 1: 'the inf' is neither"),
        ("the 5\nof -1\n", "line 2: 'of -1' is neither"),
        ("the 0\n", "holds no words"),
        ("\n \n", "holds no words"),
        ("12\n...\n", "holds no words"),
        (b"\xe9t\xe9\n", "UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_bad_list(content, message, xlmr_plm, tmp_path):
    path = tmp_path / "list"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = error_of(command, xlmr_plm, "xx", "--word-list", f"xx={path}")
    assert str(path) in error and message in error


def single_pieces(kind, source, words):
    """The pieces that are, for the model's own tokenizer, all of a word of ``words`` in some spelling of its case."""
    if kind == "bert":
        tokenizer = BertTokenizerFast.from_pretrained(source)

        def pieces(texts):
            return [encoding.tokens for encoding in tokenizer(texts, add_special_tokens=False).encodings]
    else:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(source / "sentencepiece.bpe.model"))

        def pieces(texts):
            return processor.encode(texts, out_type=str)

    marker = "" if kind == "bert" else "▁"
    spellings = {s for w in words for v in (w, w.replace("ss", "ß")) for s in (v, v.title(), v.upper())}
    found = {cut[0] for cut in pieces(sorted(spellings)) if len(cut) == 1 and cut[0].startswith(marker)}
    return found - {"[UNK]"}


@pytest.mark.parametrize(("kind", "language"), [("bert", "fr"), ("bert", "de"), ("xlmr", "en"), ("xlmr", "de")])
def test_definition_word_by_word(kind, language, request):
    plm = PLM.load(request.getfixturevalue(f"{kind}_plm"))
    words, source_words = frequencies(language), frequencies("en")
    found = target_vocabulary(plm.tokenizer, words)
    expected = single_pieces(kind, request.getfixturevalue(f"{kind}_dir"), words)
    assert {plm.tokenizer.pieces[i] for i in found} == expected and len(expected) > 200
    assert found.dtype == np.int64 and (np.diff(found) > 0).all()
    if kind == "xlmr":  # words as they are listed; an uncased BERT reads some of them as one
        kept = target_vocabulary(plm.tokenizer, words, source_words)
        shared = {p for p in expected if source_words.get(p[1:].casefold(), 0) > words[p[1:].casefold()] / 2}
        assert {plm.tokenizer.pieces[i] for i in kept} == expected - shared and (language == "en" or shared)


def test_words_that_are_frequent_in_the_source_language(xlmr_plm):
    """What the option is for: the French list holds *house* and *the*."""
    tokenizer = PLM.load(xlmr_plm).tokenizer
    words = frequencies("fr")
    all_, own = ({tokenizer.words[i] for i in target_vocabulary(tokenizer, words, source)} for source in (None, frequencies("en")))
    assert {"the", "house"} <= all_ - own and {"le", "maison"} <= own


def test_words_that_are_much_more_frequent_in_another_language(xlmr_plm):
    """The German list holds *of*, the English one *la*; *person* is as good German as Swedish."""
    tokenizer = PLM.load(xlmr_plm).tokenizer
    lists = {language: frequencies(language) for language in REFERENCES}
    found = target_vocabularies(tokenizer, ["de", "en", "ru"], {}, "en", keep_shared=False)
    for language, ids in found.items():
        words, own = frequencies(language), {tokenizer.words[i].casefold() for i in ids}
        in_script = {word: f for word, f in words.items() if language != "ru" or not set(word) & set("abcdefghijklmnopqrstuvwxyz")}
        dropped = {tokenizer.words[i].casefold() for i in target_vocabulary(tokenizer, in_script)} - own
        expected = {
            w
            for w in dropped | own
            for other in lists
            if other != language
            if lists[other].get(w, 0) > 3 * words[w] or language != "en" == other and 2 * lists[other].get(w, 0) > words[w]
        }
        assert dropped == expected
        assert {"de": "of", "en": "la", "ru": "of"}[language] not in own
        assert language == "ru" or own | dropped == {tokenizer.words[i].casefold() for i in target_vocabulary(tokenizer, words)}
    assert "la" in {tokenizer.words[i] for i in target_vocabulary(tokenizer, lists["en"])}


def test_lists_of_ones_own_count_as_other_languages(xlmr_plm, tmp_path, monkeypatch):
    """A language's vocabulary depends on the source language and the references, not on the other target languages."""
    tokenizer = PLM.load(xlmr_plm).tokenizer
    lists = {"en": "the 94\nhouse 6", "fr": "la 13\nde 16\nmaison 71", "xx": "la 40\nmaison 10\nhouse 45\nde 5", "yy": "la 1\nhouse 13\nmaison 86"}
    for language, text in lists.items():
        (tmp_path / language).write_text(text + "\n", encoding="utf-8")
    files = {language: tmp_path / language for language in lists}
    monkeypatch.setattr(vocabularies, "REFERENCES", ("en", "fr"))
    found = [target_vocabularies(tokenizer, some, files, "en", keep_shared=False) for some in (["xx", "yy"], ["xx"])]
    assert found[0]["xx"].tolist() == found[1]["xx"].tolist()
    texts = {language: {tokenizer.words[i].lower() for i in ids} for language, ids in found[0].items()}
    assert texts == {"xx": {"la", "house"}, "yy": {"house", "maison"}}  # de: .05 * 3 < .16; maison: .10 * 3 < .71; la: .01 * 3 < .13


def test_highest():
    assert highest([{"a": 0.25, "b": 0.5}, {"b": 0.125, "c": 1.0}, {"a": 0.75}]) == {"a": 0.75, "b": 0.5, "c": 1.0}
    assert highest([]) == {}


def test_uncased_vocabulary_reads_accents_away(tmp_path, bert_plm):
    """Its schön is schon, whatever the list holds."""
    tokenizer = PLM.load(bert_plm).tokenizer
    (tmp_path / "list").write_text("schönes 3\nschön 2\nlá 1\n", encoding="utf-8")
    words = frequencies("xx", tmp_path / "list")
    assert "la" in tokenizer.pieces and "la" not in words
    assert [tokenizer.words[i] for i in target_vocabulary(tokenizer, words)] == ["la", "schon"]
    assert [tokenizer.words[i] for i in target_vocabulary(tokenizer, words, {"la": 0.5})] == ["schon"]
    assert [tokenizer.words[i] for i in target_vocabulary(tokenizer, words, None, {"schön": 0.6, "lá": 0.6})] == ["schon"]


def test_table(xlmr_plm, xlmr_dir, capsys):
    call(command, xlmr_plm, "de", "en", "fr")
    header, *rows, footer = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["language", "overlap", "words", "pieces"] and header.endswith("own  as target")
    assert "10,000" in footer and str(xlmr_plm) in footer
    overlaps = []
    for row in rows:
        language, overlap, *numbers, fitness = row.replace("/", " ").split()
        held, listed, pieces, own = (int(n.replace(",", "")) for n in numbers)
        found = single_pieces("xlmr", xlmr_dir, frequencies(language))
        assert held == len({p.casefold() for p in found}) and listed == 10_000 and pieces == len(found) >= held
        assert overlap == f"{held / 100:.1f}%" and own < pieces and fitness in ("good", "weak")
        overlaps.append(held)
    assert sorted(row.split()[0] for row in rows) == ["de", "en", "fr"] and overlaps == sorted(overlaps, reverse=True)


def test_list_of_ones_own(xlmr_plm, tmp_path, capsys):
    (tmp_path / "list").write_text("Maison\nxyzzyx\nle\n", encoding="utf-8")
    call(command, xlmr_plm, "sw", "--word-list", f"sw={tmp_path / 'list'}")
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["sw", "66.7%", "2/", "3"]


@pytest.mark.parametrize("language", ["sw", "frr", "FR", "english"])
def test_language_without_a_list(language, xlmr_plm):
    message = error_of(command, xlmr_plm, "fr", language)
    assert f"no word list for language {language!r}" in message and f"--word-list {language}=FILE" in message
