"""The notebook runs from its first cell to its last on a lake that the demo made."""

import nbformat
import pytest
from nbclient import NotebookClient

from tests.live.conftest import ROOT

pytestmark = pytest.mark.live


def test_the_notebook_runs_and_draws(demo_lake, monkeypatch):
    monkeypatch.setenv("LAKEHOUSE_LAKE_ROOT", str(demo_lake))
    notebook = nbformat.read(ROOT / "notebooks" / "sales_analysis.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3
