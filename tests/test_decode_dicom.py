"""DICOM: display values as the standard has them, and tags that lie or make no sense."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from films import RAMP8, RAMP16, dicom, encode, order, packaged
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from app import errors, limits
from app.decode import decode


def compressed(pixels: NDArray[np.uint8], inside: bytes, syntax: UID) -> bytes:
    """A DICOM film whose header describes ``pixels`` and whose picture is the file ``inside``."""
    return dicom(pixels, TransferSyntaxUID=syntax, PixelData=encapsulate([inside]))


def test_monochrome1_is_turned_round() -> None:
    plain = decode(dicom(RAMP16)).pixels
    turned = decode(dicom(RAMP16.max() - RAMP16, PhotometricInterpretation="MONOCHROME1")).pixels
    assert order(plain, RAMP16) > 0.9999
    np.testing.assert_array_equal(turned, plain)


def test_rg1_shows_air_dark_and_bone_bright(rg1_pixels: NDArray[np.uint16]) -> None:
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
def test_window_that_shows_nothing_is_ignored(centre: int, width: int) -> None:
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


def test_overlay_in_unused_high_bits_is_dropped() -> None:
    twelve = RAMP16 >> 4
    dirty = twelve | np.where(np.arange(256)[None] % 2, 0xF000, 0).astype(np.uint16)
    clean = decode(dicom(twelve, BitsStored=12, HighBit=11)).pixels
    np.testing.assert_array_equal(decode(dicom(dirty, BitsStored=12, HighBit=11)).pixels, clean)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_dark_and_does_not_stretch_the_greys(photometric: str) -> None:
    film = (RAMP16 >> 6) + np.uint16(500)  # 500 to 1523
    padded = film.copy()
    padded[:, :40] = 65535
    pixels = decode(dicom(padded, PhotometricInterpretation=photometric, PixelPaddingValue=65535)).pixels
    whole = decode(dicom(film, PhotometricInterpretation=photometric)).pixels
    assert (pixels[:, :40] == 0).all()
    assert abs(pixels[:, 40:].astype(int) - whole[:, 40:]).max() < 200


def test_pixels_are_found_wherever_high_bit_says() -> None:
    twelve = RAMP16 >> 4
    plain = decode(dicom(twelve, BitsStored=12, HighBit=11)).pixels
    left_justified = decode(dicom(twelve << 4, BitsStored=12, HighBit=15)).pixels
    np.testing.assert_array_equal(left_justified, plain)
    with pytest.raises(errors.DamagedFilm):
        decode(dicom(twelve, BitsStored=12, HighBit=3))


def test_padding_outside_the_stored_bits_is_seen() -> None:
    film = RAMP16 >> 4
    padded = film.copy()
    padded[:, :40] = 0xF830
    pixels = decode(dicom(padded, BitsStored=12, HighBit=11, PixelPaddingValue=0xF830)).pixels
    assert (pixels[:, :40] == 0).all()
    assert order(pixels[:, 40:], film[:, 40:]) > 0.9999


def test_padding_with_the_other_sign_is_seen() -> None:
    film = (RAMP16 >> 6).astype(np.int16)
    padded = film.copy()
    padded[:, :40] = -2000
    data = pydicom.dcmread(io.BytesIO(dicom(padded)))
    data.add_new("PixelPaddingValue", "US", 65536 - 2000)
    buffer = io.BytesIO()
    data.save_as(buffer)
    pixels = decode(buffer.getvalue()).pixels
    assert (pixels[:, :40] == 0).all()
    assert order(pixels[:, 40:], film[:, 40:]) > 0.9999


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
def test_nonsense_in_rescale_or_window_is_left_out(elements: dict[str, object]) -> None:
    assert order(decode(dicom(RAMP16, **elements)).pixels, RAMP16) > 0.9999


def test_missing_pixel_representation_is_unsigned() -> None:
    assert order(decode(dicom(RAMP16, PixelRepresentation=None)).pixels, RAMP16) > 0.9999


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"]
)
def test_encodings_give_the_same_pixels(name: str) -> None:
    """A small real picture in pydicom, and its lossless JPEG 2000 form."""
    want = decode(packaged("MR_small_jp2klossless.dcm").read_bytes()).pixels
    np.testing.assert_array_equal(decode(packaged(name).read_bytes()).pixels, want)


def test_a_tag_that_lies_is_believed_here(shared: Path) -> None:
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
def test_a_file_says_where_right_is(orientation: list[str], left: bool | None) -> None:
    assert decode(dicom(RAMP8, PatientOrientation=orientation)).rows_run_left is left
    assert decode(dicom(RAMP8)).rows_run_left is None


@pytest.mark.parametrize(("first", "believed"), [(0.01, False), (0.011, True), (9.9, True), (10.0, False)])
def test_a_spacing_that_no_detector_has_is_left_out(first: float, believed: bool) -> None:
    for spacing in ([first, 1.0], [1.0, first]):
        found = decode(dicom(RAMP8, PixelSpacing=spacing, ImagerPixelSpacing=[2.0, 3.0])).spacing
        assert found is not None
        assert [found.row, found.column] == (spacing if believed else [2.0, 3.0])
        assert found.source == ("PixelSpacing" if believed else "ImagerPixelSpacing")
    assert decode(dicom(RAMP8, PixelSpacing=[0, 0])).spacing is None


def test_an_rle_film_of_ybr_is_told_from_one_of_rgb() -> None:
    """Only the codecs of the JPEG family turn colours to RGB by themselves."""
    colour = np.stack([RAMP8, RAMP8[:, ::-1], RAMP8.T], -1)
    grey = (colour.astype(int) @ (299, 587, 114) + 500) // 1000
    for photometric in ("RGB", "YBR_FULL"):
        stored = colour if photometric == "RGB" else convert_color_space(colour, "RGB", "YBR_FULL")
        plain = dicom(stored, PhotometricInterpretation=photometric, SamplesPerPixel=3, PlanarConfiguration=0)
        dataset = pydicom.dcmread(io.BytesIO(plain))
        dataset.compress(RLELossless, generate_instance_uid=False)
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        pixels = decode(buffer.getvalue()).pixels
        assert pixels.shape == (256, 256)
        assert abs(pixels.astype(int) - grey).max() <= (0 if photometric == "RGB" else 3)


@pytest.mark.parametrize(
    ("syntax", "encoder"),
    [
        (JPEGLSLossless, imagecodecs.jpegls_encode),
        (JPEGLosslessSV1, partial(imagecodecs.jpeg8_encode, lossless=True)),
        (JPEG2000Lossless, partial(imagecodecs.jpeg2k_encode, level=0, codecformat="j2k", reversible=True, mct=False)),
    ],
)
def test_a_lossless_film_of_ybr_gives_its_luminance(syntax: UID, encoder: Callable[..., bytes]) -> None:
    colour = np.stack([RAMP8, RAMP8[:, ::-1], RAMP8.T], -1)
    for photometric, grey in (("YBR_FULL", RAMP8), ("RGB", (colour.astype(int) @ (299, 587, 114) + 500) // 1000)):
        film = dicom(
            colour,
            PhotometricInterpretation=photometric,
            SamplesPerPixel=3,
            PlanarConfiguration=0,
            TransferSyntaxUID=syntax,
            PixelData=encapsulate([encoder(np.ascontiguousarray(colour))]),
        )
        np.testing.assert_array_equal(decode(film).pixels, grey)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_signed_values_stay_signed_when_they_are_compressed(syntax: UID) -> None:
    signed = (RAMP16.astype(np.int32) - 32768).astype(np.int16)
    if syntax == RLELossless:
        dataset = pydicom.dcmread(io.BytesIO(dicom(signed)))
        dataset.compress(syntax, generate_instance_uid=False)
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        film = buffer.getvalue()
    else:
        # What stands in the stream is the bits; that they have a sign only the header says.
        coder = imagecodecs.jpegls_encode if syntax == JPEGLSLossless else imagecodecs.jpeg2k_encode
        options = {} if syntax == JPEGLSLossless else {"level": 0, "codecformat": "j2k", "reversible": True}
        inside = coder(signed.view(np.uint16), **options)
        film = dicom(signed, TransferSyntaxUID=syntax, PixelData=encapsulate([inside]))
    np.testing.assert_array_equal(decode(film).pixels, decode(dicom(signed)).pixels)


def test_a_range_of_padding_is_dark() -> None:
    film = (RAMP16 >> 6) + np.uint16(500)
    padded = film.copy()
    padded[:, :20], padded[:, 20:40] = 60_000, 60_005
    for ends in ((60_000, 60_005), (60_005, 60_000)):
        pixels = decode(dicom(padded, PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1])).pixels
        assert (pixels[:, :40] == 0).all()
        assert order(pixels[:, 40:], film[:, 40:]) > 0.9999
    # Its ends are padding, and what lies beyond them is film.
    narrow = decode(dicom(padded, PixelPaddingValue=60_001, PixelPaddingRangeLimit=60_004)).pixels
    assert (narrow[:, :40] > 65_000).all()


def test_padding_under_an_overlay_is_seen() -> None:
    """The unused bits of padded pixels hold something else; their value is still the one of padding."""
    film = (RAMP16 >> 5) + np.uint16(10)  # 10 to 2057
    padded = film.copy()
    padded[:, :20], padded[:, 20:40] = 0xF000, 0x0000
    pixels = decode(dicom(padded, BitsStored=12, HighBit=11, PixelPaddingValue=0)).pixels
    assert (pixels[:, :40] == 0).all()
    limits = decode(dicom(padded, BitsStored=12, HighBit=11, PixelPaddingValue=0, PixelPaddingRangeLimit=9)).pixels
    np.testing.assert_array_equal(limits, pixels)
    assert (pixels[:, 40:].min(), pixels[:, 40:].max()) == (0, 65535)  # the film's greys are the film's alone


@pytest.mark.parametrize(("high_bit", "reads"), [(10, False), (11, True), (15, True), (16, False)])
def test_bits_that_contradict_each_other_are_named(high_bit: int, reads: bool) -> None:
    film = dicom(RAMP16 >> 4, BitsStored=12, HighBit=high_bit)
    if reads:
        assert decode(film).pixels.shape == (256, 256)
        return
    with pytest.raises(errors.DamagedFilm) as caught:
        decode(film)
    assert caught.value.detail == "The header's BitsStored, HighBit and BitsAllocated contradict each other."


def test_a_missing_high_bit_is_the_highest_stored_one() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom((RAMP16 >> 4) | 0xA000, BitsStored=12, HighBit=11)))
    del dataset.HighBit
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    np.testing.assert_array_equal(decode(buffer.getvalue()).pixels, decode(dicom(RAMP16 >> 4)).pixels)


def test_high_bit_says_nothing_of_what_a_codec_gives() -> None:
    twelve = RAMP16 >> 4
    inside = imagecodecs.jpeg2k_encode(twelve, level=0, codecformat="j2k", bitspersample=12, reversible=True)
    film = dicom(twelve, TransferSyntaxUID=JPEG2000Lossless, PixelData=encapsulate([inside]), BitsStored=12, HighBit=15)
    np.testing.assert_array_equal(decode(film).pixels, decode(dicom(twelve)).pixels)


def test_a_film_of_padding_alone_is_blank() -> None:
    with pytest.raises(errors.BlankFilm) as caught:
        decode(dicom(np.full_like(RAMP16, 7), PixelPaddingValue=7))
    assert caught.value.detail == "Every pixel is marked as padding."


def test_a_film_of_one_grey_is_dark() -> None:
    assert (decode(dicom(np.full_like(RAMP16, 7))).pixels == 0).all()


@pytest.mark.parametrize("file_format", ["JPEG", "JPEG2000"])
def test_a_picture_larger_than_its_header_is_refused_unread(file_format: str) -> None:
    syntax = {"JPEG": JPEGBaseline8Bit, "JPEG2000": JPEG2000Lossless}[file_format]
    options = {"no_jp2": True} if file_format == "JPEG2000" else {}
    inside = encode(Image.new("L", (6000, 6000)), file_format, **options)
    film = compressed(RAMP8, inside, syntax)
    tracemalloc.start()
    with pytest.raises(errors.DamagedFilm) as caught:
        decode(film)
    assert caught.value.detail == "The picture does not have the size that its header states."
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_jpeg_inside() -> None:
    film = compressed(RAMP8, encode(Image.fromarray(RAMP8), "JPEG", quality=95), JPEGBaseline8Bit)
    assert order(decode(film).pixels, RAMP8) > 0.999


NEITHER = r"^The picture is neither grey \(MONOCHROME1 or MONOCHROME2\) nor RGB or YBR\.$"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"NumberOfFrames": 2, "PixelData": bytes(2 * RAMP16.nbytes)}, r"^The object holds several frames\.$"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, NEITHER),
        ({"PhotometricInterpretation": "RGB"}, NEITHER),  # of one sample
        ({"SamplesPerPixel": 3, "PixelData": bytes(3 * RAMP16.nbytes)}, NEITHER),
        (
            {"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "PixelData": bytes(2 * RAMP16.nbytes)},
            r"^The picture has neither 8 nor 16 bits allocated to a pixel\.$",
        ),
        ({"TransferSyntaxUID": MPEG2MPML, "PixelData": encapsulate([bytes(100)])}, "MPEG2 Main Profile"),
        ({"TransferSyntaxUID": "1.2.840.99999.1"}, r"^The transfer syntax is not one of the standard's\.$"),
    ],
)
def test_what_is_not_read_is_named(change: dict[str, object], says: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP16)))
    for name, value in change.items():
        setattr(dataset.file_meta if name == "TransferSyntaxUID" else dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    with pytest.raises(errors.UnsupportedDicom, match=says):
        decode(buffer.getvalue())


@pytest.mark.parametrize("padding", [0, 20_000])
def test_a_deflated_bomb_is_refused_before_it_goes_off(padding: int) -> None:
    data = pydicom.dcmread(io.BytesIO(dicom(RAMP16, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)))
    data.file_meta.PrivateInformationCreatorUID = "1.2.3"
    data.file_meta.PrivateInformation = bytes(padding)
    data.PixelData = bytes(limits.MAX_BYTES + 2)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    del data
    assert len(buffer.getvalue()) < 200_000
    tracemalloc.start()
    with pytest.raises(errors.TooLarge):
        decode(buffer.getvalue())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * limits.MAX_BYTES


def test_deflated_data_that_ends_early_is_damaged() -> None:
    data = dicom(RAMP16, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    assert order(decode(data).pixels, RAMP16) > 0.9999
    with pytest.raises(errors.DamagedFilm):
        decode(data[:-1000])


def test_a_file_without_transfer_syntax_is_not_called_damaged() -> None:
    with pytest.raises(errors.UnsupportedDicom):
        decode(packaged("meta_missing_tsyntax.dcm").read_bytes())


@pytest.mark.parametrize(
    ("name", "like", "correlation"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", 1.0),
        ("JPGExtended.dcm", "JPEG-LL.dcm", 0.98),
    ],
)
def test_the_jpeg_family_inside_real_files(name: str, like: str, correlation: float) -> None:
    got, want = (decode(packaged(each).read_bytes()).pixels for each in (name, like))
    assert order(got, want) >= correlation - 1e-6


def test_a_compressed_picture_that_ends_early_is_damaged() -> None:
    """libjpeg would fill the rest with grey."""
    whole = encode(Image.fromarray(RAMP8), "JPEG")
    with pytest.raises(errors.DamagedFilm):
        decode(compressed(RAMP8, whole[: len(whole) // 2], JPEGBaseline8Bit))


@pytest.mark.parametrize("name", ["SC_rgb_rle_16bit.dcm", "SC_rgb_expb_16bit.dcm", "SC_rgb_jls_lossy_sample.dcm"])
def test_colour_becomes_luminance(name: str) -> None:
    """The same colour bars as the uncompressed SC_rgb.dcm."""
    assert order(decode(packaged(name).read_bytes()).pixels, decode(packaged("SC_rgb.dcm").read_bytes()).pixels) > 0.99


def test_a_missing_decoder_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.decode.codecs.importlib.util.find_spec", lambda _: None)
    with pytest.raises(errors.UnsupportedDicom, match=r"JPEG-LS Lossless.*imagecodecs"):
        decode(packaged("MR_small_jpeg_ls_lossless.dcm").read_bytes())


def test_object_without_picture() -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP16)))
    del dataset.PixelData
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    with pytest.raises(errors.UnsupportedDicom, match=r"^The object holds no picture\.$"):
        decode(buffer.getvalue())


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KR.dcm"])
@pytest.mark.parametrize("keep", [0.9, 0.01])
def test_cut_files_are_refused(name: str, keep: float) -> None:
    data = packaged(name).read_bytes()
    with pytest.raises(errors.DamagedFilm) as caught:
        decode(data[: int(len(data) * keep)])
    assert caught.value.detail == "The DICOM data is broken or ends too early."


def test_huge_header_is_refused() -> None:
    with pytest.raises(errors.TooLarge):
        decode(dicom(RAMP16, Rows=60000, Columns=60000))


def codestream(pixels: NDArray[np.uint8]) -> bytes:
    return encode(Image.fromarray(pixels), "JPEG2000", no_jp2=True)


def with_tiny_precincts(stream: bytes) -> bytes:
    """Every precinct one pixel: a decoder would make millions of them."""
    start = stream.index(b"\xff\x52")
    length = int.from_bytes(stream[start + 2 : start + 4], "big")
    style = bytearray(stream[start + 4 : start + 2 + length])
    style[0] |= 1
    style = style[:10] + bytes(style[5] + 1)
    return stream[:start] + b"\xff\x52" + (len(style) + 2).to_bytes(2, "big") + style + stream[start + 2 + length :]


def with_tiny_tiles(stream: bytes) -> bytes:
    """Every tile one pixel."""
    return stream[:24] + (1).to_bytes(4, "big") * 2 + stream[32:]


def with_most_layers(stream: bytes) -> bytes:
    """65,535 quality layers, and precincts of 64 pixels."""
    start = stream.index(b"\xff\x52") + 6
    small = with_tiny_precincts(stream[:start] + b"\xff\xff" + stream[start + 2 :])
    return small.replace(bytes(6), b"\x66" * 6, 1)


@pytest.mark.parametrize("change", [with_tiny_precincts, with_tiny_tiles, with_most_layers])
def test_a_codestream_of_far_too_many_parts_is_refused_on_its_header(change: Callable[[bytes], bytes]) -> None:
    pixels = np.zeros((1500, 1500), np.uint8)
    film = compressed(pixels, change(codestream(pixels)), JPEG2000Lossless)
    assert grown_by(film) < 20 * 2**20


def test_tiles_and_precincts_of_real_encoders_are_read() -> None:
    whole = encode(Image.fromarray(RAMP8), "JPEG2000", no_jp2=True, tile_size=(64, 64), precinct_size=(64, 64))
    np.testing.assert_array_equal(decode(compressed(RAMP8, whole, JPEG2000Lossless)).pixels >> 8, RAMP8)


def test_an_rle_frame_is_unpacked_no_further_than_its_picture() -> None:
    pixels = np.zeros((1500, 1500), np.uint8)
    header = struct.pack("<16I", 1, 64, *[0] * 14)
    film = compressed(pixels, header + b"\x81\x00" * 2_000_000, RLELossless)
    assert grown_by(film) < 20 * 2**20
    short = compressed(pixels, header + b"\x81\x00" * 10, RLELossless)
    with pytest.raises(errors.DamagedFilm):
        decode(short)


def grown_by(film: bytes) -> int:
    """Bytes that a process takes more at its peak when it refuses a film."""
    program = """
import resource, sys
from app import errors
from app.decode import decode, dicom
film = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(film)
    print("read")
except errors.DamagedFilm:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], input=film, capture_output=True, check=True)
    return 1024 * int(done.stdout)
