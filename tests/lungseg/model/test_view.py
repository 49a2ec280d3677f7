"""The shipped view network detects rotation, inversion and mirroring, and rejects images that are not a chest."""

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


def rotated(square: Square, turns: int) -> Square:
    return np.ascontiguousarray(np.rot90(square, turns, (2, 3)))


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_rotation_and_inversion_are_detected(rg1_square: Square, turns: int, inverted: bool) -> None:
    view = load_view()(rotated(-rg1_square if inverted else rg1_square, turns))
    assert view.turns.argmax() == turns
    assert view.turns.sum() == pytest.approx(1, abs=1e-5)
    assert (view.inverted > 0.5) == inverted
    assert view.frontal > 0.5


@pytest.mark.parametrize("turns", range(4))
def test_mirroring_is_detected(rg1_square: Square, turns: int) -> None:
    """Images are mirrored first and rotated then, like the labels."""
    plain, mirrored = (load_view()(rotated(square, turns)) for square in (rg1_square, rg1_square[..., ::-1]))
    assert plain.mirrored < 0.5 < mirrored.mirrored
    assert mirrored.turns.argmax() == turns


def test_input_of_another_size_is_resized(rg1_pixels: NDArray[np.uint16]) -> None:
    """A lung network may have been trained on smaller images."""
    view = load_view()(rotated(preprocess(rg1_pixels, InputSpec(size=192))[0], 1))
    assert view.turns.argmax() == 1
    assert view.frontal > 0.5


def test_leg_is_not_frontal() -> None:
    square, _ = preprocess(decode(packaged("RG3_UNCR.dcm").read_bytes()).pixels, InputSpec())
    assert load_view()(square).frontal < 0.1


def test_noise_is_not_frontal() -> None:
    noise = np.random.default_rng(1).normal(0, 1, (1, 1, 512, 512)).astype(np.float32)
    assert load_view()(noise).frontal < 0.5


def test_card_names_training_data_and_scores() -> None:
    card = load_view().card
    assert card["training"]["films"] > 0
    assert len(card["training"]["data_sha256"]) == 64
    assert card["metrics"]["turns_right"] > 0.95
    assert card["input"] == {"size": 512, "low_percentile": 0.5, "high_percentile": 99.5, "stride": 4, "channels": 1}


def test_invalid_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        ViewNetwork(tmp_path / "view.onnx", 1)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="is damaged") as raised:
        ViewNetwork(tmp_path / "text.onnx", 1)
    assert str(tmp_path) not in str(raised.value)
    shutil.copy(LUNG_WEIGHTS, tmp_path / "lungs.onnx")
    with pytest.raises(ModelError, match="no card"):
        ViewNetwork(tmp_path / "lungs.onnx", 1)
