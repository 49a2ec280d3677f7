"""Disturbances keep image and target aligned, and their cost is reported."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lungseg.model.lung import LUNG_WEIGHTS, int8_path
from model_export.data.index import Index
from model_export.data.phantoms import draw_chest
from model_export.network.checkpoint import read_model
from model_export.prepare import prepare
from model_export.report.robustness import DISTURBANCES, UNCHANGED, measure_robustness


@pytest.mark.parametrize("name", DISTURBANCES)
def test_target_stays_on_the_lungs(name: str) -> None:
    image, left, right = draw_chest(300, 360, 5)
    kind = DISTURBANCES[name]
    changed = np.asarray(kind.image(Image.fromarray(image))).astype(float)
    target = Image.fromarray((left | right).astype(np.uint8) * 255)
    lungs = np.asarray(kind.mask(target) if kind.mask else target) > 127
    assert changed.shape == lungs.shape
    # A ring of body around the lungs is brighter than the lungs, or darker if inverted.
    widened = np.asarray(Image.fromarray(lungs.astype(np.uint8) * 255).filter(ImageFilter.MaxFilter(9))) > 0
    contrast = np.median(changed[widened & ~lungs]) - np.median(changed[lungs])
    assert contrast * (-1 if name == "inverted" else 1) > 20


def test_robustness_writes_table_and_picture(index: Index, tmp_path: Path, capsys) -> None:
    rows = index.select("test")
    dice = measure_robustness(index, rows, read_model(int8_path(LUNG_WEIGHTS)), tmp_path)
    with (tmp_path / "robustness.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["change"] for line in lines} == set(DISTURBANCES)
    assert len(lines) == 2 * len(DISTURBANCES)
    line = next(line for line in lines if (line["change"], line["images of"]) == ("inverted", "shenzhen"))
    cost = np.mean(dice[UNCHANGED, "shenzhen"]) - np.mean(dice["inverted", "shenzhen"])
    assert float(line["cost"]) == pytest.approx(cost, abs=1e-4)
    assert (tmp_path / "robustness.png").stat().st_size > 10_000
    assert "picture" in capsys.readouterr().out


def test_shipped_model_is_robust(shared: Path, tmp_path: Path) -> None:
    """Exposure, noise, blur, compression and 10 degrees cost at most 0.02 mean Dice on 14 validation images."""
    index = prepare(shared / "input", tmp_path / "data", 512, shared / "splits", 1, 0.2, None, 2)
    rows = [row for row in index.select("validation") if row.source == "montgomery"]
    dice = measure_robustness(index, rows, read_model(int8_path(LUNG_WEIGHTS)), tmp_path / "out")
    unchanged = np.mean(dice[UNCHANGED, "montgomery"])
    upright = [
        name
        for name in DISTURBANCES
        if not name.startswith(("rotated by 90", "rotated by 180", "rotated by 270", "rotated by -15", "rotated by 15"))
    ]
    costs = {name: unchanged - np.mean(dice[name, "montgomery"]) for name in upright}
    assert max(costs.values()) <= 0.02, costs
