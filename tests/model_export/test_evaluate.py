"""`evaluate`: metrics, tables and pictures, and the score of the shipped model."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungseg.model.lung import LUNG_WEIGHTS, LungNetwork
from lungseg.model.session import thread_count
from model_export.__main__ import main
from model_export.data.index import Index, read_target
from model_export.evaluate import evaluate
from model_export.prepare import prepare
from model_export.scores import metrics
from model_export.scores.scoring import CALIBRATION_BINS, bootstrap_interval, score_images


def square(top: int, left: int, side: int = 20) -> np.ndarray:
    mask = np.zeros((100, 120), bool)
    mask[top : top + side, left : left + side] = True
    return mask


class TestMetrics:
    def test_dice_and_jaccard(self) -> None:
        a, b = square(10, 10), square(10, 20)  # each half shared
        assert metrics.dice(a, b) == pytest.approx(0.5)
        assert metrics.jaccard(a, b) == pytest.approx(1 / 3)
        assert metrics.dice(a, a) == metrics.jaccard(a, a) == 1
        assert metrics.dice(a, np.zeros_like(a)) == 0
        assert metrics.dice(np.zeros_like(a), np.zeros_like(a)) == 1

    def test_surface_distances_in_pixels(self) -> None:
        assert metrics.surface_distances(square(10, 10), square(10, 10)) == (0, 0)
        hd95, assd = metrics.surface_distances(square(10, 10), square(14, 10))
        assert hd95 == pytest.approx(4)
        assert 0 < assd < 4
        inner, outer = square(30, 30, 20), square(25, 25, 30)  # 5 pixels larger on each side
        hd95, assd = metrics.surface_distances(inner, outer)
        assert 5 <= hd95 <= 5 * 2**0.5
        assert 5 <= assd <= 5 * 2**0.5

    def test_surfaces_at_the_image_border_count(self) -> None:
        assert metrics.surface_distances(square(0, 0), square(0, 0)) == (0, 0)
        assert metrics.surface_distances(square(0, 0), square(3, 0))[0] == pytest.approx(3)
        whole = np.ones((50, 60), bool)
        assert metrics.surface_distances(whole, whole) == (0, 0)

    def test_empty_mask_has_infinite_distance(self) -> None:
        assert metrics.surface_distances(square(0, 0), np.zeros((100, 120), bool)) == (np.inf, np.inf)

    def test_bce_in_nats(self) -> None:
        target = square(0, 0)
        assert metrics.bce(np.full(target.shape, 0.5, np.float32), target) == pytest.approx(np.log(2), abs=1e-6)
        assert metrics.bce(target.astype(np.float32), target) == 0
        assert np.isfinite(metrics.bce(1 - target.astype(np.float32), target))


def test_evaluate_writes_tables_and_pictures(index: Index, tmp_path: Path, capsys) -> None:
    """The shipped model's scores on phantoms do not matter; the files do."""
    rows = index.select("test")
    scored = evaluate(index, rows, LungNetwork(LUNG_WEIGHTS, thread_count()), tmp_path)
    with (tmp_path / "scores.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["id"] for line in lines] == [row.id for row in rows]
    assert float(lines[0]["dice"]) == pytest.approx(scored[0].scores["dice"], abs=1e-6)
    said = capsys.readouterr().out
    dice = [float(line["dice"]) for line in lines if line["source"] == "montgomery"]
    low, high = bootstrap_interval(dice)
    assert f"{np.mean(dice):.4f} ({low:.4f} to {high:.4f})" in said
    for source in ("montgomery", "shenzhen"):
        with Image.open(tmp_path / f"{source}.png") as picture:
            assert picture.width > 1000


def test_bootstrap_interval_narrows_with_more_values() -> None:
    values = np.random.default_rng(1).normal(0.95, 0.02, 400)
    (low, high), (wide_low, wide_high) = bootstrap_interval(list(values)), bootstrap_interval(list(values[:25]))
    # The normal approximation: 1.96 standard errors either way.
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert low < values.mean() < high
    assert wide_high - wide_low > 2 * (high - low)
    assert bootstrap_interval(list(values)) == (low, high)


def test_calibration_counts_every_pixel_once(index: Index) -> None:
    """Bins cover all pixels, and their mean probability is in range."""
    row = index.select("test")[0]
    (scored,) = score_images(index, [row], LungNetwork(LUNG_WEIGHTS, thread_count()))
    assert scored.calibration[:, 0].sum() == row.height * row.width
    assert scored.calibration[:, 2].sum() == read_target(index, row).sum()
    steps = np.arange(CALIBRATION_BINS) / CALIBRATION_BINS
    held = scored.calibration[:, 0] > 0
    means = scored.calibration[held, 1] / scored.calibration[held, 0]
    assert (means >= steps[held] - 1e-6).all()
    assert (means <= steps[held] + 1 / CALIBRATION_BINS + 1e-6).all()


def test_missing_image_is_named(index: Index, tmp_path: Path, capsys) -> None:
    (tmp_path / "index.csv").write_text(
        (index.folder / "index.csv").read_text().replace("pulmonary-chest-xray-abnormalities", "gone")
    )
    (tmp_path / "prepare.json").write_text((index.folder / "prepare.json").read_text())
    assert main(["evaluate", "--data", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "gone" in capsys.readouterr().err


def test_damaged_image_is_named(index: Index, tmp_path: Path, capsys) -> None:
    shutil.copytree(index.input, tmp_path / "input")
    image = tmp_path / "input" / index.select("test")[0].image
    image.write_bytes(image.read_bytes()[:500])
    (tmp_path / "index.csv").write_text((index.folder / "index.csv").read_text())
    facts = (index.folder / "prepare.json").read_text().replace(str(index.input), str(tmp_path / "input"))
    (tmp_path / "prepare.json").write_text(facts)
    assert main(["evaluate", "--data", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert image.name in capsys.readouterr().err.splitlines()[-1]


def test_shipped_model_reaches_its_published_dice(shared: Path, tmp_path: Path) -> None:
    """Mean Dice at full image size, end to end: 28 Montgomery and 114 Shenzhen images."""
    index = prepare(shared / "input", tmp_path / "data", 512, shared / "splits", 1, 0.2, None, 2)
    scored = evaluate(index, index.select("test"), LungNetwork(LUNG_WEIGHTS, thread_count()), tmp_path / "out")
    dice = {
        source: [image.scores["dice"] for image in scored if image.row.source == source]
        for source in ("montgomery", "shenzhen")
    }
    assert [len(values) for values in dice.values()] == [28, 114]
    assert np.mean(dice["montgomery"]) >= 0.975
    assert np.mean(dice["shenzhen"]) >= 0.950
