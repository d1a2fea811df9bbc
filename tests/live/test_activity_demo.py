"""The demo of activity as a stranger runs it, and the notebook on its lake."""

import re

import nbformat
import pytest
from nbclient import NotebookClient

from tests.live.conftest import ROOT, command

pytestmark = pytest.mark.live


def test_the_demo_accounts_for_every_event_and_the_notebook_draws_it(tmp_path, monkeypatch):
    root = tmp_path / "lake"
    done = command("demo", "activity", "--count", 3000, "--root", root)
    verdicts = re.findall(r"^PROVEN: ([\d,]+) of \1 records, content of all$", done.stdout, re.M)
    assert len(verdicts) == 1, done.stdout
    assert "DIFFERS" not in done.stdout
    assert re.search(r"the enriched topic, each once +[\d,]+ +[\d,]+ +ok", done.stdout), done.stdout

    monkeypatch.setenv("LAKEHOUSE_LAKE_ROOT", str(root))
    notebook = nbformat.read(ROOT / "notebooks" / "activity_analysis.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT)}}).execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 3
