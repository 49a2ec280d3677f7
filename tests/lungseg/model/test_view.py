"""The shipped view network tells how real images lie, and that a leg is no chest."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from films import packaged
from numpy.typing import NDArray

from lungseg.decode import decode
from lungseg.errors import ModelError
from lungseg.model.lung import LUNG_WEIGHTS
from lungseg.model.preprocess import InputSpec, preprocess
from lungseg.model.view import ViewNetwork, load_view

Square = NDArray[np.float32]


@pytest.fixture(scope="module")
def rg1_square(rg1_pixels: NDArray[np.uint16]) -> Square:
    return preprocess(rg1_pixels, InputSpec())[0]


def turned(square: Square, turns: int) -> Square:
    return np.ascontiguousarray(np.rot90(square, turns, (2, 3)))


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_a_real_film_is_told_however_it_lies(rg1_square: Square, turns: int, inverted: bool) -> None:
    view = load_view()(turned(-rg1_square if inverted else rg1_square, turns))
    assert view.turns.argmax() == turns
    assert view.turns.sum() == pytest.approx(1, abs=1e-5)
    assert (view.inverted > 0.5) == inverted
    assert view.frontal > 0.5


@pytest.mark.parametrize("turns", range(4))
def test_a_mirrored_film_is_told_from_one_that_is_not(rg1_square: Square, turns: int) -> None:
    """Mirrored first and turned then, as the labels are."""
    plain, mirrored = (load_view()(turned(square, turns)) for square in (rg1_square, rg1_square[..., ::-1]))
    assert plain.mirrored < 0.5 < mirrored.mirrored
    assert mirrored.turns.argmax() == turns


def test_a_square_of_another_size_is_no_trouble(rg1_pixels: NDArray[np.uint16]) -> None:
    """A segmentation network may have been trained on smaller images."""
    view = load_view()(turned(preprocess(rg1_pixels, InputSpec(size=192))[0], 1))
    assert view.turns.argmax() == 1
    assert view.frontal > 0.5


def test_a_leg_is_no_chest() -> None:
    square, _ = preprocess(decode(packaged("RG3_UNCR.dcm").read_bytes()).pixels, InputSpec())
    assert load_view()(square).frontal < 0.1


def test_noise_is_no_chest() -> None:
    noise = np.random.default_rng(1).normal(0, 1, (1, 1, 512, 512)).astype(np.float32)
    assert load_view()(noise).frontal < 0.5


def test_the_file_says_what_it_was_trained_on() -> None:
    card = load_view().card
    assert card["training"]["films"] > 0
    assert len(card["training"]["data_sha256"]) == 64
    assert card["metrics"]["turns_right"] > 0.95
    assert card["input"] == {"size": 512, "low_percentile": 0.5, "high_percentile": 99.5, "stride": 4, "channels": 1}


def test_a_file_that_is_missing_or_another_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        ViewNetwork(tmp_path / "view.onnx", 1)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="is damaged") as refusal:
        ViewNetwork(tmp_path / "text.onnx", 1)
    assert str(tmp_path) not in str(refusal.value)
    shutil.copy(LUNG_WEIGHTS, tmp_path / "lungs.onnx")
    with pytest.raises(ModelError, match="no card"):
        ViewNetwork(tmp_path / "lungs.onnx", 1)
