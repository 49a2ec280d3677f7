"""`search`: shapes are trained, exported, scored and timed once, and plotted."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import onnx
import pytest
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from lungseg.model.lung import LungNetwork, int8_path
from model_export.__main__ import main
from model_export.config import Config
from model_export.data.index import Index
from model_export.data.phantoms import TINY
from model_export.export import export
from model_export.network import quantise
from model_export.network.fit import Trainer
from model_export.sweeps import pareto, sweep
from model_export.sweeps.pareto import ParetoPoint, pair_seeds, pareto_front
from model_export.sweeps.search import _score, list_shapes
from model_export.train import train

SHORT = ["--epochs", "2", "--comparison-epochs", "1", "--comparison-size", "32", "--workers", "0"]


def command(index: Index, folder: Path, *more: str) -> list[str]:
    files = ["--data", index.folder, "--output", folder / "runs", "--picture", folder / "docs" / "pareto.png"]
    return ["search", *map(str, files), *SHORT, *more]


def table(folder: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (folder / "runs" / "search.csv").open(newline="") as file:
        return {(line["name"], line["precision"]): line for line in csv.DictReader(file)}


@pytest.fixture(scope="module")
def done(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shape and a network to compare them with, with the INT8 gate open, because they have hardly learned."""
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantise, "MAX_MEAN_LOSS", 1.0)
        patch.setattr(quantise, "MAX_LOSS", 1.0)
        assert main(command(index, folder, "--only", "separable", "plain-16")) == 0
    return folder


def test_every_file_is_scored_timed_and_plotted(done: Path, index: Index) -> None:
    lines = table(done)
    names = ("separable", "plain-16")
    assert lines.keys() == {(name, precision) for name in names for precision in ("fp32", "int8")}
    for line in lines.values():
        assert float(line["ms"]) > 0
        sources = [float(line[f"dice_{source}"]) for source in ("montgomery", "shenzhen")]
        assert float(line["dice"]) == pytest.approx(np.mean(sources), abs=1e-5)
    assert float(lines["separable", "fp32"]["gflop"]) < float(lines["plain-16", "fp32"]["gflop"])
    assert float(lines["plain-16", "int8"]["megabytes"]) < float(lines["plain-16", "fp32"]["megabytes"])
    with Image.open(done / "docs" / "pareto.png") as picture:
        assert picture.width > 1000


def test_network_trained_smaller_is_timed_at_full_size(done: Path, index: Index) -> None:
    line = table(done)["plain-16", "fp32"]
    assert line["trained"] == "1 epochs, at 32 px"
    assert line["size"] == "64"
    run = done / "runs" / "plain-16"
    assert LungNetwork(run / "network.onnx", 1).card.input.size == 32
    for path in (run / "full.onnx", int8_path(run / "full.onnx")):
        assert LungNetwork(path, 1).card.input.size == index.size
    assert table(done)["separable", "fp32"]["trained"] == ""


def test_finished_shapes_are_not_trained_again(
    done: Path, index: Index, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object) -> float:
        raise AssertionError("it trains again")

    monkeypatch.setattr(Trainer, "run_epoch", never)
    picture = done / "docs" / "pareto.png"
    picture.unlink()
    assert main(command(index, done, "--only", "separable")) == 0
    assert len(table(done)) == 4  # all finished shapes are timed, not only the named one
    assert picture.exists()
    picture.unlink()
    times = [line["ms"] for line in table(done).values()]
    assert main(command(index, done, "--draw-only")) == 0
    assert picture.exists()
    assert [line["ms"] for line in table(done).values()] == times
    assert main([*command(index, done), "--comparison-size", "64"]) == 2
    assert "was started with comparison_size 32, not 64" in capsys.readouterr().err.splitlines()[-1]


