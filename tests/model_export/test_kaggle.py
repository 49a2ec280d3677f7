"""The Kaggle notebook, from clone to mask, on phantoms."""

from __future__ import annotations

import asyncio
import csv
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from PIL import Image

from lungseg.decode import decode
from model_export.data.index import read_index
from model_export.data.phantoms import SIZE, TINY

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "model_export" / "kaggle.ipynb"
SETTINGS = {**TINY, "epochs": 12, "augment": False}


@pytest.fixture
def notebook() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_notebook_is_stored_without_outputs(notebook: NotebookNode) -> None:
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
    assert not notebook.metadata.keys() - {"kernelspec", "language_info"}


def test_notebook_runs_from_clone_to_mask(
    notebook: NotebookNode, public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A repository of its own with this checkout, including uncommitted changes. Without git, the notebook uses an
    # existing folder.
    git = shutil.which("git")
    source, folder = tmp_path / "source", tmp_path / "clone"
    copy_of_the_code(source if git else folder)
    if git:
        make_repository(git, source)
    places = {"WORK": tmp_path / "work", "FOLDER": folder, "INPUT": public}
    values = {"REPOSITORY": source.as_uri(), "SIZE": SIZE, "SETTINGS": SETTINGS}
    assigned = [f"{name} = Path({str(path)!r})" for name, path in places.items()]
    assigned += [f"{name} = {value!r}" for name, value in values.items()]
    parameters = next(i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    notebook.cells.insert(parameters + 1, new_code_cell("\n".join(assigned)))

    for name in ("OMP_NUM_THREADS", "LUNG_THREADS", "PYDEVD_DISABLE_FILE_VALIDATION"):
        monkeypatch.setenv(name, "1")
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    places["WORK"].mkdir()
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    # A separate loop: client.execute() and asyncio.run() drop the loop that Mangum opens on import, whose warning would
    # fail a later test.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(client.async_execute())

    work = places["WORK"]
    with (work / "run" / "log.csv").open() as file:
        log = list(csv.DictReader(file))
    assert len(log) == SETTINGS["epochs"]
    assert float(log[-1]["loss"]) < float(log[0]["loss"])
    pictures = {cell.id: pictures_of(cell) for cell in notebook.cells if cell.cell_type == "code"}
    shown = {name: count for name, count in pictures.items() if count}
    assert shown == {"look": 1, "curve": 1, "evaluate": 2, "segment": 1}
    assert (folder / "model_export" / "kaggle.ipynb").is_file()
    assert (work / "model" / "lung_unet.onnx").is_file()
    index = read_index(work / "prepared")
    image = decode((index.input / index.select("validation")[0].image).read_bytes())
    with Image.open(work / "mask.png") as mask:
        assert mask.size == (image.width, image.height)
        assert mask.getextrema() == (0, 255)


def copy_of_the_code(target: Path) -> None:
    target.mkdir()
    for part in ("lungseg", "model_export"):
        shutil.copytree(ROOT / part, target / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", target)


def make_repository(git: str, folder: Path) -> None:
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message", "The code"]):
        subprocess.run([git, "-C", folder, *command], check=True)


def pictures_of(cell: NotebookNode) -> int:
    """Count the pictures of a cell."""
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)
