"""Reports without their pictures, which take most of the time, for tests that look at tables."""

import pytest

from salt_fairseq.report import figures


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(figures, "save", lambda figure, path, kind: path.write_bytes(kind.encode()))
