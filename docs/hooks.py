"""What mkdocs does to each page: docstrings name code with Sphinx's roles, of which Markdown knows nothing."""

import re


def on_page_content(html, **unused):
    """Drop the roles in front of code, ``:class:`Lexicon```, and the tilde that shortens a name."""
    return re.sub(r":(?:class|data|func|meth|mod):<code>~?", "<code>", html)
