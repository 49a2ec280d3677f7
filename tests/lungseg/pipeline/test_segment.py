"""The shipped models on real images: masks are correct, and independent of the file's encoding."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from films import dice, encode, packaged, png
from numpy.typing import NDArray
from PIL import Image

from lungseg import errors
from lungseg.decode import decode
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment


@pytest.fixture(scope="module")
def rg1_mask(rg1: bytes) -> NDArray[np.bool_]:
    return segment(rg1).mask


def test_both_lungs_are_found(rg1_mask: NDArray[np.bool_]) -> None:
    assert rg1_mask.shape == (1955, 1841)
    width = rg1_mask.shape[1]
    # Read off the image by eye: points inside each lung, and points that are not lung.
    for row, column in ((500, 480), (900, 400), (1200, 500), (500, 1250), (900, 1450), (1200, 1450)):
        assert rg1_mask[row, column]
    for row, column in ((900, 920), (1200, 1100), (1700, 500), (1700, 1500), (60, 60), (60, 1800)):
        assert not rg1_mask[row, column]
    left, right = rg1_mask[:, : width // 2].mean(), rg1_mask[:, width // 2 :].mean()
    assert 0.2 < left < 0.9
    assert 0.7 < left / right < 1.4  # the heart covers part of the left lung, on the right of the image


@pytest.mark.parametrize(("name", "min_dice"), [("UNCI", 0.999), ("J2KR", 0.999), ("J2KI", 0.99)])
def test_every_encoding_gives_the_same_mask(rg1_mask: NDArray[np.bool_], name: str, min_dice: float) -> None:
    """UNCR and J2KR contain the original pixels, J2KI a lossy copy, and UNCI that copy uncompressed."""
    mask = segment(packaged(f"RG1_{name}.dcm").read_bytes()).mask
    assert dice(mask, rg1_mask) >= min_dice


def test_lossy_copy_agrees_with_its_uncompressed_copy() -> None:
    masks = [segment(packaged(f"RG1_{name}.dcm").read_bytes()).mask for name in ("UNCI", "J2KI")]
    assert dice(*masks) >= 0.999


def test_8_and_16_bit_png_and_dicom_agree(rg1_mask: NDArray[np.bool_], rg1_pixels: NDArray[np.uint16]) -> None:
    sixteen = segment(png(rg1_pixels)).mask
    eight = segment(png((rg1_pixels >> 8).astype(np.uint8))).mask
    assert dice(sixteen, rg1_mask) >= 0.995
    assert dice(eight, rg1_mask) >= 0.995
    assert dice(eight, sixteen) >= 0.995


def test_high_quality_jpeg_gives_the_same_mask(rg1_mask: NDArray[np.bool_], rg1_png: bytes) -> None:
    jpeg = encode(Image.open(io.BytesIO(rg1_png)), "JPEG", quality=90)
    assert dice(segment(jpeg).mask, rg1_mask) >= 0.99


def test_inverted_image_is_segmented(rg1_mask: NDArray[np.bool_], rg1_pixels: NDArray[np.uint16]) -> None:
    """A MONOCHROME1 tag may be wrong, so the network is trained on inverted images, too."""
    assert dice(segment(png(65535 - rg1_pixels)).mask, rg1_mask) > 0.97


def test_mask_is_the_probability_above_the_threshold(rg1: bytes) -> None:
    result = segment(rg1, Options(clean=False))
    assert result.probability.dtype == np.float32
    assert 0 <= result.probability.min() <= result.probability.max() <= 1
    np.testing.assert_array_equal(result.mask, result.probability > 0.5)


def test_wrong_monochrome1_tag_changes_little(shared: Path) -> None:
    correct, wrong = (
        segment((shared / "dicom" / f"{name}.dcm").read_bytes()).mask
        for name in ("chest_pa_jpeg_baseline", "chest_pa_wrong_monochrome1_tag")
    )
    assert dice(correct, wrong) > 0.95


def test_blank_image_is_refused() -> None:
    with pytest.raises(errors.BlankImage):
        segment(png(np.full((500, 400), 9, np.uint8)))


@pytest.mark.parametrize("scale", [1.3, 2.4])
def test_large_jpeg_is_decoded_at_reduced_scale(scale: float, rg1_pixels: NDArray[np.uint16]) -> None:
    image = Image.fromarray((rg1_pixels >> 7).astype(np.uint8))
    image = image.resize((round(scale * image.width), round(scale * image.height)))
    jpeg = encode(image, "JPEG", quality=92)
    fast = segment(jpeg)
    assert fast.radiograph.scale > 1
    assert fast.mask.shape == (image.height, image.width)
    assert dice(fast.mask, segment(encode(image, "PNG")).mask) > 0.998
    # Outputs that show the image decode all of it.
    np.testing.assert_array_equal(fast.radiograph.pixels, decode(jpeg).pixels)
    assert fast.radiograph.pixels.shape == fast.mask.shape
