"""What a reader of the documents relies on: links lead somewhere, promises name tests, the README is short, options are listed."""

import importlib.metadata
import re
import runpy
import subprocess
import sys
from urllib.parse import urlparse

import pytest
import yaml

from support.documents import DOCUMENTS, prose
from support.running import ROOT

LINK = re.compile(r"!?\[(?:[^\]]|\n)*?\]\(([^)\s]+)\)")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def anchors(path):
    """The anchors of a document's headings, as both GitHub and mkdocs make them of words, digits and spaces."""
    headings = re.findall(r"^#+ (.+)$", prose(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_resolve(document):
    for link in LINK.findall(prose(document.read_text(encoding="utf-8"))):
        url = urlparse(link)
        if url.scheme:
            assert url.scheme == "https" and "." in url.netloc, link
            continue
        target = document.parent / url.path if url.path else document
        assert target.is_file(), f"{document}: {link}"
        assert not url.fragment or url.fragment in anchors(target), f"{document}: {link}"


def test_readme_is_short():
    lines = README.splitlines()
    assert len(lines) <= 180
    assert len(README.split()) <= 1800
    assert [line for line in prose(README).splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_options_page_is_what_the_code_says():
    page = runpy.run_path(str(ROOT / "docs" / "options_page.py"))["page"]()
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == page, "run python docs/options_page.py"


def test_every_promise_names_tests_that_exist():
    tests = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")))
    assert named and named <= tests, named - tests


def test_files_that_the_architecture_page_names_exist():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:salt_fairseq|preprocess|recipes|tests)/[\w/.]*)`", page)
    assert len(named) > 15 and [name for name in named if not (ROOT / name).exists()] == []
    rooms = {f"{path.name}/" for package in ("salt_fairseq", "preprocess") for path in (ROOT / package).iterdir() if (path / "__init__.py").exists()}
    assert rooms - set(re.findall(r"`(\w+/)`", page)) == set()


def test_every_dependency_has_its_reason():
    """What pip is asked for, extras included, stands in the guide's table."""
    names = {re.match(r"[\w-]+", text)[0] for text in importlib.metadata.requires("salt_fairseq")}
    rows = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8").partition("## Dependencies")[2]
    named = set(re.findall(r"`([\w-]+)(?:\[\w+\])?`", "".join(line.split("|")[1] for line in rows.splitlines() if line.startswith("|"))))
    assert names - named == set()


def test_citation():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and {"message", "title", "authors"} <= citation.keys()  # what version 1.2.0 requires
    version = re.search(r'__version__ = "(.+)"', (ROOT / "salt_fairseq" / "__init__.py").read_text())[1]
    assert citation["version"] == version and f"## {version} - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Wang", "Huang", "Chang", "Chen"] and paper["year"] == 2023


@pytest.mark.slow
def test_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="the site needs pip install -e '.[docs]'")
    pytest.importorskip("mkdocstrings", reason="the site needs pip install -e '.[docs]'")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Classifier" in (tmp_path / "site" / "api" / "evaluation" / "index.html").read_text(encoding="utf-8")
