"""Runs a notebook of the project on a lake, as a reader of it does."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def outputs(name, root, monkeypatch):
    """What the cells give, in order; a cell that fails raises."""
    monkeypatch.setenv("LAKEHOUSE_LAKE_ROOT", str(root))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    place = {"metadata": {"path": str(NOTEBOOKS.parent)}}
    NotebookClient(notebook, timeout=120, resources=place).execute()
    return [o for cell in notebook.cells for o in cell.get("outputs", [])]


def pictures(found):
    """How many of the outputs are drawn."""
    return sum("image/png" in output.get("data", {}) for output in found)