def test_killed_search_resumes_without_rejected_int8_file(
    index: Index,
    tmp_path: Path,
    epochs_left: list[int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    epochs_left[0] = 1
    monkeypatch.setattr(quantise, "MAX_MEAN_LOSS", -1.0)
    assert main(command(index, tmp_path, "--only", "base-16")) == 130
    assert not (tmp_path / "runs" / "base-16" / "result.json").exists()
    epochs_left[0] = 1  # the second
    assert main(command(index, tmp_path, "--only", "base-16")) == 0
    assert table(tmp_path).keys() == {("base-16", "fp32")}
    assert "base-16: no INT8 file, because INT8 loses" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--only", "resnet"], "no setting resnet; the settings are base-16"),
        (["--draw-only"], "no shape has been trained and timed yet"),
        (["--only", "depth-5"], "the input does not fit depth-5 (64 pixels, not divisible by 128)"),
        (["--comparison-size", "40"], "plain-16 (40 pixels, not divisible by 16)"),
        (["--comparison-size", "0"], "plain-16 (0 pixels, not divisible by 16)"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], says: str
) -> None:
    assert main(command(index, tmp_path, *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not (tmp_path / "runs").exists()


def test_shapes_that_do_not_fit_are_left_out(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[str] = []

    def note(variants: list[sweep.Variant], *_: object) -> dict[str, str]:
        tried.extend(variant.name for variant in variants)
        return {}

    monkeypatch.setattr(sweep, "run_variants", note)
    assert main(command(index, tmp_path)) == 2  # nothing is finished, so there is nothing to draw
    wrong = {"depth-5", "input-half", "input-three-quarters"}
    facts = {"epochs": 2, "comparison_epochs": 1, "comparison_size": 32, "precision": "auto", "workers": 0}
    assert set(tried) == {variant.name for variant in list_shapes(64, **facts)} - wrong
    said = capsys.readouterr().out
    assert all(name in said for name in wrong)


def test_run_with_other_settings_is_rejected(
    done: Path, index: Index, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "runs" / "separable"
    run.mkdir(parents=True)
    shutil.copy(done / "runs" / "sweep.json", run.parent)
    facts = json.loads((done / "runs" / "separable" / "config.json").read_text())
    facts["config"]["learning_rate"] = 1.0
    (run / "config.json").write_text(json.dumps(facts))
    assert main(command(index, tmp_path)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "separable was started with other settings (learning_rate 1.0, not 0.002); remove it or name another" in said


def test_damaged_image_is_named(done: Path, index: Index, tmp_path: Path) -> None:
    row = index.rows[0]
    (tmp_path / row.image).parent.mkdir(parents=True)
    (tmp_path / row.image).write_bytes(b"no image")
    with pytest.raises(ValueError, match=row.image):
        _score(replace(index, input=tmp_path), [row], done / "runs" / "separable" / "network.onnx")


def test_separable_network_passes_parity(index: Index, tmp_path: Path) -> None:
    train(index, tmp_path, Config(**TINY, epochs=3, convolution="separable"), resume=False)
    output = tmp_path / "model.onnx"
    assert export(tmp_path / "best.pt", output, index, index.select("validation")) < 1e-4
    kinds = [node.op_type for node in onnx.load(output).graph.node]
    assert "BatchNormalization" not in kinds
    normal = 3  # the stem, the first convolution and the head's mixture
    projections = 2  # 1x1 convolutions of the decoder, one a level
    assert kinds.count("Conv") == normal + 2 * 7 + projections + 1


def test_pareto_front() -> None:
    def point(milliseconds: float, dice: float) -> ParetoPoint:
        return ParetoPoint("", False, "fp32", milliseconds, dice, "")

    fast, slow, good = point(1, 0.90), point(5, 0.89), point(9, 0.95)
    assert pareto_front([good, slow, fast, point(1, 0.80)]) == [fast, good]
    assert pareto_front([good, replace(fast, trained="5 epochs")]) == [good]
    assert pareto_front([replace(fast, trained="5 epochs")]) == []


def test_plot_states_the_difference_of_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["name,group,precision,ms,dice,trained", "default,default,fp32,10,0.960,", "seed-2,default,fp32,9,0.963,"]
    table = tmp_path / "search.csv"
    table.write_text("\n".join(lines))
    figures: list[Figure] = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    pareto.draw_pareto(table, tmp_path / "pareto.png")
    monkeypatch.undo()
    (axis,) = figures[0].axes
    assert "fp32".upper() in axis.get_title("left")
    assert "0.0030" in axis.get_title("left")
    names = {child.get_text() for child in axis.get_children() if isinstance(child, Annotation)}
    assert names == {"default"}
    ((point, other),) = pair_seeds(pareto.read_points(table))
    assert (point.dice, other) == (0.960, 0.963)
    pyplot.close(figures[0])


def test_plot_labels_do_not_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty networks with similar scores."""
    random = np.random.default_rng(1)
    lines = ["name,group,precision,ms,dice,trained"]
    for number in range(20):
        lines.append(f"network-{number},shape,fp32,{random.uniform(10, 14)},{random.uniform(0.96, 0.965)},5 epochs")
    lines.append("original,comparison,fp32,2600,0.95,")
    (tmp_path / "search.csv").write_text("\n".join(lines))
    figures: list[Figure] = []
    monkeypatch.setattr(pyplot, "close", figures.append)
    pareto.draw_pareto(tmp_path / "search.csv", tmp_path / "pareto.png")
    (axis,) = (child for child in figures[0].get_children() if isinstance(child, Axes))
    figures[0].draw_without_rendering()
    boxes = [Text.get_window_extent(child) for child in axis.get_children() if isinstance(child, Annotation)]
    monkeypatch.undo()
    pyplot.close(figures[0])
    assert len(boxes) == 21
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
