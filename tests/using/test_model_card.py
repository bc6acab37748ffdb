"""Names of data and labels in a model card, whatever they hold, as Markdown reads them."""

import re

import torch
from markdown_it import MarkdownIt

from preprocess.exporters import model_card
from salt_fairseq.checkpoints import load_checkpoint

HOSTILE = ["a|b", "`c`", "<script>d</script>", "[e](http://f)", "| g |\n# h", "i\x1b[31mj", "*k* _l_ m_n \\o"]


def rows_of(tokens):
    """The cells of each row of the tables."""
    cells = []
    for token in tokens:
        if token.type == "tr_open":
            cells = []
        elif token.type in ("th_open", "td_open"):
            cells.append(token)
        elif token.type == "tr_close":
            yield cells


def test_names_and_labels_in_the_model_card(checkpoints, tmp_path):
    """As Markdown reads them (by markdown-it, CommonMark with tables), every one stands there as it is, on one line."""
    shown = [re.sub(r"[\n\x1b]", " ", name) for name in HOSTILE]
    saved = torch.load(checkpoints[0], weights_only=True)
    saved["cfg"]["task"] |= {"data": f"/x/{HOSTILE[0]}", "augment": ",".join(HOSTILE), "thresholds": HOSTILE[1] + HOSTILE[4]}
    torch.save(saved, tmp_path / "hostile.pt")
    checkpoint = load_checkpoint(tmp_path / "hostile.pt")
    card = model_card.of_classifier(checkpoint, HOSTILE, 2, ("accuracy", {f"test.{name}": 50.0 for name in ("fr", "x_y")})).split("---\n", 2)[2]
    tokens = MarkdownIt("commonmark").enable("table").parse(card)
    inlines = [token for token in tokens if token.type == "inline"]

    def texts(kind):
        return [child.content for token in inlines for child in token.children if child.type == kind]

    assert texts("code_inline") == [*shown, "en", "xlmr0", shown[1] + shown[4]]
    assert "".join(child.content for child in inlines[0].children) == f"xlmr0, fine-tuned on {HOSTILE[0]}"
    assert not {child.type for token in inlines for child in token.children} & {"html_inline", "link_open", "strong_open"}
    assert ", ".join(shown) in ["".join(child.content for child in token.children) for token in inlines]
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2", "h2"]
    assert {len(list(row)) for row in rows_of(tokens)} == {2}


def test_source_languages_in_the_model_card(checkpoints):
    """The average leaves both out: (40 + 60) / 2."""
    checkpoint = load_checkpoint(checkpoints[0])
    checkpoint.task["source_language"] = "en,de"
    accuracies = {"test.fr": 40.0, "test.de": 90.0, "test.en": 80.0, "test.ru": 60.0}
    card = model_card.of_classifier(checkpoint, ["0", "1"], 2, ("accuracy", accuracies))
    assert "Fine-tuned on labels in the languages `en` and `de` alone; it is meant" in card
    assert re.findall(r"^\| (\S+|average without en, de) \| (\d+\.\d\d) \|$", card, re.M)[:2] in (
        [("de", "90.00"), ("en", "80.00")],
        [("en", "80.00"), ("de", "90.00")],
    )
    assert "| average without en, de | 50.00 |" in card and '- "de"' in card and '- "en"' in card
