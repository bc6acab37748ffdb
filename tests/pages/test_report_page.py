"""``report --html``: the numbers of the tables, the figures and the settings of the runs on one page."""

import html
import json
import re

import pytest

from salt_fairseq.report import __main__ as report
from salt_fairseq.report.page import settings
from support.in_process import call, error_of
from support.result_files import evaluated, published

TARGETS = {"test.en": [0, 1, 1, 0, 1, 0, 1, 1], "test.fr": [0, 1, 1, 0, 1, 0, 1, 1], "test.ar": [0, 1, 1, 0, 1, 0, 1, 1]}
NASTY = "<i>SALT</i> & $body"


def flipped(*places):
    return {subset: [1 - label if i in places else label for i, label in enumerate(labels)] for subset, labels in TARGETS.items()}


def with_settings(path, *seeds, **task):
    """A file of results whose checkpoints say how they were trained."""
    content = json.loads(evaluated(path, TARGETS, *seeds).read_text())
    for i, checkpoint in enumerate(content["checkpoints"]):
        checkpoint |= {"plm": "tiny", "updates": 90, "seed": 1000 + i, "task": {"_name": "t", "one_stream": False, "augment": "", **task}}
        checkpoint["model"] = {"dropout": 0.1}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    base = with_settings(folder / "a.json", flipped(0, 1), flipped(0, 1, 2))
    salt = with_settings(folder / "b.json", flipped(0), flipped(3), augment="fr,</script>", one_stream=True)
    call(report, f"vanilla={base}", f"{NASTY}={salt}", "--out", folder / "out", "--html", folder / "report.html")
    return folder


def cells(text, title):
    """Rows of the table below a heading, markup removed."""
    section = next(part for part in text.split("<section")[1:] if f"<h2>{title}</h2>" in part)
    rows = re.findall("<tr>(.*?)</tr>", section)
    return [[html.unescape(re.sub("<.*?>", "", cell)) for cell in re.findall("<t[hd].*?>(.*?)</t[hd]>", row)] for row in rows]


def test_numbers_and_settings(written):
    text = (written / "report.html").read_text(encoding="utf-8")
    rows = {name: values for name, *values in cells(text, "Accuracy by language")}
    assert rows[""] == ["vanilla", NASTY] and rows["seeds"] == ["2", "2"]
    assert rows["fr"] == rows["avg. with en"] == ["68.8 ± 8.8", "87.5 ± 0.0"]  # (6/8 + 5/8) / 2 and 7/8
    significance = cells(text, "Significance of differences to vanilla")
    assert [row[:2] for row in significance[1:]] == [[NASTY, m] for m in ("en", "ar", "fr", "avg. without en", "avg. with en")]
    assert {row[3] for row in significance[1:]} == {"+18.7"}  # 87.5 - 68.8, as printed
    assert cells(text, "Settings of the systems")[1:] == [
        ["seed", "1000, 1001", "1000, 1001"],
        ["task.one_stream", "False", "True"],
        ["task.augment", "–", "fr,</script>"],
    ]
    assert cells(text, "Settings of all runs")[1:] == [["plm", "tiny"], ["updates", "90"], ["model.dropout", "0.1"]]


def test_it_is_one_file_of_text(written):
    """Names are escaped, the figures stand in it with ids of their own, and nothing is loaded."""
    text = (written / "report.html").read_text(encoding="utf-8")
    assert "<i>SALT" not in text and text.count("<svg") == 2 and len(re.findall("<script", text)) == 1
    ids = re.findall(r'\sid="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 20
    references = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
    assert references and {a or b for a, b in references} <= set(ids)
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)


def test_published_numbers_have_no_settings(tmp_path):
    file = published(tmp_path / "p.json", {"test.en": 80, "test.fr": 70})
    content = json.loads(file.read_text())
    del content["checkpoints"][0]["seed"]
    file.write_text(json.dumps(content))
    assert settings({"published": [str(file)]}) == []


def test_what_may_be_replaced(written):
    mine, words = written / "mine.html", (f"vanilla={written / 'a.json'}", "--out", written / "out2", "--html")
    mine.write_text("<p>mine", encoding="utf-8")
    assert "not an earlier output" in error_of(report, *words, mine)
    assert "is read by this command" in error_of(report, *words, written / "a.json")
    assert mine.read_text() == "<p>mine" and not (written / "out2").exists()


@pytest.mark.slow
@pytest.mark.parametrize("width, scheme", [(390, "dark"), (1280, "light")])
def test_in_a_browser(opened, assert_accessible, written, width, scheme):
    page = opened(written / "report.html", width, scheme, ready="figure svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert_accessible(page)
