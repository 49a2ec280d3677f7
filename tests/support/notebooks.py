"""Run a notebook cell by cell, as a user does."""

from __future__ import annotations

import asyncio
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode


def assert_without_outputs(notebook: NotebookNode) -> None:
    """Assert that a notebook is valid, and stored without outputs."""
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
    assert not notebook.metadata.keys() - {"kernelspec", "language_info"}


def run_notebook(notebook: NotebookNode, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run all cells in a folder; their outputs are then in the notebook."""
    for name in ("OMP_NUM_THREADS", "LUNG_THREADS", "PYDEVD_DISABLE_FILE_VALIDATION"):
        monkeypatch.setenv(name, "1")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(folder / "home"))
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    # A separate loop: client.execute() and asyncio.run() drop the loop that Mangum opens on import, whose warning would
    # fail a later test.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(client.async_execute())


def count_pictures(notebook: NotebookNode) -> dict[str, int]:
    """Return the number of pictures that each cell shows, by its id, of those that show any."""
    counts = {
        cell.id: sum("image/png" in output.get("data", {}) for output in cell.outputs)
        for cell in notebook.cells
        if cell.cell_type == "code"
    }
    return {name: count for name, count in counts.items() if count}
