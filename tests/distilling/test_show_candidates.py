"""The commands that show and measure candidates, against the stored candidates themselves."""

import re

import numpy as np
import torch

from preprocess import show_candidates, substitution_precision
from preprocess.distillation.word_lists import frequencies
from salt_fairseq.candidates import open_candidates
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.tokenizer import Tokenizer
from support.in_process import call, error_of
from support.running import QUICKSTART, read_tsv


def test_shown_sentences(bert_plm, bert_data, tmp_path, capsys):
    page = tmp_path / "page.html"
    call(show_candidates, bert_plm, bert_data, "--languages", "fr", "--thresholds", "60%", "--sentences", "1", "--html", page)
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
        changed = [tokenizer.words[i] for i, s in zip(variant.tolist(), original.tolist()) if i != s]
        marked = re.findall(r"<b> ?([^<]*)</b>", page.read_text(encoding="utf-8"))
        assert changed and set(changed) <= set(marked)


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
