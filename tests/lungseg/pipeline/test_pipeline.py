"""The shipped model on real images: the lungs, whole, the right way round, whatever the file's encoding."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from films import dice, encode, packaged, png
from numpy.typing import NDArray
from PIL import Image

from lungseg import errors
from lungseg.decode import decode
from lungseg.errors import ModelError
from lungseg.model import processor
from lungseg.model.lung import LUNG_WEIGHTS, LungNetwork, int8_path, load_lung
from lungseg.model.session import thread_count
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment


@pytest.fixture(scope="module")
def rg1_mask(rg1: bytes) -> NDArray[np.bool_]:
    return segment(rg1).mask


def test_both_lungs_the_right_way_round(rg1_mask: NDArray[np.bool_]) -> None:
    assert rg1_mask.shape == (1955, 1841)
    width = rg1_mask.shape[1]
    # Read off the image by eye: middle of each lung field, and the places that are surely not lung.
    for row, column in ((500, 480), (900, 400), (1200, 500), (500, 1250), (900, 1450), (1200, 1450)):
        assert rg1_mask[row, column]
    for row, column in ((900, 920), (1200, 1100), (1700, 500), (1700, 1500), (60, 60), (60, 1800)):
        assert not rg1_mask[row, column]
    left, right = rg1_mask[:, : width // 2].mean(), rg1_mask[:, width // 2 :].mean()
    assert 0.2 < left < 0.9
    assert 0.7 < left / right < 1.4  # the heart takes from the patient's left lung, on the right of the picture


@pytest.mark.parametrize(("name", "least"), [("UNCI", 0.999), ("J2KR", 0.999), ("J2KI", 0.99)])
def test_every_encoding_of_rg1_gives_one_mask(rg1_mask: NDArray[np.bool_], name: str, least: float) -> None:
    """UNCR and J2KR hold the original pixels, J2KI a lossy copy, and UNCI that copy uncompressed."""
    mask = segment(packaged(f"RG1_{name}.dcm").read_bytes()).mask
    assert dice(mask, rg1_mask) >= least


def test_the_lossy_copy_and_its_uncompressed_form_agree() -> None:
    masks = [segment(packaged(f"RG1_{name}.dcm").read_bytes()).mask for name in ("UNCI", "J2KI")]
    assert dice(*masks) >= 0.999


def test_png_of_8_and_16_bits_and_dicom_agree(rg1_mask: NDArray[np.bool_], rg1_pixels: NDArray[np.uint16]) -> None:
    sixteen = segment(png(rg1_pixels)).mask
    eight = segment(png((rg1_pixels >> 8).astype(np.uint8))).mask
    assert dice(sixteen, rg1_mask) >= 0.995
    assert dice(eight, rg1_mask) >= 0.995
    assert dice(eight, sixteen) >= 0.995


def test_a_good_jpeg_gives_the_same_mask(rg1_mask: NDArray[np.bool_], rg1_png: bytes) -> None:
    jpeg = encode(Image.open(io.BytesIO(rg1_png)), "JPEG", quality=90)
    assert dice(segment(jpeg).mask, rg1_mask) >= 0.99


def test_a_negative_is_segmented_as_well(rg1_mask: NDArray[np.bool_], rg1_pixels: NDArray[np.uint16]) -> None:
    """A MONOCHROME1 tag may lie, so the network is trained on negatives too."""
    assert dice(segment(png(65535 - rg1_pixels)).mask, rg1_mask) > 0.97


def test_the_mask_is_what_lies_above_the_threshold(rg1: bytes) -> None:
    result = segment(rg1, Options(clean=False))
    assert result.probability.dtype == np.float32
    assert 0 <= result.probability.min() <= result.probability.max() <= 1
    np.testing.assert_array_equal(result.mask, result.probability > 0.5)


def test_a_lying_monochrome1_tag_costs_little(shared) -> None:
    right, lying = (
        segment((shared / "dicom" / f"{name}.dcm").read_bytes()).mask
        for name in ("chest_pa_jpeg_baseline", "chest_pa_wrong_monochrome1_tag")
    )
    assert dice(right, lying) > 0.95


class TestModel:
    def test_card_travels_in_the_file(self) -> None:
        card = load_lung().card
        assert card.input.size == 512
        assert card.threshold == 0.5
        assert len(card.training["data_sha256"]) == 64
        assert set(card.metrics["validation_dice"]) == {"montgomery", "radiologists", "shenzhen"}
        assert LUNG_WEIGHTS.stat().st_size < 15_000_000

    def test_a_setting_names_the_model(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        elsewhere = tmp_path / "mine.onnx"
        elsewhere.write_bytes(LUNG_WEIGHTS.read_bytes())
        shipped = int8_path(LUNG_WEIGHTS) if processor.dot_products() else LUNG_WEIGHTS
        for named, expected in (("lung_unet", shipped), (str(shipped), shipped), (str(elsewhere), elsewhere)):
            monkeypatch.setenv("LUNG_MODEL", named)
            assert load_lung.__wrapped__().sha256 == hashlib.sha256(expected.read_bytes()).hexdigest()
        for named in ("no_such_model", "models/lung", str(tmp_path)):
            monkeypatch.setenv("LUNG_MODEL", named)
            with pytest.raises(ModelError, match="cannot be read"):
                load_lung.__wrapped__()

    @pytest.mark.parametrize("content", [None, b"", b"not a model"])
    def test_a_missing_or_broken_model_is_named(self, tmp_path, content: bytes | None) -> None:
        path = tmp_path / "model.onnx"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError):
            LungNetwork(path, threads=1)

    def test_threads_follow_the_setting_then_lambdas_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "3538")
        assert thread_count() == 2
        monkeypatch.setenv("LUNG_THREADS", "3")
        assert thread_count() == 3
        monkeypatch.setenv("LUNG_THREADS", "many")
        with pytest.raises(ModelError):
            thread_count()


def test_a_blank_film_is_refused() -> None:
    with pytest.raises(errors.BlankImage):
        segment(png(np.full((500, 400), 9, np.uint8)))


@pytest.mark.parametrize("scale", [1.3, 2.4])
def test_a_large_jpeg_is_read_at_less_than_its_size_and_masked_at_all_of_it(
    scale: float, rg1_pixels: NDArray[np.uint16]
) -> None:
    image = Image.fromarray((rg1_pixels >> 7).astype(np.uint8))
    image = image.resize((round(scale * image.width), round(scale * image.height)))
    film = encode(image, "JPEG", quality=92)
    fast = segment(film)
    assert fast.radiograph.scale > 1
    assert fast.mask.shape == (image.height, image.width)
    assert dice(fast.mask, segment(encode(image, "PNG")).mask) > 0.998
    # What shows the image itself reads all of it.
    np.testing.assert_array_equal(fast.radiograph.pixels, decode(film).pixels)
    assert fast.radiograph.pixels.shape == fast.mask.shape
