"""DICOM: display values as in the standard, and wrong or meaningless tags."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from films import RAMP8, RAMP16, dicom, order, packaged
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
)

from lungseg import errors
from lungseg.decode import decode


def test_monochrome1_is_inverted() -> None:
    plain = decode(dicom(RAMP16)).pixels
    turned = decode(dicom(RAMP16.max() - RAMP16, PhotometricInterpretation="MONOCHROME1")).pixels
    assert order(plain, RAMP16) > 0.9999
    np.testing.assert_array_equal(turned, plain)


def test_rg1_has_dark_air_and_bright_bone(rg1_pixels: NDArray[np.uint16]) -> None:
    assert rg1_pixels.shape == (1955, 1841)
    lung, spine = rg1_pixels[560:660, 430:560], rg1_pixels[300:700, 870:930]
    assert lung.mean() < spine.mean() - 5000


def test_window_is_applied() -> None:
    pixels = decode(dicom(RAMP16, WindowCenter=20000, WindowWidth=10000)).pixels
    assert (pixels[RAMP16 < 14900] == 0).all()
    assert (pixels[RAMP16 > 25100] == 65535).all()
    assert order(pixels[(RAMP16 > 15000) & (RAMP16 < 25000)], RAMP16[(RAMP16 > 15000) & (RAMP16 < 25000)]) > 0.999


def test_first_of_several_windows_is_applied() -> None:
    one = decode(dicom(RAMP16, WindowCenter=20000, WindowWidth=10000)).pixels
    two = decode(dicom(RAMP16, WindowCenter=[20000, 100], WindowWidth=[10000, 50])).pixels
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("centre", "width"), [(-500000, 10), (20000, 0), (20000, -1)])
def test_useless_window_is_ignored(centre: int, width: int) -> None:
    pixels = decode(dicom(RAMP16, WindowCenter=centre, WindowWidth=width)).pixels
    assert order(pixels, RAMP16) > 0.9999


def test_voi_lut_is_applied() -> None:
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.add_new("LUTData", "OW", np.linspace(65535, 0, 256).astype("<u2").tobytes())
    pixels = decode(dicom(RAMP8, VOILUTSequence=[table])).pixels
    assert order(pixels, RAMP8) < -0.9999


def test_signed_values_and_rescale() -> None:
    signed = (RAMP16.astype(np.int32) - 32768).astype(np.int16)
    assert order(decode(dicom(signed)).pixels, RAMP16) > 0.9999
    negative = decode(dicom(RAMP16, RescaleSlope=-1, RescaleIntercept=65535)).pixels
    assert order(negative, RAMP16) < -0.9999


def test_overlay_in_unused_bits_is_dropped() -> None:
    twelve = RAMP16 >> 4
    dirty = twelve | np.where(np.arange(256)[None] % 2, 0xF000, 0).astype(np.uint16)
    clean = decode(dicom(twelve, BitsStored=12, HighBit=11)).pixels
    np.testing.assert_array_equal(decode(dicom(dirty, BitsStored=12, HighBit=11)).pixels, clean)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_dark_and_does_not_stretch_the_range(photometric: str) -> None:
    image = (RAMP16 >> 6) + np.uint16(500)  # 500 to 1523
    padded = image.copy()
    padded[:, :40] = 65535
    pixels = decode(dicom(padded, PhotometricInterpretation=photometric, PixelPaddingValue=65535)).pixels
    whole = decode(dicom(image, PhotometricInterpretation=photometric)).pixels
    assert (pixels[:, :40] == 0).all()
    assert abs(pixels[:, 40:].astype(int) - whole[:, 40:]).max() < 200


def test_high_bit_is_applied() -> None:
    twelve = RAMP16 >> 4
    plain = decode(dicom(twelve, BitsStored=12, HighBit=11)).pixels
    left_justified = decode(dicom(twelve << 4, BitsStored=12, HighBit=15)).pixels
    np.testing.assert_array_equal(left_justified, plain)
    with pytest.raises(errors.DamagedImage):
        decode(dicom(twelve, BitsStored=12, HighBit=3))


def test_padding_outside_the_stored_bits_is_found() -> None:
    image = RAMP16 >> 4
    padded = image.copy()
    padded[:, :40] = 0xF830
    pixels = decode(dicom(padded, BitsStored=12, HighBit=11, PixelPaddingValue=0xF830)).pixels
    assert (pixels[:, :40] == 0).all()
    assert order(pixels[:, 40:], image[:, 40:]) > 0.9999


def test_padding_with_the_other_sign_is_found() -> None:
    image = (RAMP16 >> 6).astype(np.int16)
    padded = image.copy()
    padded[:, :40] = -2000
    data = pydicom.dcmread(io.BytesIO(dicom(padded)))
    data.add_new("PixelPaddingValue", "US", 65536 - 2000)
    buffer = io.BytesIO()
    data.save_as(buffer)
    pixels = decode(buffer.getvalue()).pixels
    assert (pixels[:, :40] == 0).all()
    assert order(pixels[:, 40:], image[:, 40:]) > 0.9999


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": None, "RescaleIntercept": None},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
        {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 128, "WindowWidth": 256},  # left from an 8-bit copy
    ],
)
def test_invalid_rescale_or_window_is_ignored(elements: dict[str, object]) -> None:
    assert order(decode(dicom(RAMP16, **elements)).pixels, RAMP16) > 0.9999


def test_missing_pixel_representation_is_unsigned() -> None:
    assert order(decode(dicom(RAMP16, PixelRepresentation=None)).pixels, RAMP16) > 0.9999


def test_wrong_photometric_interpretation_is_applied(shared: Path) -> None:
    """The pixels of the two files are the same; what the network makes of it is test_pipeline's affair."""
    right, lying = (
        decode((shared / "dicom" / f"{name}.dcm").read_bytes()).pixels
        for name in ("chest_pa_jpeg_baseline", "chest_pa_wrong_monochrome1_tag")
    )
    assert right.shape == (1024, 1024)
    assert order(lying, right) < -0.9999


