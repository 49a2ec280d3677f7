"""`expect`: fitted robustly, scored on held-out patients, and stored in the model card."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lungseg.model.card import FIGURES
from lungseg.model.lung import LungNetwork
from lungseg.pipeline.expected_dice import MaskFigures, estimate_dice
from model_export.config import Config
from model_export.data.index import Index
from model_export.export import export
from model_export.report.expect import MaskSample, fit_calibration, learn_expected_dice
from model_export.report.worsen import WORSENING_CHANGES, worsen_image
from model_export.train import train


def sample(number: int, random: np.random.Generator) -> MaskSample:
    """Return a mask whose Dice follows from its figures; every tenth reference mask is wrong."""
    figures = random.uniform(0, 1, len(FIGURES))
    dice = 1.01 - np.exp(-4 + 1.5 * figures[0] + 0.5 * figures[3])
    wrong = 0.4 if number % 10 == 0 else 0.0
    return MaskSample(
        str(number),
        "a",
        str(number // 3),
        0,
        ("blur",) * (number % 2),
        float(dice - wrong),
        MaskFigures(*map(float, figures)),
    )


def test_fit_is_robust_to_wrong_masks() -> None:
    random = np.random.default_rng(1)
    samples = [sample(number, random) for number in range(400)]
    calibration = fit_calibration(samples)
    right = [each for position, each in enumerate(samples) if position % 10]
    assert np.mean([abs(estimate_dice(calibration, each.figures) - each.dice) for each in right]) < 0.01


def test_worsening_is_reproducible() -> None:
    image = np.random.default_rng(1).random((96, 96), np.float32)
    mask = np.zeros((96, 96), bool)
    mask[20:80, 10:40] = mask[20:80, 56:86] = True
    for seed in range(2 * len(WORSENING_CHANGES)):
        (once, names), (again, _) = (worsen_image(image, mask, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(once, again)
        assert 1 <= len(names) <= 3
        assert once.dtype == np.float32
        assert 0 <= once.min() <= once.max() <= 1
        assert not np.array_equal(once, image)


def test_expect_writes_coefficients_for_the_model_card(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Phantoms are small and do not look like frontal chest X-rays, which does not matter here.
    monkeypatch.setattr("model_export.report.expect.MIN_FRONTAL", 0.0)
    monkeypatch.setattr("lungseg.limits.MIN_SIDE", 16)
    settings = Config(base=4, depth=3, max_channels=8, epochs=1, folds=2, fold_source="montgomery", learning_rate=0.02)
    train(index, tmp_path / "fold0", settings, resume=False)
    last = tmp_path / "fold0" / "last.pt"
    out = tmp_path / "expected"
    first = index.select_scored("validation")[0].id
    calibration = learn_expected_dice(index, [last], out, (first,), seed=1)
    assert "mean_absolute_error" in capsys.readouterr().out
    with (out / "expected_dice.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "" in {row["changes"] for row in rows}
    assert any("blur" in row["changes"] for row in rows)
    assert first not in {row["id"] for row in rows}
    facts = json.loads((out / "expected_dice.json").read_text())
    assert facts["learned_from"] == len(rows)
    assert (out / "expected_dice.png").exists()
    export(last, tmp_path / "net.onnx", index, index.select("validation"), expected_dice=out / "expected_dice.json")
    assert LungNetwork(tmp_path / "net.onnx", threads=1).card.calibration == calibration

    (out / "expected_dice.json").write_text("{}")
    with pytest.raises(ValueError, match="has no coefficients"):
        export(last, tmp_path / "n.onnx", index, index.select("validation"), expected_dice=out / "expected_dice.json")
    with pytest.raises(ValueError, match="not a checkpoint of a run"):
        learn_expected_dice(index, [tmp_path / "net.onnx"], out, (), seed=1)
