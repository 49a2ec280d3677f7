"""`curve` plots a run's log."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from model_export.__main__ import main

LOG = """epoch,loss,validation_dice,validation_dice_montgomery,validation_dice_shenzhen,learning_rate,seconds
1,1.2,0.5,0.6,0.4,1e-4,3.0
2,0.9,0.7,0.8,0.6,1e-4,3.0
"""


def test_curve_is_written_beside_the_log(tmp_path: Path, capsys) -> None:
    (tmp_path / "log.csv").write_text(LOG)
    assert main(["curve", "--run", str(tmp_path)]) == 0
    assert str(tmp_path / "curve.png") in capsys.readouterr().out
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.width > 1000


def test_missing_log_is_reported(tmp_path: Path, capsys) -> None:
    assert main(["curve", "--run", str(tmp_path)]) == 2
    assert "has no log.csv" in capsys.readouterr().err
