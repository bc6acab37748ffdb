"""What distilling reads, prints and refuses. References: counts by hand of sentences, positions and substitutions."""

import os
import re
import shutil
from collections import Counter

import pytest
import torch

from preprocess import binarize, distill
from salt_fairseq.candidates import open_candidates
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.errors import InputError
from salt_fairseq.plm import PLM
from salt_fairseq.storage.manifest import read_verified
from support.in_process import call, error_of
from support.running import QUICKSTART, read_tsv, run
from support.zipped import zip_equal

pytestmark = pytest.mark.slow

PAIRS = [
    ("The house is old .", "A new garden", "0"),
    ("A new garden", "It was the end .", "1"),
    ("the house is old .", "It was the end .", "1"),
    ("A new garden", "A new garden", "0"),
]


@pytest.fixture
def data(xlmr_plm, tmp_path):
    (tmp_path / "train.tsv").write_text("".join("\t".join(row) + "\n" for row in PAIRS), encoding="utf-8")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "en").write_text("the 9\nhouse 5\nold 3\nnew 2\ngarden 1\nend 1\nhe 1\n", encoding="utf-8")
    (tmp_path / "lists" / "fr").write_text("le 9\nla 8\nmaison 2\nthe 1\n", encoding="utf-8")
    (tmp_path / "lists" / "xx").write_text("the\n", encoding="utf-8")
    call(binarize, xlmr_plm, tmp_path / "data", "--subset", f"train={tmp_path / 'train.tsv'}")
    return tmp_path / "data"


def words(data, *languages, extra=()):
    """The command's words for these languages with the lists of ``data``, and no others to be read and compared."""
    lists = [f"{lang}={data.parent / 'lists' / lang}" for lang in {"en", *languages}]
    return ["--device", "cpu", "--languages", ",".join(languages), "--keep-shared-words", "--word-list", *lists, *extra]


