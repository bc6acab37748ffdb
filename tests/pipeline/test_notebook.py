"""docs/classifier.ipynb runs from its first cell to its last, on a tiny PLM with two updates."""

import os
import re
from pathlib import Path

import pytest

from support.running import ROOT

nbformat = pytest.importorskip("nbformat", reason="the notebook needs pip install -e '.[notebook]'")
nbclient = pytest.importorskip("nbclient", reason="the notebook needs pip install -e '.[notebook]'")
pytest.importorskip("ipykernel", reason="the notebook needs pip install -e '.[notebook]'")
pytestmark = pytest.mark.long
CHOSEN = 'MODEL, UPDATES = "embedded", None'


def test_notebook(xlmr_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "docs").mkdir()
    notebook = nbformat.read(ROOT / "docs" / "classifier.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells)
    (cell,) = [cell for cell in notebook.cells if CHOSEN in cell.source]
    cell.source = cell.source.replace(CHOSEN, f"MODEL, UPDATES = {str(xlmr_dir)!r}, 2")
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "docs")}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    results = [output["data"]["text/plain"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert "DEBUG" not in printed and "Traceback" not in printed
    assert "480 pairs" in printed and re.search(r"^--updates +2 ?$", printed, re.MULTILINE) and results[-1] == "['other', 'paraphrase']"
    assert "'examples': 120" in results[-2]
    assert {"config.json", "README.md", "report"} <= {path.name for path in Path(tmp_path / "docs" / "published").iterdir()}
    assert not (tmp_path / "docs" / "published" / "work").exists()
