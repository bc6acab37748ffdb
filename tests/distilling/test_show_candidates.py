"""The commands that show and measure candidates, against the stored candidates themselves."""

import re
import shutil

import numpy as np
import torch

from preprocess import binarize, distill, show_candidates, substitution_precision
from preprocess.distillation.word_lists import frequencies
from salt_fairseq.candidates import open_candidates
from salt_fairseq.cli.printable import printable
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.storage.manifest import read_verified
from salt_fairseq.tokenizer import Tokenizer
from support.edited import edited
from support.in_process import call, error_of
from support.running import QUICKSTART, read_tsv


def test_shown_sentences(bert_plm, bert_data, capsys):
    call(show_candidates, bert_plm, bert_data, "--languages", "fr", "--thresholds", "60%", "--sentences", "1")
    shown = capsys.readouterr().out
    tokenizer, data = Tokenizer.load(bert_plm, "wordpiece"), DataDirectory(bert_data)
    first = read_tsv(QUICKSTART / "train.en.tsv")[0]
    compact = re.sub(r"\s", "", shown).lower()
    for side, sentence in enumerate((first["sentence1"], first["sentence2"])):
        assert re.sub(r"\s", "", sentence).lower() in compact
        original = data.sentences("train", f"input{side}")[0]
        ids, log_probs = open_candidates(bert_data, "train", "fr", f"input{side}")[0]
        everything = np.concatenate([p for s in ("input0", "input1") for _, p in open_candidates(bert_data, "train", "fr", s)])
        finite = np.sort(everything[np.isfinite(everything)])[::-1]
        least = finite[round(0.6 * len(finite)) - 1]
        variant = torch.where(log_probs >= float(least), ids, original)
        assert "".join(tokenizer.words[i] for i in variant.tolist()) in compact
        assert not torch.equal(variant, original)


def test_ids_labels_and_pieces_are_text(bert_plm, tmp_path, capsys):
    """Neither rich's markup nor the terminal's: every id and label stands there as it is, control characters as escapes."""
    ids, label = ["[/x]", "a[b]c", "e\x1b[31mf\x9bg", "[bold]h[/bold]", "i\u202ej"], "k\x1b]0;l\x07[m]"
    (tmp_path / "train.tsv").write_text(
        "id\tsentence1\tsentence2\tlabel\n" + "".join(f"{id}\tthe house\ta garden\t{label if i else 'no'}\n" for i, id in enumerate(ids)), encoding="utf-8"
    )
    data, escaped = tmp_path / "data", [printable(text) for text in (*ids, label)]
    call(binarize, bert_plm, data, "--subset", f"train={tmp_path / 'train.tsv'}")
    call(distill, bert_plm, data, "--languages", "fr", "--device", "cpu")
    capsys.readouterr()
    call(show_candidates, bert_plm, data, "--thresholds", "60%", "--sentences", "5")
    shown = capsys.readouterr().out
    headings = [line for line in shown.splitlines() if ", sentence 1, " in line]
    assert headings == [f"{id}, sentence 1, {escaped[-1] if i else 'no'}" for i, id in enumerate(escaped[:-1])]
    assert escaped[2] == r"e\x1b[31mf\x9bg" and escaped[4] == r"i\u202ej" and escaped[5] == r"k\x1b]0;l\x07[m]"
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)


def test_candidates_of_another_language(bert_plm, bert_data, tmp_path):
    """Copied under another language's name they are refused; a directory of an older version, which does not say, is not."""
    data = shutil.copytree(bert_data, tmp_path / "data")
    fr, xx = data / "candidates" / "fr", data / "candidates" / "xx"
    assert read_verified(fr / "meta.json", "it")["language"] == "fr"
    shutil.copytree(fr, xx)
    sentence = f"{xx} holds candidates in language 'fr': name the directory fr, or make it again with preprocess/distill.py"
    assert error_of(show_candidates, bert_plm, data, "--languages", "xx") == sentence
    assert error_of(show_candidates, bert_plm, data) == sentence
    with edited(xx / "meta.json") as values:
        del values["language"], values["files"]
    call(show_candidates, bert_plm, data, "--languages", "xx", "--thresholds", "50%")


def test_precision(bert_plm, bert_data, tmp_path, capsys):
    """A dictionary that lists the substitute of every second token: precision and counts by hand."""
    tokenizer, data = Tokenizer.load(bert_plm, "wordpiece"), DataDirectory(bert_data)
    pairs, tokens = set(), []
    for side in ("input0", "input1"):
        sentences, candidates = data.sentences("train", side), open_candidates(bert_data, "train", "de", side)
        for i in range(len(candidates)):
            ids, log_probs = candidates[i]
            tokens += [(s, t) for s, t, p in zip(sentences[i].tolist(), ids.tolist(), log_probs.tolist()) if p > -np.inf]
    pairs = {pair for k, pair in enumerate(sorted(set(tokens))) if k % 2}
    path = tmp_path / "en-de.txt"
    path.write_text("".join(f"{tokenizer.words[s]} {tokenizer.words[t]}\n" for s, t in sorted(pairs)), encoding="utf-8")
    call(substitution_precision, bert_plm, bert_data, "--dictionary", f"de={path}")
    language, share, _, substituted, parts, precision, listed, *content = capsys.readouterr().out.splitlines()[1].split()
    sources = {s for s, _ in pairs}
    n = sum(s in sources for s, _ in tokens)
    assert (language, share, parts) == ("de", "100%", "0.0%")
    assert int(substituted.replace(",", "")) == len(tokens) and int(listed.replace(",", "")) == n
    assert precision == f"{100 * sum(pair in pairs for pair in tokens) / n:.1f}%"
    frequent = {tokenizer.caseless_word(word) for word in list(frequencies("en"))[:150]}
    rare = [pair for pair in tokens if tokenizer.words[pair[0]] not in frequent and pair[0] in sources]
    assert content == [f"{100 * sum(pair in pairs for pair in rare) / len(rare):.1f}%", f"{len(rare):,}"]


def test_errors(bert_plm, bert_data, xlmr_plm, tmp_path):
    (tmp_path / "bad.txt").write_text("house maison\nonly\n", encoding="utf-8")
    message = error_of(substitution_precision, bert_plm, bert_data, "--dictionary", f"fr={tmp_path / 'bad.txt'}")
    assert "bad.txt, line 2" in message
    assert "binarize the data with that PLM" in error_of(show_candidates, xlmr_plm, bert_data)
    assert "no candidates in language 'xx'" in error_of(show_candidates, bert_plm, bert_data, "--languages", "xx")
