"""The report and the cards contain the scores of their model."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lungseg.model.lung import LUNG_WEIGHTS, LungNetwork, int8_path
from model_export.__main__ import main
from model_export.config import Config
from model_export.data.index import Index
from model_export.data.phantoms import SIZE, TINY
from model_export.prepare import prepare
from model_export.scores.scoring import bootstrap_interval, score_images
from model_export.train import train


@pytest.fixture(scope="module")
def run(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(index, folder, Config(**TINY, epochs=6, augment=False), resume=False)
    return folder


@pytest.fixture(scope="module")
def model(index: Index, run: Path) -> Path:
    output = run / "tiny.onnx"
    files = ["--data", str(index.folder), "--checkpoint", str(run / "best.pt"), "--output", str(output)]
    assert main(["export", *files, "--no-int8"]) == 0
    return output


@pytest.fixture(scope="module")
def written(index: Index, run: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report and the cards."""
    output = tmp_path_factory.mktemp("report")
    flags = ["--data", str(index.folder), "--model", str(model), "--run", str(run), "--others", str(run / "last.pt")]
    assert main(["report", *flags, "--output", str(output), "--cards", str(output / "docs")]) == 0
    return output


def test_report_page_is_self_contained(written: Path) -> None:
    page = (written / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:image/(png|jpeg);base64,|#)', page)
    assert len(re.findall(r"<img ", page)) == 10  # four plots, and best, middle and worst of two sets


@pytest.mark.parametrize("name", ["report.html", "docs/MODEL_CARD.md"])
def test_report_has_the_model_s_scores(written: Path, index: Index, model: Path, name: str) -> None:
    text, network = (written / name).read_text(), LungNetwork(model, threads=1)
    assert network.sha256 in text
    assert network.card.training["data_sha256"] in text
    scored = score_images(index, index.select("test"), network)
    for source in ("montgomery", "shenzhen"):
        dice = [image.scores["dice"] for image in scored if image.row.source == source]
        low, high = bootstrap_interval(dice)
        assert f"{np.mean(dice):.4f} ({low:.4f} to {high:.4f})" in text
        assert f"{min(dice):.4f}" in text
    for said in ("rotated by 10", "rotated by 180", "montgomery, tuberculosis", "last.pt"):
        assert said in text


def test_data_card_counts_all_images(written: Path, index: Index) -> None:
    card = (written / "docs/DATA_CARD.md").read_text()
    lines = re.findall(r"^\| (montgomery|shenzhen) \| (train|validation|test) \|.*\| (\d+) \|$", card, re.MULTILINE)
    assert sum(int(count) for *_, count in lines) == len(index.rows)


def test_report_rejects_the_run_of_another_model(index: Index, model: Path, tmp_path: Path, capsys) -> None:
    train(index, tmp_path / "other", Config(**TINY, epochs=1), resume=False)
    flags = ["--data", str(index.folder), "--model", str(model), "--run", str(tmp_path / "other")]
    assert main(["report", *flags, "--output", str(tmp_path / "report")]) == 2
    assert "is not the run of this model" in capsys.readouterr().err


def test_report_rejects_another_split(public: Path, run: Path, model: Path, tmp_path: Path, capsys) -> None:
    """The model may have been trained on its test images."""
    prepare(public, tmp_path / "other", SIZE, None, 7, 0.2, None, 2)
    flags = ["--data", str(tmp_path / "other"), "--model", str(model), "--run", str(run)]
    assert main(["report", *flags, "--output", str(tmp_path / "report")]) == 2
    assert "trained on other images" in capsys.readouterr().err


def test_report_rejects_a_checkpoint(index: Index, run: Path, tmp_path: Path, capsys) -> None:
    flags = ["--data", str(index.folder), "--model", str(run / "best.pt"), "--output", str(tmp_path)]
    assert main(["report", *flags]) == 2
    assert "the report needs an .onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("card", "name"), [("docs/MODEL_CARD.md", "lung_unet"), ("docs/open/MODEL_CARD.md", "lung_unet_open")]
)
def test_committed_cards_match_the_shipped_models(card: str, name: str) -> None:
    card = (Path(__file__).parents[3] / card).read_text()
    weights = LUNG_WEIGHTS.with_name(f"{name}.onnx")
    exact, quantised = (LungNetwork(path, threads=1) for path in (weights, int8_path(weights)))
    assert quantised.sha256 in card
    assert exact.sha256 == quantised.card.quantised_from
    assert exact.sha256 in card


def test_open_weights_do_not_derive_from_shenzhen_masks() -> None:
    training = LungNetwork(LUNG_WEIGHTS.with_name("lung_unet_open.onnx"), threads=1).card.training
    assert training["labelled"]["shenzhen"]["masks_of"] == ["montgomery"]
