"""Self-training with `label`, the origins of masks, and `compare`."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_export.__main__ import main
from model_export.config import Config
from model_export.data.index import Index, find_mask_origins, read_index, write_index
from model_export.data.label import label_images
from model_export.data.phantoms import TINY
from model_export.network import checkpoint
from model_export.scores.metrics import dice
from model_export.train import train


@pytest.fixture(scope="module")
def montgomery(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint trained on one set only."""
    run = tmp_path_factory.mktemp("montgomery")
    train(index, run, Config(**TINY, epochs=25, augment=False, sources=("montgomery",)), resume=False)
    return run / "best.pt"


def mask(folder: Path, image: str) -> np.ndarray:
    with Image.open(folder / "masks" / f"{image}.png") as picture:
        return np.asarray(picture) > 0


@pytest.fixture(scope="module")
def labelled(index: Index, montgomery: Path, tmp_path_factory: pytest.TempPathFactory) -> Index:
    output = tmp_path_factory.mktemp("labelled") / "data"
    command = ["label", "--data", str(index.folder), "--model", str(montgomery), "--output", str(output)]
    assert main(command) == 0
    return read_index(output)


def test_sources_limit_training_and_validation(index: Index, montgomery: Path) -> None:
    state = checkpoint.read_checkpoint(montgomery)
    assert state["sources"] == ["montgomery"]
    assert state["films"] == len(index.select("train", sources=("montgomery",)))
    assert list(state["validation_dice"]) == ["montgomery"]


def test_label_replaces_masks_of_named_sets(index: Index, labelled: Index) -> None:
    for before, after in zip(index.rows, labelled.rows, strict=True):
        own, drawn = mask(index.folder, before.id), mask(labelled.folder, after.id)
        if before.source == "shenzhen" and before.split != "test":
            assert after.sha256 != before.sha256
            assert after.quality == "drawn by a model"
            assert dice(own, drawn) > 0.8  # it was trained on such phantoms
            assert not (own == drawn).all()
        else:
            assert after == before
            assert (own == drawn).all()


def test_card_records_mask_origins(labelled: Index, tmp_path: Path) -> None:
    train(labelled, tmp_path, Config(**TINY, epochs=1), resume=False)
    training = checkpoint.TorchModel(tmp_path / "best.pt").card.training
    assert training["sources"] == ["montgomery", "shenzhen"]
    assert training["labelled"] == {"shenzhen": {"by": "best, trained on montgomery", "masks_of": ["montgomery"]}}
    assert find_mask_origins(training) == {"montgomery"}


def test_label_rejects_models_trained_on_those_masks(index: Index, tmp_path: Path, capsys) -> None:
    train(index, tmp_path / "run", Config(**TINY, epochs=1), resume=False)
    command = ["label", "--data", str(index.folder), "--model", str(tmp_path / "run" / "best.pt")]
    assert main([*command, "--output", str(tmp_path / "out")]) == 2
    assert "was trained on masks of montgomery, shenzhen" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_mask_origins_include_the_teacher_masks(labelled: Index, tmp_path: Path, capsys) -> None:
    """A model that learned Shenzhen's images from a model of Montgomery must not label Montgomery."""
    train(labelled, tmp_path / "run", Config(**TINY, epochs=1, sources=("shenzhen",)), resume=False)
    student = checkpoint.TorchModel(tmp_path / "run" / "best.pt").card.training
    assert student["sources"] == ["shenzhen"]
    assert find_mask_origins(student) == {"montgomery"}
    command = ["label", "--data", str(labelled.folder), "--model", str(tmp_path / "run" / "best.pt")]
    assert main([*command, "--sources", "montgomery", "--output", str(tmp_path / "out")]) == 2
    assert "was trained on masks of montgomery" in capsys.readouterr().err


def test_labelled_images_without_masks_are_not_scored(index: Index, montgomery: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    shutil.copytree(index.folder, folder)
    rows = [replace(row, kind="none", masks="") if row.source == "shenzhen" else row for row in index.rows]
    write_index(folder, rows, [], index.input, index.size, index.split)
    bare = read_index(folder)
    assert not bare.select("train", sources=("shenzhen",))
    made = label_images(bare, checkpoint.TorchModel(montgomery), ("shenzhen",), tmp_path / "out")
    assert made.select("train", sources=("shenzhen",)) != []
    assert {row.source for row in made.select_scored("validation")} == {"montgomery"}


def test_field_masks_cannot_be_relabelled(index: Index, montgomery: Path, tmp_path: Path) -> None:
    fields = replace(index, rows=[replace(row, kind="field") for row in index.rows])
    with pytest.raises(ValueError, match="shenzhen has field masks"):
        label_images(fields, checkpoint.TorchModel(montgomery), ("shenzhen",), tmp_path / "out")


class Blind:
    """A model that finds lung everywhere in every other image and none in the rest, and stops after ``images``."""

    def __init__(self, teacher: Path, images: int) -> None:
        self.card = checkpoint.TorchModel(teacher).card
        self.left = 2 * images

    def __call__(self, radiograph: np.ndarray) -> np.ndarray:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return np.full((1, *radiograph.shape[2:]), 0.2 + 0.7 * (self.left // 2 % 2), np.float32)


def test_images_without_predicted_lung_are_skipped(index: Index, montgomery: Path, tmp_path: Path) -> None:
    made = label_images(index, Blind(montgomery, 100), ("shenzhen",), tmp_path / "out")
    with (tmp_path / "out" / "skipped.csv").open() as file:
        skipped = {line["id"] for line in csv.DictReader(file)}
    assert 3 < len(skipped) < 10
    assert {row.id for row in made.rows} == {row.id for row in index.rows} - skipped


def test_interrupted_label_leaves_no_folder(index: Index, montgomery: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        label_images(index, Blind(montgomery, 4), ("shenzhen",), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    label_images(index, Blind(montgomery, 100), ("shenzhen",), tmp_path / "out")  # and does not block the next call


@pytest.mark.parametrize("sources", [["jsrt"], ["shenzhen", "jsrt"]])
def test_unknown_set_is_named(index: Index, montgomery: Path, tmp_path: Path, capsys, sources: list[str]) -> None:
    command = ["label", "--data", str(index.folder), "--model", str(montgomery), "--output", str(tmp_path / "out")]
    assert main([*command, "--sources", *sources]) == 2
    assert "jsrt" in capsys.readouterr().err


def test_compare_scores_models_on_the_same_images(index: Index, montgomery: Path, tmp_path: Path, capsys) -> None:
    train(index, tmp_path / "both", Config(**TINY, epochs=1), resume=False)
    models = [str(montgomery), str(tmp_path / "both" / "best.pt")]
    command = ["compare", "--data", str(index.folder), "--models", *models, "--output", str(tmp_path)]
    assert main(command) == 0
    with (tmp_path / "compare.csv").open() as file:
        table = list(csv.DictReader(file))
    assert table[0]["trained on"].startswith("montgomery: ")
    assert table[1]["trained on"].startswith(f"montgomery and shenzhen: {tmp_path}")
    worst = float(table[0]["tested on shenzhen"].split(", ")[-1])
    assert 0.8 < worst <= float(table[0]["tested on shenzhen"].split()[0])
    assert "tested on montgomery" in capsys.readouterr().out


def test_labelled_folder_records_its_model(labelled: Index) -> None:
    facts = json.loads((labelled.folder / "prepare.json").read_text())
    assert facts["labelled"] == labelled.labelled
    assert facts["labelled"]["shenzhen"]["masks_of"] == ["montgomery"]