# facebookresearch/fairseq#1520: a sentence that standard output cannot encode ended the generation
def test_output_that_cannot_be_encoded(data, xlmr_plm):
    """The arrow between words, and a name that is no UTF-8, are printed as escapes, after work that may have taken hours."""
    named = data.rename(data.with_name(os.fsdecode(b"caf\xe9")))
    done = run("python", "preprocess/distill.py", xlmr_plm, named, *words(named, "fr"), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    shares, last = done.stdout.splitlines()
    assert r"\u2192" in shares and last.startswith(rf"wrote {named.parent}/caf\udce9/candidates: fr, 8 sentences")
    assert len(open_candidates(named, "train", "fr")) == len(PAIRS)


def test_every_distinct_sentence_is_read_once(data, xlmr_plm, monkeypatch, capsys):
    read = []

    class Spy(distill.CandidateSearch):
        def __call__(self, sentences, masks):
            read.extend(tuple(s.tolist()) for s in sentences)
            return super().__call__(sentences, masks)

    monkeypatch.setattr(distill, "CandidateSearch", Spy)
    call(distill, xlmr_plm, data, *words(data, "en", "fr", extra=["--max-tokens", 16]))
    plm = PLM.load(xlmr_plm)
    distinct = {tuple(plm.encode(sentence).tolist()) for pair in PAIRS for sentence in pair[:2]}
    assert len(distinct) == 4 and sorted(read) == sorted(distinct)
    tokens = sum(len(s) - 1 for s in distinct)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"wrote {data / 'candidates'}: en, fr, 8 sentences (4 distinct, {tokens} tokens read)"
    for language in ("en", "fr"):
        first, second = (open_candidates(data, "train", language, side) for side in ("input0", "input1"))
        for (ids, log_probs), (same_ids, same_log_probs) in ((first[1], second[0]), (first[3], second[3])):
            assert torch.equal(ids, same_ids) and torch.equal(log_probs, same_log_probs)


def test_language_whose_only_word_is_the_token(data, xlmr_plm):
    """Its vocabulary holds *the* in three spellings at most: *the* has no candidate, and its place holds itself."""
    call(distill, xlmr_plm, data, *words(data, "xx"))
    sentences, candidates = DataDirectory(data).sentences("train", "input0"), open_candidates(data, "train", "xx")
    tokenizer = PLM.load(xlmr_plm).tokenizer
    for i in (0, 2):
        ids, log_probs = candidates[i]
        assert tokenizer.words[sentences[i][0]].lower() == "the"
        assert ids[0] == sentences[i][0] and log_probs[0] == -torch.inf
        assert all(tokenizer.words[k].lower() == "the" for k in ids[torch.isfinite(log_probs)])


def test_printed_statistics(xlmr_plm, tmp_path, capsys):
    """Share of tokens (eos left out) and most frequent substitutions at the paper's thresholds; a premise counts each time."""
    data, rows = tmp_path / "data", read_tsv(QUICKSTART / "train.en.tsv")
    lines = [f"{row['sentence1']}\t{other['sentence2']}\t1\n" for row, other in zip(rows[:60] * 3, rows)]
    (tmp_path / "train.tsv").write_text("".join(lines), encoding="utf-8")
    call(binarize, xlmr_plm, data, "--labels", "0,1", "--subset", f"train={tmp_path / 'train.tsv'}")
    capsys.readouterr()
    call(distill, xlmr_plm, data, "--device", "cpu", "--languages", "en,fr", "--keep-shared-words")
    lines = capsys.readouterr().out.splitlines()
    texts = PLM.load(xlmr_plm).tokenizer.words
    for line, language, tau in zip(lines, ("en", "fr"), (1e-3, 1e-7)):
        counts, tokens = Counter(), 0
        for side in ("input0", "input1"):
            sentences = DataDirectory(data).sentences("train", side)
            for i, (ids, log_probs) in enumerate(open_candidates(data, "train", language, side)):
                tokens += len(ids) - 1
                for own, id, log_prob in zip(sentences[i].tolist(), ids.tolist(), log_probs.exp().tolist()):
                    if log_prob >= tau:
                        counts[own, id] += 1
        share = 100 * sum(counts.values()) / tokens
        match = re.fullmatch(r"(\w+): ([\d.]+)% of tokens substituted at tau ([\de.-]+); (.*)", line)
        assert match[1] == language and match[2] == f"{share:.1f}" and float(match[3]) == tau and share > 5
        shown = [entry.rsplit(" ", 1) for entry in match[4].split(", ")]
        assert [int(n) for _, n in shown] == [n for _, n in counts.most_common(8)]
        for name, n in shown:
            assert int(n) in [m for (s, t), m in counts.items() if f"{texts[s]}→{texts[t]}" == name]


def test_another_plms_data(data, bert_plm):
    message = error_of(distill, bert_plm, data, "--device", "cpu")
    assert str(data) in message and "binarize the data with that PLM" in message


def test_missing_inputs(data, xlmr_plm, tmp_path):
    call(binarize, xlmr_plm, tmp_path / "valid", "--subset", f"valid={QUICKSTART / 'valid.en.tsv'}")
    assert "has no subset 'train'" in error_of(distill, xlmr_plm, tmp_path / "valid", *words(data, "fr"))
    assert "binarize.py" in error_of(distill, xlmr_plm, tmp_path / "absent", *words(data, "fr"))
    assert "import_plm.py" in error_of(distill, tmp_path / "absent", data, *words(data, "fr"))
    assert "no word list for language 'sw'" in error_of(distill, xlmr_plm, data, "--languages", "fr,sw", "--keep-shared-words", "--device", "cpu")
    (tmp_path / "lists" / "yy").write_text("xyzzyxy\n", encoding="utf-8")
    assert "no word of the list for 'yy'" in error_of(distill, xlmr_plm, data, *words(data, "yy"))
    assert not (data / "candidates").exists()


def test_damaged_plm(data, xlmr_plm, tmp_path):
    shutil.copytree(xlmr_plm, tmp_path / "plm")
    with open(tmp_path / "plm" / "model.pt", "r+b") as file:
        file.seek(2000)
        file.write(b"damage")
    assert "model.pt is not the file plm.json describes" in error_of(distill, tmp_path / "plm", data, *words(data, "fr"))


def test_too_few_words(data, xlmr_plm, capsys):
    """Of wordfreq's Tamil list, the PLM of European languages has no word in Tamil script; of one's own list, one is enough."""
    said = error_of(distill, xlmr_plm, data, "--languages", "fr,ta,bn", "--device", "cpu")
    assert "in the language's own script, to be substitutes: ta 0, bn 0; at least 50 are needed: leave" in said
    assert not (data / "candidates").exists()
    call(distill, xlmr_plm, data, *words(data, "fr"))
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: "))
    assert warning.startswith("warning: the target vocabulary of fr has only 4 words, and fewer than 300 leave")
    assert read_verified(data / "candidates" / "fr" / "meta.json", "")["target_vocabulary"] >= 3


def test_source_without_spaces(xlmr_plm, data, tmp_path, capsys):
    """One word that begins a sentence and goes on is no whole word: nothing would be substituted."""
    glued = ["thehouseisoldandthegardenisnewandthehouseisold" * 3, "itwastheendandthenewgarden" * 3]
    (tmp_path / "train.tsv").write_text(f"{glued[0]}\t{glued[1]}\t0\nthe\t{glued[0]}\t1\n", encoding="utf-8")
    call(binarize, xlmr_plm, tmp_path / "glued", "--subset", f"train={tmp_path / 'train.tsv'}")
    tokenizer = PLM.load(xlmr_plm).tokenizer
    lettered = sum(tokenizer.has_letter[i] for ids in tokenizer([*glued, "the"]) for i in ids)
    assert lettered > 40
    for positions, said in (
        ("words", [f"warning: only {100 / lettered:.1f}% of the tokens with a letter are whole words (source language en)"]),
        ("tokens", []),
    ):
        capsys.readouterr()
        call(distill, xlmr_plm, tmp_path / "glued", *words(data, "fr", extra=["--positions", positions]))
        warnings = [line for line in capsys.readouterr().err.splitlines() if "hardly anything can be substituted: use --positions tokens" in line]
        assert [line.split(", so hardly")[0] for line in warnings] == said
    meta = read_verified(tmp_path / "glued" / "candidates" / "fr" / "meta.json", "")
    assert meta["candidate_positions"] == meta["answered_positions"] == lettered
    call(distill, xlmr_plm, tmp_path / "glued", *words(data, "fr"))  # by default, hardly any words are not enough
    said = f"warning: only {100 / lettered:.1f}% of the tokens with a letter are whole words (source language en), so all of these tokens"
    assert said in capsys.readouterr().err
    assert read_verified(tmp_path / "glued" / "candidates" / "fr" / "meta.json", "") == meta


def test_inputs_and_other_directories_stay(data, xlmr_plm, tmp_path):
    """A directory that holds no candidates, and a word list inside candidates: refused before any work."""
    other = data / "candidates" / "fr"
    other.mkdir(parents=True)
    shutil.copy(tmp_path / "lists" / "fr", other / "words.txt")
    assert f"{other} exists and holds no meta.json" in error_of(distill, xlmr_plm, data, *words(data, "fr"))
    (other / "meta.json").write_text("{}")
    options = ["--languages", "fr", "--word-list", f"fr={other / 'words.txt'}"]
    assert f"{other} holds {other / 'words.txt'}, which is read by this command" in error_of(distill, xlmr_plm, data, *options)
    assert sorted(path.name for path in other.iterdir()) == ["meta.json", "words.txt"]


def test_stale_candidates(data, xlmr_plm, tmp_path):
    """Candidates of other sentences, as a copied folder may hold them, are refused; of the same sentences, taken."""
    call(distill, xlmr_plm, data, *words(data, "fr"))
    shutil.copytree(data / "candidates", tmp_path / "kept")
    train = tmp_path / "train.tsv"
    text = train.read_text()
    for changed in (False, True):
        train.write_text(text.replace("garden", "house") if changed else text)
        call(binarize, xlmr_plm, data, "--replace", "--subset", f"train={train}")
        if not changed:
            assert len(open_candidates(data, "train", "fr")) == len(PAIRS)
            continue
        with pytest.raises(InputError, match="run preprocess/distill.py"):
            open_candidates(data, "train", "fr")
        shutil.copytree(tmp_path / "kept", data / "candidates")
    for subset, side in (("train", "input0"), ("train", "input1"), ("valid", "input0")):
        with pytest.raises(InputError, match="was not made from .* make it again with preprocess/distill.py"):
            open_candidates(data, subset, "fr", side)
    with pytest.raises(InputError, match=r"no candidates in language 'de' \(it has: fr\)"):
        open_candidates(data, "train", "de")


def test_damaged_candidates(data, xlmr_plm):
    call(distill, xlmr_plm, data, *words(data, "fr"))
    log_probs = data / "candidates" / "fr" / "input0" / "train.log_probs.npy"
    whole = log_probs.read_bytes()
    for content in (whole[:-8], b"", whole[:20]):
        log_probs.write_bytes(content)
        with pytest.raises(InputError, match="train.log_probs.npy is not the file .* make it again with preprocess/distill.py"):
            open_candidates(data, "train", "fr")


def test_distilled_again(data, xlmr_plm):
    """The languages that are asked for are replaced, the others stay."""
    call(distill, xlmr_plm, data, *words(data, "en", "fr"))
    before = [log_probs for _, log_probs in open_candidates(data, "train", "en")]
    call(distill, xlmr_plm, data, *words(data, "fr", extra=["--positions", "tokens"]))
    assert all(torch.equal(a, b) for a, (_, b) in zip_equal(before, open_candidates(data, "train", "en")))
    assert '"positions": "tokens"' in (data / "candidates" / "fr" / "meta.json").read_text()


def test_single_sentences(xlmr_plm, data, tmp_path):
    rows = (QUICKSTART / "valid.en.tsv").read_text(encoding="utf-8").splitlines()[1:6]
    (tmp_path / "single.tsv").write_text("".join(f"{row.split(chr(9))[1]}\t1\n" for row in rows), encoding="utf-8")
    call(binarize, xlmr_plm, tmp_path / "single", "--labels", "0,1", "--subset", f"train={tmp_path / 'single.tsv'}")
    call(distill, xlmr_plm, tmp_path / "single", *words(data, "fr"))
    assert len(open_candidates(tmp_path / "single", "train", "fr", "input0")) == 5
    assert not (tmp_path / "single" / "candidates" / "fr" / "input1").exists()