@pytest.mark.parametrize(
    ("orientation", "left"),
    [
        (["L", "F"], True),
        (["R", "F"], False),
        (["LA", "FR"], True),  # the main direction comes first
        (["L", "H"], None),
        (["F", "L"], None),
        (["l", "f"], None),
        (["A", "F"], None),
        (["L"], None),
        (["L", "F", "F"], None),
        ([], None),
    ],
)
def test_patient_orientation_gives_row_direction(orientation: list[str], left: bool | None) -> None:
    assert decode(dicom(RAMP8, PatientOrientation=orientation)).rows_run_left is left
    assert decode(dicom(RAMP8)).rows_run_left is None


@pytest.mark.parametrize(("first", "believed"), [(0.01, False), (0.011, True), (9.9, True), (10.0, False)])
def test_implausible_spacing_is_ignored(first: float, believed: bool) -> None:
    for spacing in ([first, 1.0], [1.0, first]):
        found = decode(dicom(RAMP8, PixelSpacing=spacing, ImagerPixelSpacing=[2.0, 3.0])).spacing
        assert found is not None
        assert [found.row, found.column] == (spacing if believed else [2.0, 3.0])
        assert found.source == ("PixelSpacing" if believed else "ImagerPixelSpacing")
    assert decode(dicom(RAMP8, PixelSpacing=[0, 0])).spacing is None


def test_padding_range_is_dark() -> None:
    image = (RAMP16 >> 6) + np.uint16(500)
    padded = image.copy()
    padded[:, :20], padded[:, 20:40] = 60_000, 60_005
    for ends in ((60_000, 60_005), (60_005, 60_000)):
        pixels = decode(dicom(padded, PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1])).pixels
        assert (pixels[:, :40] == 0).all()
        assert order(pixels[:, 40:], image[:, 40:]) > 0.9999
    # Its ends are padding, and what lies beyond them is image.
    narrow = decode(dicom(padded, PixelPaddingValue=60_001, PixelPaddingRangeLimit=60_004)).pixels
    assert (narrow[:, :40] > 65_000).all()


