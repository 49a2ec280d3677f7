"""The Kaggle notebook, from clone to mask, on phantoms."""

from __future__ import annotations

import csv
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from notebooks import assert_without_outputs, count_pictures, run_notebook
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
    assert_without_outputs(notebook)


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

    places["WORK"].mkdir()
    run_notebook(notebook, tmp_path, monkeypatch)

    work = places["WORK"]
    with (work / "run" / "log.csv").open() as file:
        log = list(csv.DictReader(file))
    assert len(log) == SETTINGS["epochs"]
    assert float(log[-1]["loss"]) < float(log[0]["loss"])
    assert count_pictures(notebook) == {"look": 1, "curve": 1, "evaluate": 2, "segment": 1}
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
