"""Every kind of image that `segment` accepts gives the same mask; what is no image is refused."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from films import RAMP8, dicom, encode, packaged, png
from numpy.typing import NDArray
from PIL import Image

from lungseg import Result, errors, segment


@pytest.fixture(scope="module")
def from_bytes(rg1: bytes) -> Result:
    return segment(rg1)


def kinds_of_rg1(rg1: bytes, pixels: NDArray[np.uint16], folder: Path) -> dict[str, Any]:
    """Return RG1 in every kind."""
    path = folder / "image.dcm"
    path.write_bytes(rg1)
    return {
        "str": str(path),
        "path": path,
        "bytearray": bytearray(rg1),
        "memoryview": memoryview(rg1),
        "file": io.BytesIO(rg1),
        "array": pixels,
        "big-endian array": pixels.astype(">u2"),
        "view": np.asfortranarray(pixels)[:, :],
        "float": pixels.astype(np.float64),
        "picture": Image.fromarray(pixels),
        "picture of mode I": Image.fromarray(pixels.astype(np.int32)),
        "data set": pydicom.dcmread(io.BytesIO(rg1)),
    }


def test_every_kind_gives_the_same_mask(
    rg1: bytes, rg1_pixels: NDArray[np.uint16], tmp_path: Path, from_bytes: Result
) -> None:
    for kind, image in kinds_of_rg1(rg1, rg1_pixels, tmp_path).items():
        result = segment(image)
        assert isinstance(result, Result)
        assert result.bits.tobytes() == from_bytes.bits.tobytes(), kind
        np.testing.assert_array_equal(result.labels, from_bytes.labels, kind)
        np.testing.assert_array_equal(result.raw, from_bytes.raw, kind)


def test_array_has_no_spacing_and_a_data_set_has_the_files(rg1: bytes, rg1_pixels: NDArray[np.uint16]) -> None:
    dataset = pydicom.dcmread(io.BytesIO(rg1))
    dataset.PixelSpacing = [0.2, 0.3]
    areas = segment(dataset).areas.both
    assert areas.mm2 == pytest.approx(areas.pixels * 0.06)
    assert segment(rg1_pixels).areas.both.mm2 is None


@pytest.mark.parametrize("name", ["RG1_J2KR.dcm", "RG1_UNCI.dcm", "RG3_J2KR.dcm"])
def test_compressed_data_set_equals_its_file(name: str) -> None:
    data = packaged(name).read_bytes()
    np.testing.assert_array_equal(segment(pydicom.dcmread(io.BytesIO(data))).bits, segment(data).bits)


def test_data_set_stays_unchanged(rg1: bytes) -> None:
    dataset = pydicom.dcmread(io.BytesIO(rg1))
    del dataset.BitsStored, dataset.PixelRepresentation
    before = dataset.to_json()
    segment(dataset)
    assert dataset.to_json() == before


def test_data_set_made_in_memory_needs_no_file_meta(rg1: bytes, from_bytes: Result) -> None:
    dataset = pydicom.dcmread(io.BytesIO(rg1))
    del dataset.file_meta
    np.testing.assert_array_equal(segment(dataset).bits, from_bytes.bits)


def test_data_set_has_a_segmentation(rg1: bytes) -> None:
    dataset = pydicom.dcmread(io.BytesIO(rg1))
    found = pydicom.dcmread(io.BytesIO(segment(dataset).encode("dicom-seg")))
    expected = pydicom.dcmread(io.BytesIO(segment(rg1).encode("dicom-seg")))
    assert found.PixelData == expected.PixelData
    assert found.PatientID == expected.PatientID == dataset.PatientID
    assert found.StudyInstanceUID == dataset.StudyInstanceUID
    (source,) = found.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert source.ReferencedSOPInstanceUID == dataset.SOPInstanceUID


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "I;16"])
def test_picture_of_any_mode_equals_its_file(mode: str, rg1_pixels: NDArray[np.uint16]) -> None:
    grey = Image.fromarray((rg1_pixels[::4, ::4] >> 8).astype(np.uint8))
    picture = Image.fromarray(rg1_pixels[::4, ::4].copy()) if mode == "I;16" else grey.convert(mode)
    data = encode(picture, "TIFF" if mode == "CMYK" else "PNG")
    if mode == "CMYK":  # the file's colours are refused
        picture_mask = segment(picture).mask
        assert picture_mask.any()
    else:
        np.testing.assert_array_equal(segment(picture).bits, segment(data).bits)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_colour_array_equals_its_picture(depth: type[np.unsignedinteger[Any]], rg1_pixels: NDArray[np.uint16]) -> None:
    grey = rg1_pixels[::4, ::4] >> (8 if depth is np.uint8 else 0)
    colour = np.stack([grey, grey // 2, grey // 3], axis=2).astype(depth)
    result = segment(colour)
    assert result.mask.any()
    if depth is np.uint8:
        np.testing.assert_array_equal(result.bits, segment(png(colour)).bits)


def test_exif_orientation_of_a_picture_is_applied(rg1_pixels: NDArray[np.uint16]) -> None:
    grey = Image.fromarray((rg1_pixels[::4, ::4] >> 8).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(grey, "PNG", exif=exif)
    result = segment(Image.open(io.BytesIO(data)))
    assert result.mask.shape == grey.size
    np.testing.assert_array_equal(result.bits, segment(data).bits)


def test_floats_of_any_range_give_one_mask(rg1_pixels: NDArray[np.uint16], from_bytes: Result) -> None:
    unit = rg1_pixels.astype(np.float32) / 65535
    for image in (unit, unit.astype(np.float64) * 2 - 1, (unit * 1e30).astype(np.float64) - 3e29):
        mask = segment(image).mask
        assert (mask != from_bytes.mask).mean() < 1e-4
    huge = np.where(unit > 0.5, np.finfo(np.float64).max, np.finfo(np.float64).min)
    assert segment(huge).mask.shape == unit.shape


def test_array_may_change_after_the_call(rg1_pixels: NDArray[np.uint16]) -> None:
    array = rg1_pixels.copy()
    result = segment(array)
    array[:] = 0
    np.testing.assert_array_equal(result.radiograph.pixels, rg1_pixels)


@pytest.mark.parametrize(
    ("array", "kind", "text"),
    [
        (np.zeros((100, 100), bool), TypeError, "an array of bool is not an image"),
        (np.zeros((100, 100), np.int16), TypeError, "an array of int16"),
        (np.zeros((100, 100), np.uint32), TypeError, "an array of uint32"),
        (np.zeros((100, 100), complex), TypeError, "an array of complex128"),
        (np.zeros((100, 100), object), TypeError, "an array of object"),
        (np.zeros(100, np.uint8), ValueError, "with shape (100,)"),
        (np.zeros((1, 100, 100), np.uint8), ValueError, "with shape (1, 100, 100)"),
        (np.zeros((100, 100, 4), np.uint8), ValueError, "with shape (100, 100, 4)"),
        (np.zeros((100, 100, 3), np.float32), ValueError, "with shape (100, 100, 3)"),
        (np.full((100, 100), np.nan), ValueError, "NaN or infinity"),
        (np.full((100, 100), np.inf), ValueError, "NaN or infinity"),
        (np.zeros((0, 100), np.uint8), errors.TooSmall, "100 x 0 pixels"),
        (np.zeros((63, 100), np.uint8), errors.TooSmall, "100 x 63 pixels"),
        (np.zeros((64, 20_000), np.uint8), errors.TooLarge, "the limit is 16,384"),
        (np.broadcast_to(np.uint8(0), (8000, 8000)), errors.TooLarge, "the limit is 40,000,000 pixels"),
        (np.zeros((100, 100), np.uint8), errors.BlankImage, "same grey"),
        (np.zeros((100, 100)), errors.BlankImage, "same grey"),
    ],
)
def test_array_that_is_no_image_is_refused(array: NDArray[Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        segment(array)


@pytest.mark.parametrize(
    ("image", "kind", "text"),
    [
        (None, TypeError, "NoneType is not an image; pass a path, bytes, a binary file"),
        (3, TypeError, "int is not an image"),
        ([[1, 2], [3, 4]], TypeError, "list is not an image"),
        (io.StringIO("text"), TypeError, "read() returned str, not bytes; open it with mode 'rb'"),
        (b"", errors.EmptyBody, "0 bytes"),
        (b"not an image", errors.UnsupportedFormat, "not PNG"),
        ("no such.png", errors.Unreadable, "no such.png cannot be read (No such file or directory)."),
        (Path("tests"), errors.Unreadable, "tests cannot be read"),
        (pydicom.Dataset(), errors.UnsupportedDicom, "no pixel data"),
        (Image.fromarray(np.full((100, 100), 70_000, np.int32)), ValueError, "0 to 65535"),
        (Image.fromarray(np.full((100, 100), np.nan, np.float32)), ValueError, "NaN or infinity"),
        (Image.new("L", (20, 100)), errors.TooSmall, "20 x 100"),
        (Image.new("1", (8000, 8000)), errors.TooLarge, "40,000,000"),
    ],
)
def test_object_that_is_no_image_is_refused(image: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=re.escape(text)):
        segment(image)


def test_broken_picture_and_animation_are_refused() -> None:
    data = png(np.random.default_rng(1).integers(0, 255, (300, 300), np.uint8))
    with pytest.raises(errors.DamagedImage):
        segment(Image.open(io.BytesIO(data[:2000])))
    frames = [Image.new("L", (100, 100), grey) for grey in (0, 255)]
    animation = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(errors.UnsupportedFormat):
        segment(Image.open(io.BytesIO(animation)))


def test_data_set_has_the_limits_of_a_file() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP8)))
    for name, value, kind in (
        ("Rows", 40_000, errors.TooLarge),
        ("Rows", 12, errors.TooSmall),
        ("NumberOfFrames", 2, errors.UnsupportedDicom),
        ("PixelData", bytes(10), errors.DamagedImage),
    ):
        changed = pydicom.dcmread(io.BytesIO(dicom(RAMP8)))
        setattr(changed, name, value)
        with pytest.raises(kind):
            segment(changed)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID("1.2.3")
    with pytest.raises(errors.UnsupportedDicom):
        segment(dataset)
