"""The notebook to try it, docs/try_it.ipynb, without a network."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from notebooks import assert_without_outputs, count_pictures, run_notebook
from PIL import Image

from lungseg import segment

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def notebook() -> NotebookNode:
    return nbformat.read(ROOT / "docs" / "try_it.ipynb", as_version=4)


def test_try_notebook_is_stored_without_outputs(notebook: NotebookNode) -> None:
    assert_without_outputs(notebook)


def test_try_notebook_runs(notebook: NotebookNode, rg1: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    run_notebook(notebook, tmp_path, monkeypatch)

    assert count_pictures(notebook) == {"one": 1, "mask": 1, "overlays": 1, "crops": 1}
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert outputs["install"] == outputs["upload"] == []  # nothing is fetched or asked for where all is there
    (table,) = outputs["all"]
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in table.data["text/markdown"].splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        ["chest.dcm", "accept"],
        ["leg.dcm", "reject"],
        ["rotated negative.png", "accept"],
    ]
    assert {"turned", "inverted"} <= set(rows[2][2].split(", "))
    (crops,) = outputs["crops"]
    with Image.open(io.BytesIO(base64.b64decode(crops.data["image/png"]))) as sheet:
        left, right = (np.asarray(sheet.crop((x, 0, x + 300, sheet.height))) for x in (0, sheet.width - 320))
    assert all(30 < half.mean() < 220 and half.std() > 30 for half in (left, right))
    with Image.open(tmp_path / "chest.mask.png") as mask:
        assert np.array_equal(np.asarray(mask), segment(rg1).mask)
