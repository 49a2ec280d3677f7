"""`verdict` counts verdicts on images in all presentations and on other pictures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lungseg.model.lung import LUNG_WEIGHTS, int8_path
from model_export.__main__ import main
from model_export.data.index import Index
from model_export.network.checkpoint import read_model
from model_export.report.verdict import PRESENTATIONS, judge_verdicts


def test_every_image_and_picture_has_a_line(index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    others = tmp_path / "noise"
    others.mkdir()
    noise = np.random.default_rng(1).integers(0, 255, (200, 200), np.uint8)
    Image.fromarray(noise).save(others / "noise.png")
    (others / "notes.txt").write_text("not a picture")
    rows = index.select("test")[:2]
    judged = judge_verdicts(index, rows, [others], read_model(int8_path(LUNG_WEIGHTS)), tmp_path / "out")
    assert len(judged) == len(rows) * len(PRESENTATIONS) + 1
    with (tmp_path / "out" / "verdicts.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines if line["group"] == "noise"] == ["noise.png"]
    assert judged[-1].decision in ("review", "reject")
    assert all(0 <= float(line["dice"]) <= 1 for line in lines if line["group"] != "noise")
    assert "reject    1" in capsys.readouterr().out.splitlines()[-2]


def test_folder_without_pictures_is_named(index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["verdict", "--data", str(index.folder), "--split", "test", "--output", str(tmp_path / "out")]
    for folder, says in ((tmp_path / "nowhere", "no folder"), (tmp_path, "no readable picture")):
        assert main([*arguments, "--others", str(folder)]) == 2
        assert says in capsys.readouterr().err
