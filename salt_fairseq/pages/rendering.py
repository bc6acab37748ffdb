"""A page is one HTML file that loads nothing: a frame around a body, with styles, script and data in it."""

import base64
import gzip
import hashlib
import html
from pathlib import Path
from string import Template

import salt_fairseq

FOLDER = Path(__file__).parent


def begins(title: str) -> bytes:
    """Regular expression for how a page with such a title begins, also one of version 0.1."""
    return rf'<!DOCTYPE html>\s*(<html lang="en">\s*)?<meta charset="?utf-8"?>\s*<title>{title}'.encode()


def template(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def fill(text: str, **values: object) -> str:
    """``text`` with the values in place of ``$name``, escaped."""
    return Template(text).substitute({name: html.escape(str(value)) for name, value in values.items()})


def render(title: str, body: str, styles: list[str], scripts: list[str]) -> str:
    """The page. ``body`` is HTML; ``styles`` and ``scripts`` name templates. The browser runs only these scripts, and may
    load nothing, whatever the data say: the page's own content security policy forbids it."""
    script = "\n".join(map(template, ["theme.js", *scripts]))
    return Template(template("frame.html")).substitute(
        title=html.escape(title),
        version=html.escape(salt_fairseq.__version__),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style="\n".join(map(template, ["style.css", *styles])),
        script=script,
        body=body,
    )


def packed(content: bytes) -> str:
    """Bytes as text that no HTML can misread: gzip in base64, the same for the same bytes."""
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()