def test_padding_under_an_overlay_is_found() -> None:
    """The unused bits of padded pixels hold something else; their value is still the one of padding."""
    image = (RAMP16 >> 5) + np.uint16(10)  # 10 to 2057
    padded = image.copy()
    padded[:, :20], padded[:, 20:40] = 0xF000, 0x0000
    pixels = decode(dicom(padded, BitsStored=12, HighBit=11, PixelPaddingValue=0)).pixels
    assert (pixels[:, :40] == 0).all()
    limits = decode(dicom(padded, BitsStored=12, HighBit=11, PixelPaddingValue=0, PixelPaddingRangeLimit=9)).pixels
    np.testing.assert_array_equal(limits, pixels)
    assert (pixels[:, 40:].min(), pixels[:, 40:].max()) == (0, 65535)  # the image's greys are the image's alone


@pytest.mark.parametrize(("high_bit", "reads"), [(10, False), (11, True), (15, True), (16, False)])
def test_contradicting_bits_are_rejected(high_bit: int, reads: bool) -> None:
    image = dicom(RAMP16 >> 4, BitsStored=12, HighBit=high_bit)
    if reads:
        assert decode(image).pixels.shape == (256, 256)
        return
    with pytest.raises(errors.DamagedImage) as caught:
        decode(image)
    assert caught.value.detail == "BitsStored, HighBit and BitsAllocated contradict each other."


def test_missing_high_bit_is_the_highest_stored_bit() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom((RAMP16 >> 4) | 0xA000, BitsStored=12, HighBit=11)))
    del dataset.HighBit
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    np.testing.assert_array_equal(decode(buffer.getvalue()).pixels, decode(dicom(RAMP16 >> 4)).pixels)


def test_image_of_padding_is_blank() -> None:
    with pytest.raises(errors.BlankImage) as caught:
        decode(dicom(np.full_like(RAMP16, 7), PixelPaddingValue=7))
    assert caught.value.detail == "Every pixel is marked as padding."


def test_image_of_one_grey_is_dark() -> None:
    assert (decode(dicom(np.full_like(RAMP16, 7))).pixels == 0).all()


NEITHER = r"^The photometric interpretation is not MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB or YBR\.$"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"NumberOfFrames": 2, "PixelData": bytes(2 * RAMP16.nbytes)}, r"^The object has more than one frame\.$"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"^The object has no palette\.$"),
        ({"PhotometricInterpretation": "RGB"}, NEITHER),  # of one sample
        ({"SamplesPerPixel": 3, "PixelData": bytes(3 * RAMP16.nbytes)}, NEITHER),
        (
            {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": bytes(2 * RAMP16.nbytes)},
            r"^BitsAllocated is neither 8 nor 16\.$",
        ),
        ({"TransferSyntaxUID": MPEG2MPML, "PixelData": encapsulate([bytes(100)])}, "MPEG2 Main Profile"),
        ({"TransferSyntaxUID": "1.2.840.99999.1"}, r"^The transfer syntax is not defined by the DICOM standard\.$"),
    ],
)
def test_unsupported_object_is_rejected(change: dict[str, object], says: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP16)))
    for name, value in change.items():
        setattr(dataset.file_meta if name == "TransferSyntaxUID" else dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    with pytest.raises(errors.UnsupportedDicom, match=says):
        decode(buffer.getvalue())


def test_missing_transfer_syntax_is_unsupported_not_damaged() -> None:
    with pytest.raises(errors.UnsupportedDicom):
        decode(packaged("meta_missing_tsyntax.dcm").read_bytes())


def test_object_without_pixel_data_is_rejected() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP16)))
    del dataset.PixelData
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(errors.UnsupportedDicom, match=r"^The object has no pixel data\.$"):
        decode(buffer.getvalue())


def test_huge_size_is_rejected() -> None:
    with pytest.raises(errors.TooLarge):
        decode(dicom(RAMP16, Rows=60000, Columns=60000))
