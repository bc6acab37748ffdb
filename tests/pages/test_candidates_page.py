"""What the page of candidates holds, against the training's own thresholds and the stored candidates."""

import base64
import gzip
import html
import json
import math
import re

import numpy as np
import pytest
import torch

from preprocess import binarize, distill, show_candidates
from salt_fairseq.candidates import open_candidates
from salt_fairseq.cli.printable import printable
from salt_fairseq.data.code_switching import CodeSwitching, log_threshold, parse_thresholds
from salt_fairseq.data.directory import DataDirectory
from salt_fairseq.pages.candidates import shown_pieces, slider
from salt_fairseq.tokenizer import Tokenizer
from support.in_process import call, error_of
from support.tiny_plm import tiny_plm


def unpacked(path):
    """``(description, arrays)`` of a page, arrays as uint32."""
    texts = dict(re.findall(r'<script type="text/plain" id="(\w+)">([\w+/=]*)</script>', path.read_text(encoding="utf-8")))
    content = {name: gzip.decompress(base64.b64decode(text)) for name, text in texts.items()}
    return json.loads(content["description"]), np.frombuffer(content["arrays"], dtype="<u4")


@pytest.fixture(scope="module")
def page(bert_plm, bert_data, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    call(show_candidates, bert_plm, bert_data, "--thresholds", "en=1e-3,33.3%", "--sentences", "1", "--page-examples", "40", "--html", path)
    return path


def test_positions_are_the_thresholds_of_training(bert_data, page):
    """Each position of a slider, read as --thresholds: the log-probability, and how many tokens of the subset pass."""
    description, _ = unpacked(page)
    for language in description["languages"]:
        opened = [open_candidates(bert_data, "train", language["code"], side) for side in ("input0", "input1")]
        everything = np.concatenate([part for candidates in opened for part in candidates.log_probs()])
        assert language["total"] == np.isfinite(everything).sum()
        for kind, positions in language["positions"].items():
            counts = [count for *_, count in positions]
            assert counts == sorted(counts, reverse=kind == "probability") and {counts[0], counts[-1]} == {0, language["total"]}
            for text, lowest, count in positions:
                threshold = parse_thresholds(text)[None]
                expected = log_threshold([everything], threshold)
                assert threshold[0] == kind and np.float32(expected) == np.float32(math.inf if lowest is None else lowest)
                assert count == (torch.from_numpy(everything) >= expected).sum(), "as CodeSwitching compares"
        start = parse_thresholds("en=1e-3,33.3%")["en" if language["code"] == "en" else None]
        kind, position = language["start"]
        text, _, count = language["positions"][kind][position]
        assert parse_thresholds(text)[None] == start
        switching = CodeSwitching(bert_data, "train", language["code"], ("input0", "input1"), start)
        assert count == round(switching.fraction * language["total"])


def test_ties_and_no_candidates():
    three = np.log(np.array([0.25, 0.5, 0.5, 0.5], dtype=np.float32))
    fraction = {text: count for text, _, count in slider(three, ("fraction", 0.5))["positions"]["fraction"]}
    assert (fraction["0%"], fraction["25%"], fraction["50%"], fraction["100%"]) == (0, 3, 3, 4)
    nothing = slider(three[:0], ("probability", 1e-3))
    assert nothing["total"] == 0 and all(count == 0 for steps in nothing["positions"].values() for *_, count in steps)


def test_sentences_and_candidates_of_the_page(bert_plm, bert_data, page):
    description, arrays = unpacked(page)
    data, pieces = DataDirectory(bert_data), shown_pieces(Tokenizer.load(bert_plm, "wordpiece"))
    words = description["words"]
    assert description["subset"] == 480 and len(description["ids"]) == 40 and description["sides"] == 2
    examples = [data.ids("train").index(id) for id in description["ids"]]
    assert examples[0] == 0 and examples[-1] == 479 and len(set(examples)) == 40
    assert description["targets"] == data.targets("train")[examples].tolist()
    lengths, rest = arrays[:80], arrays[80:]
    places = [0, *np.cumsum(lengths).tolist()]
    count = places[-1]
    tokens, columns = rest[:count], [rest[(k + 1) * count :][:count] for k in range(4)]
    log_probs = rest[5 * count :].view("<f4")
    assert [sum(int((column > 0).sum()) for column in columns)] == [len(log_probs)]
    offset = 0
    for column, language in zip(columns, description["languages"]):
        given = np.full(count, -np.inf, np.float32)
        given[column > 0] = log_probs[offset : offset + int((column > 0).sum())]
        offset += int((column > 0).sum())
        for k, i in enumerate(examples):
            for side in range(2):
                original = data.sentences("train", f"input{side}")[i]
                ids, expected = open_candidates(bert_data, "train", language["code"], f"input{side}")[i]
                visible = [t for t, token in enumerate(original.tolist()) if pieces[token]]
                sentence = slice(places[2 * k + side], places[2 * k + side + 1])
                assert [words[n] for n in tokens[sentence]] == [pieces[original[t]] for t in visible]
                assert [words[n] for n in column[sentence]] == [pieces[ids[t]] if expected[t] > -np.inf else "" for t in visible]
                assert given[sentence].tolist() == expected[visible].tolist()


def test_nothing_but_the_frame_is_html(page, bert_data):
    """Not one character of data stands outside the packed blocks, the title and the summary."""
    text = page.read_text(encoding="utf-8")
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n<title>Code-switched sentences: bert-quickstart</title>')
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "") and "https:" not in text
    assert re.search("default-src 'none'", text) and len(re.findall("<script", text)) == 3


def test_names_labels_and_tokens_are_text(tmp_path):
    """Ids, labels and the directory's name that look like HTML, and control characters."""
    nasty = ["</script><script>alert(1)</script>", "a&amp;b", "e\x1b[31mf", "\u202ej", "`${x}`", "$body"]
    folder = tmp_path / "<b>&data"
    folder.mkdir()
    plm = tiny_plm(tmp_path / "plm")
    rows = "".join(f"{id}\tthe house sleeps\tbig cat\t{label}\n" for id, label in zip(nasty, ["<i>yes</i>", "no\x1b]0;"] * 3))
    (tmp_path / "train.tsv").write_text("id\tsentence1\tsentence2\tlabel\n" + rows, encoding="utf-8")
    call(binarize, plm, folder / "data<i>", "--subset", f"train={tmp_path / 'train.tsv'}")
    (tmp_path / "fr.txt").write_text("maison\nle\nla\npeniche\nchat\ngrande\n", encoding="utf-8")
    call(distill, plm, folder / "data<i>", "--languages", "fr", "--word-list", f"fr={tmp_path / 'fr.txt'}", "--device", "cpu")
    out = tmp_path / "page.html"
    call(show_candidates, plm, folder / "data<i>", "--thresholds", "50%", "--html", out)
    text = out.read_text(encoding="utf-8")
    assert html.escape("data<i>") in text and "data<i>" not in text and "alert(1)" not in text and "\x1b" not in text
    description, _ = unpacked(out)
    assert description["ids"] == [printable(id) for id in nasty]
    assert description["labels"] == ["<i>yes</i>", r"no\x1b]0;"]
    call(show_candidates, plm, folder / "data<i>", "--thresholds", "40%", "--html", out)  # its own output may be replaced
    out.write_text("<!DOCTYPE html><title>mine</title>", encoding="utf-8")
    assert "not an earlier output" in error_of(show_candidates, plm, folder / "data<i>", "--html", out)
