"""`view` writes a network that can be served, and labels its batches correctly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from films import png
from torch.nn import functional

from lungseg.model import checksum
from lungseg.model.card import METADATA_KEY
from lungseg.model.preprocess import InputSpec, preprocess
from lungseg.model.view import ViewNetwork
from model_export.__main__ import main
from model_export.data.index import Index, digest_rows, find_mask_origins, read_radiograph
from model_export.data.phantoms import draw_chest
from model_export.view import batches, viewports
from model_export.view.batches import POOL, Batches, orient_squares
from model_export.view.made_up import make_up_pictures
from model_export.view.pictures import PICTURE_SIDE, Picture, read_image_pictures, shuffle_blocks
from model_export.view.viewports import Viewport

LUNGS = [draw_chest(PICTURE_SIDE, PICTURE_SIDE, 1)[1]]


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A folder of eleven pictures, one of them below another folder, and a text."""
    folder = tmp_path / "others"
    (folder / "below").mkdir(parents=True)
    random = np.random.default_rng(1)
    for number in range(11):
        pixels = random.integers(0, 255, (80, 100 + number)).astype(np.uint8)
        (folder / ("below" if number == 0 else ".") / f"{number:02}.png").write_bytes(png(pixels))
    (folder / "notes.txt").write_text("no readable picture")
    return folder


def test_trained_view_network_is_served(index: Index, others: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "weights" / "view.onnx"
    files = ["--data", str(index.folder), "--others", str(others), "--output", str(output)]
    assert main(["view", *files, "--epochs", "2"]) == 0
    said = capsys.readouterr()
    assert "10 other pictures to train on" in said.out
    assert "1 files rejected" in said.out
    assert "turns right" in said.out
    assert "2/2" in said.err

    network = ViewNetwork(output, threads=1)
    training = network.card["training"]
    assert training["films"] == len(index.select("train"))
    assert training["data_sha256"] == digest_rows(index.select("train"))
    assert training["others"] == {"others": 10}
    assert find_mask_origins(training) == {
        "montgomery",
        "shenzhen",
    }  # made-up pictures use the outlines of their lungs
    assert 0 <= network.card["metrics"]["mirrored_auc"] <= 1
    for row in index.select("validation"):
        view = network(preprocess(read_radiograph(index, row).pixels, InputSpec(size=index.size))[0])
        assert view.turns.shape == (4,)
        assert view.turns.sum() == pytest.approx(1, abs=1e-5)
        assert all(0 <= value <= 1 for value in (view.mirrored, view.inverted, view.frontal))

    model = onnx.load(output)
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY, checksum.CHECKSUM_KEY]
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)


def test_invalid_folders_are_named(index: Index, others: Path, tmp_path: Path, capsys) -> None:
    def refused(*arguments: str) -> str:
        assert main(["view", "--data", str(index.folder), "--output", str(tmp_path / "view.onnx"), *arguments]) == 2
        return str(capsys.readouterr().err)

    assert "there is no folder" in refused("--others", str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "no readable picture" in refused("--others", str(others), str(tmp_path / "empty"))
    assert "epochs is 0" in refused("--others", str(others), "--epochs", "0")
    assert not (tmp_path / "view.onnx").exists()


def quadrants() -> Picture:
    """A picture of four greys that every rotation and mirroring changes."""
    return Picture(
        np.kron(np.array([[0, 0.3], [0.6, 1]]), np.ones((PICTURE_SIDE // 2, PICTURE_SIDE // 2))).astype(np.float32),
        "images",
    )


def test_labels_match_the_orientation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undoing the orientation in the order of lungseg.model.view restores every square."""
    for module in (batches, viewports):
        monkeypatch.setattr(module, "draw_image_viewport", lambda random: Viewport(0, (1, 1), (0, 0)))
    for changes in ("_add_opacities", "_expose"):
        monkeypatch.setattr(Batches, changes, lambda self, squares: squares)
    batch = Batches([quadrants()], [], make_up_pictures(8, 1, LUNGS), 256, seed=1).draw(64)
    assert batch.frontal.tolist() == [1] * 32 + [0] * 32
    assert len(set(zip(batch.turns[:32].tolist(), batch.mirrored[:32].tolist(), strict=True))) == 8
    expected = functional.interpolate(torch.from_numpy(quadrants().box)[None, None], size=(64, 64), mode="area")[0, 0]
    for number in range(32):
        square = batch.squares[number, 0].numpy()
        upright = np.rot90(square, -int(batch.turns[number]))
        upright = upright[:, ::-1] if batch.mirrored[number] else upright
        upright = -upright if batch.inverted[number] else upright
        assert np.corrcoef(upright.ravel(), expected.numpy().ravel())[0, 1] > 0.99


def test_squares_are_standardised_in_their_box(index: Index) -> None:
    images = read_image_pictures(index, index.select("train"))
    batches = Batches(images, [], make_up_pictures(16, 1, LUNGS), 256, seed=1)
    for squares in (batches.draw(64).squares for _ in range(3)):
        assert squares.shape == (64, 1, 256 // POOL, 256 // POOL)
        assert torch.isfinite(squares).all()
        for square in squares[:, 0]:
            rows, columns = square.any(1).nonzero().flatten(), square.any(0).nonzero().flatten()
            assert max(rows[-1] - rows[0], columns[-1] - columns[0]) == 63  # the longer side fills the square
            inside = square[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert abs(float(inside.mean())) < 0.05
            assert float(inside.std()) < 1.1
        for square in squares[:32, 0]:
            assert float(square[square != 0].std()) > 0.7


def test_batches_depend_on_the_seed(index: Index) -> None:
    images, made = read_image_pictures(index, index.select("train")), make_up_pictures(8, 1, LUNGS)
    one, same, other = (Batches(images, [], made, 256, seed).draw(16).squares for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_pictures_are_grouped_by_folder() -> None:
    grey = np.ones((PICTURE_SIDE, PICTURE_SIDE), np.float32)
    many = [Picture(grey, "photos") for _ in range(90)]
    batches = Batches([quadrants()], [*many, Picture(grey, "lateral")], make_up_pictures(8, 1, LUNGS), 256, seed=1)
    assert [len(group) for group in batches.groups] == [1, 90]


def test_squares_are_mirrored_then_rotated() -> None:
    square = torch.arange(4.0).reshape(1, 1, 2, 2)
    laid = orient_squares(square, np.array([True]), np.array([1]))
    assert np.array_equal(laid[0, 0].numpy(), np.rot90(np.fliplr(square[0, 0].numpy())))


def test_shuffled_blocks_keep_their_pixels() -> None:
    image = np.random.default_rng(1).random((60, 48)).astype(np.float32)
    for seed in range(10):
        blocks = shuffle_blocks(image, np.random.default_rng(seed))
        assert sorted(blocks.ravel()) == sorted(image.ravel())
        assert (blocks == image).mean() < 0.4
