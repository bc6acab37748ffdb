"""The page of candidates in a browser: its counts are the training's, and it serves eyes, keyboards and screen readers."""

import re

import numpy as np
import pytest

from preprocess import show_candidates
from salt_fairseq.candidates import open_candidates
from salt_fairseq.data.code_switching import CodeSwitching, parse_thresholds
from salt_fairseq.data.directory import DataDirectory
from support.in_process import call

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(bert_plm, bert_data, tmp_path_factory):
    """Pages with a tenth of the examples, and with two of them."""
    folder = tmp_path_factory.mktemp("pages")
    for count in (48, 2):
        words = ("--thresholds", "en=20%,40%", "--sentences", "1", "--page-examples", count)
        call(show_candidates, bert_plm, bert_data, *words, "--html", folder / f"{count}.html")
    return folder


@pytest.fixture(scope="module")
def path(pages):
    return pages / "48.html"


@pytest.fixture(scope="module")
def few(pages):
    return pages / "2.html"


def numbers(text):
    """Percentage, and the counts in order, of "40.0 % substituted: 3,298 of 8,244; on this page 329"."""
    percentage, *counts = re.findall(r"[\d.,]+", text)
    return float(percentage), [int(count.replace(",", "")) for count in counts]


def set_slider(page, language, position):
    slider = page.locator(f"input[data-language={language}]")
    slider.evaluate("(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input', {bubbles: true})); }", position)


def test_counts_are_the_trainings(opened, path, bert_data):
    """At several positions of both kinds of threshold: how much of the subset, and of the page, is substituted."""
    page, data = opened(path), DataDirectory(bert_data)
    shown = [k * 479 // 47 for k in range(48)]
    opened_candidates = [open_candidates(bert_data, "train", "fr", side) for side in data.sides]
    of_page = np.concatenate([candidates[i][1].numpy() for candidates in opened_candidates for i in shown])
    card = page.locator("fieldset[data-language=fr]")
    seen = set()
    for kind, positions in (("fraction", (0, 7, 50, 100)), ("probability", (0, 5, 20, 30))):
        card.locator("select").select_option(kind)
        for position in positions:
            set_slider(page, "fr", position)
            text = card.locator("output").text_content().removeprefix("≥ ")
            switching = CodeSwitching(bert_data, "train", "fr", data.sides, parse_thresholds(text)[None])
            percentage, (substituted, total, here) = numbers(card.locator(".count").text_content())
            assert percentage == float(f"{100 * switching.fraction:.1f}") and substituted == round(switching.fraction * total)
            assert here == (of_page >= np.float32(switching.log_threshold)).sum()
            assert f"fr={text}" in page.locator("#option").text_content()
            seen.add(substituted)
    assert len(seen) > 4


def test_words_and_details(opened, path, bert_data):
    """A slider changes words and their language at once; a word tells its candidates; Escape closes them."""
    page = opened(path)
    row = page.locator("article").first.locator("table").first.locator("tr.variant").last  # fr
    before = row.text_content()
    set_slider(page, "fr", 0)
    assert row.locator(".on").count() == 0
    original = page.locator("article").first.locator("table").first.locator("tr").first
    assert row.text_content().removeprefix("fr") == original.text_content().removeprefix("en")
    set_slider(page, "fr", 100)
    everything = row.text_content()
    assert len({before, everything, original.text_content()}) == 3
    word = row.locator(".on").first
    assert word.get_attribute("lang") == "fr"
    word.hover()
    details = page.locator("#details")
    assert details.is_visible() and details.locator("tr").count() == 4 and word.text_content() in details.text_content()
    assert "substituted" in details.locator("tr.current").text_content()
    page.keyboard.press("Escape")
    assert details.is_hidden()


def test_keyboard(opened, path):
    page = opened(path)
    cell = page.locator("article td").first
    cell.focus()
    assert page.locator("#details").is_visible() and cell.get_attribute("aria-describedby") == "details"
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.cellIndex") == 2
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.parentElement.rowIndex") == 1
    assert page.evaluate("document.querySelectorAll('#examples [tabindex=\"0\"]').length") == 1, "one stop for Tab"
    slider = page.locator("input[data-language=de]")
    slider.focus()
    text = slider.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") != text


def test_search_labels_languages_and_pages(opened, path, bert_data):
    page, data = opened(path), DataDirectory(bert_data)
    targets = data.targets("train")[[k * 479 // 47 for k in range(48)]]
    status = page.locator("#status")
    assert status.text_content() == "1–10 of 48 examples"
    page.locator(".next").first.click()
    assert status.text_content() == "11–20 of 48 examples" and page.locator(".pages span").first.text_content() == "2 / 5"
    page.locator("#label").select_option(label=data.labels[1])
    assert status.text_content().endswith(f"of {(targets == 1).sum()} examples")
    assert set(page.locator("article .label").all_text_contents()) == {data.labels[1]}
    page.locator("#label").select_option(label="all")
    page.locator("#query").fill("zzzz")
    assert "No example matches" in status.text_content() and page.locator("article").count() == 0
    page.locator("#query").fill("")
    word = page.locator("article td").nth(1).text_content()
    page.locator("#query").fill(word.upper())
    assert page.locator("article").count() > 0 and page.locator("article .hit").count() > 0
    rows = page.locator("tr.variant").count()
    page.locator("fieldset[data-language=es] input[type=checkbox]").uncheck()
    assert 0 < page.locator("tr.variant").count() <= rows * 3 / 4


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_widths(opened, path, width):
    page = opened(path, width)
    page.locator("article td").first.focus()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = page.evaluate("[...document.querySelectorAll('table, .card, #details')].map((e) => e.getBoundingClientRect().toJSON())")
    assert len(boxes) > 20 and all(box["left"] >= 0 and box["right"] <= width for box in boxes)


@pytest.mark.parametrize("width, scheme", [(390, "light"), (1280, "dark")])
def test_colours_and_accessibility(opened, assert_accessible, few, width, scheme):
    """Dark where the system is or the button says so; axe finds nothing serious."""
    page = opened(few, width, scheme)
    brightness = "() => getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((a, b) => a + Number(b), 0)"
    dark = page.evaluate(brightness) < 200
    assert dark == (scheme == "dark")
    page.locator("article td").first.focus()
    assert_accessible(page)
    page.locator("#theme").click()
    assert (page.evaluate(brightness) < 200) != dark
