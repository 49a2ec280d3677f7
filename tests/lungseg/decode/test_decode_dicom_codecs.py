"""Compressed pixel data in DICOM: its pixels, and that no more is decompressed than the header states."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from films import RAMP8, RAMP16, dicom, encode, order, packaged
from memory import peak_of
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from lungseg import errors, limits
from lungseg.decode import decode


def compressed(pixels: NDArray[np.uint8], inside: bytes, syntax: UID) -> bytes:
    """Return a DICOM image whose header describes ``pixels`` and whose pixel data is the file ``inside``."""
    return dicom(pixels, TransferSyntaxUID=syntax, PixelData=encapsulate([inside]))


@pytest.mark.parametrize(
    "name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"]
)
def test_encodings_give_equal_pixels(name: str) -> None:
    """A small real image of pydicom, and its lossless JPEG 2000 version."""
    want = decode(packaged("MR_small_jp2klossless.dcm").read_bytes()).pixels
    np.testing.assert_array_equal(decode(packaged(name).read_bytes()).pixels, want)


def test_rle_distinguishes_ybr_from_rgb() -> None:
    """Only the codecs of the JPEG family convert colours to RGB."""
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
def test_lossless_ybr_gives_luminance(syntax: UID, encoder: Callable[..., bytes]) -> None:
    colour = np.stack([RAMP8, RAMP8[:, ::-1], RAMP8.T], -1)
    for photometric, grey in (("YBR_FULL", RAMP8), ("RGB", (colour.astype(int) @ (299, 587, 114) + 500) // 1000)):
        image = dicom(
            colour,
            PhotometricInterpretation=photometric,
            SamplesPerPixel=3,
            PlanarConfiguration=0,
            TransferSyntaxUID=syntax,
            PixelData=encapsulate([encoder(np.ascontiguousarray(colour))]),
        )
        np.testing.assert_array_equal(decode(image).pixels, grey)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_signed_values_stay_signed(syntax: UID) -> None:
    signed = (RAMP16.astype(np.int32) - 32768).astype(np.int16)
    if syntax == RLELossless:
        dataset = pydicom.dcmread(io.BytesIO(dicom(signed)))
        dataset.compress(syntax, generate_instance_uid=False)
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        image = buffer.getvalue()
    else:
        # The stream has only the bits; the header says that they are signed.
        coder = imagecodecs.jpegls_encode if syntax == JPEGLSLossless else imagecodecs.jpeg2k_encode
        options = {} if syntax == JPEGLSLossless else {"level": 0, "codecformat": "j2k", "reversible": True}
        inside = coder(signed.view(np.uint16), **options)
        image = dicom(signed, TransferSyntaxUID=syntax, PixelData=encapsulate([inside]))
    np.testing.assert_array_equal(decode(image).pixels, decode(dicom(signed)).pixels)


def test_high_bit_is_ignored_for_codecs() -> None:
    twelve = RAMP16 >> 4
    inside = imagecodecs.jpeg2k_encode(twelve, level=0, codecformat="j2k", bitspersample=12, reversible=True)
    image = dicom(
        twelve, TransferSyntaxUID=JPEG2000Lossless, PixelData=encapsulate([inside]), BitsStored=12, HighBit=15
    )
    np.testing.assert_array_equal(decode(image).pixels, decode(dicom(twelve)).pixels)


@pytest.mark.parametrize("file_format", ["JPEG", "JPEG2000"])
def test_stream_larger_than_header_is_rejected_before_decoding(file_format: str) -> None:
    syntax = {"JPEG": JPEGBaseline8Bit, "JPEG2000": JPEG2000Lossless}[file_format]
    options = {"no_jp2": True} if file_format == "JPEG2000" else {}
    inside = encode(Image.new("L", (6000, 6000)), file_format, **options)
    image = compressed(RAMP8, inside, syntax)

    def refused() -> None:
        with pytest.raises(
            errors.DamagedImage, match=r"The pixel data does not have the size that the header states\."
        ):
            decode(image)

    assert peak_of(refused) < 10_000_000


def test_baseline_jpeg_is_read() -> None:
    image = compressed(RAMP8, encode(Image.fromarray(RAMP8), "JPEG", quality=95), JPEGBaseline8Bit)
    assert order(decode(image).pixels, RAMP8) > 0.999


@pytest.mark.parametrize("padding", [0, 20_000])
def test_deflate_bomb_is_rejected_within_memory(padding: int) -> None:
    data = pydicom.dcmread(io.BytesIO(dicom(RAMP16, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)))
    data.file_meta.PrivateInformationCreatorUID = "1.2.3"
    data.file_meta.PrivateInformation = bytes(padding)
    data.PixelData = bytes(limits.MAX_BYTES + 2)
    buffer = io.BytesIO()
    data.save_as(buffer, enforce_file_format=True)
    del data
    assert len(buffer.getvalue()) < 200_000

    def refused() -> None:
        with pytest.raises(errors.TooLarge):
            decode(buffer.getvalue())

    assert peak_of(refused) < 3 * limits.MAX_BYTES


def test_truncated_deflated_data_is_damaged() -> None:
    data = dicom(RAMP16, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    assert order(decode(data).pixels, RAMP16) > 0.9999
    with pytest.raises(errors.DamagedImage):
        decode(data[:-1000])


@pytest.mark.parametrize(
    ("name", "like", "correlation"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm", 1.0),
        ("JPGExtended.dcm", "JPEG-LL.dcm", 0.98),
    ],
)
def test_jpeg_family_of_real_files(name: str, like: str, correlation: float) -> None:
    got, want = (decode(packaged(each).read_bytes()).pixels for each in (name, like))
    assert order(got, want) >= correlation - 1e-6


def test_truncated_jpeg_is_damaged() -> None:
    """libjpeg would fill the rest with grey."""
    whole = encode(Image.fromarray(RAMP8), "JPEG")
    with pytest.raises(errors.DamagedImage):
        decode(compressed(RAMP8, whole[: len(whole) // 2], JPEGBaseline8Bit))


@pytest.mark.parametrize("name", ["SC_rgb_rle_16bit.dcm", "SC_rgb_expb_16bit.dcm", "SC_rgb_jls_lossy_sample.dcm"])
def test_colour_becomes_luminance(name: str) -> None:
    """The same colour bars as the uncompressed SC_rgb.dcm."""
    assert order(decode(packaged(name).read_bytes()).pixels, decode(packaged("SC_rgb.dcm").read_bytes()).pixels) > 0.99


def test_missing_decoder_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lungseg.decode.codecs.importlib.util.find_spec", lambda _: None)
    with pytest.raises(errors.UnsupportedDicom, match=r"JPEG-LS Lossless.*imagecodecs"):
        decode(packaged("MR_small_jpeg_ls_lossless.dcm").read_bytes())


@pytest.mark.filterwarnings("ignore::UserWarning")  # as in service: pydicom only warns
@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KR.dcm"])
@pytest.mark.parametrize("keep", [0.9, 0.01])
def test_truncated_file_is_rejected(name: str, keep: float) -> None:
    data = packaged(name).read_bytes()
    with pytest.raises(errors.DamagedImage) as caught:
        decode(data[: int(len(data) * keep)])
    assert caught.value.detail == "The DICOM data is damaged or truncated."


def codestream(pixels: NDArray[np.uint8]) -> bytes:
    return encode(Image.fromarray(pixels), "JPEG2000", no_jp2=True)


def with_tiny_precincts(stream: bytes) -> bytes:
    """Set precincts of one pixel: a decoder would allocate millions of them."""
    start = stream.index(b"\xff\x52")
    length = int.from_bytes(stream[start + 2 : start + 4], "big")
    style = bytearray(stream[start + 4 : start + 2 + length])
    style[0] |= 1
    style = style[:10] + bytes(style[5] + 1)
    return stream[:start] + b"\xff\x52" + (len(style) + 2).to_bytes(2, "big") + style + stream[start + 2 + length :]


def with_tiny_tiles(stream: bytes) -> bytes:
    """Set tiles of one pixel."""
    return stream[:24] + (1).to_bytes(4, "big") * 2 + stream[32:]


def with_most_layers(stream: bytes) -> bytes:
    """Set 65,535 quality layers, and precincts of 64 pixels."""
    start = stream.index(b"\xff\x52") + 6
    small = with_tiny_precincts(stream[:start] + b"\xff\xff" + stream[start + 2 :])
    return small.replace(bytes(6), b"\x66" * 6, 1)


@pytest.mark.parametrize("change", [with_tiny_precincts, with_tiny_tiles, with_most_layers])
def test_codestream_with_too_many_parts_is_rejected_by_its_header(change: Callable[[bytes], bytes]) -> None:
    pixels = np.zeros((1500, 1500), np.uint8)
    image = compressed(pixels, change(codestream(pixels)), JPEG2000Lossless)
    assert grown_by(image) < 20 * 2**20


def test_tiles_and_precincts_of_encoders_are_read() -> None:
    whole = encode(Image.fromarray(RAMP8), "JPEG2000", no_jp2=True, tile_size=(64, 64), precinct_size=(64, 64))
    np.testing.assert_array_equal(decode(compressed(RAMP8, whole, JPEG2000Lossless)).pixels >> 8, RAMP8)


def test_rle_frame_is_decompressed_within_memory() -> None:
    pixels = np.zeros((1500, 1500), np.uint8)
    header = struct.pack("<16I", 1, 64, *[0] * 14)
    image = compressed(pixels, header + b"\x81\x00" * 2_000_000, RLELossless)
    assert grown_by(image) < 20 * 2**20
    short = compressed(pixels, header + b"\x81\x00" * 10, RLELossless)
    with pytest.raises(errors.DamagedImage):
        decode(short)


def grown_by(image: bytes) -> int:
    """Return by how many bytes a process's peak memory grows when it rejects an image."""
    program = """
import sys
from memory import of_process
from lungseg import errors
from lungseg.decode import decode, dicom
image = sys.stdin.buffer.read()
before = of_process("VmHWM")
try:
    decode(image)
    print("read")
except errors.DamagedImage:
    print(of_process("VmHWM") - before)
"""
    helpers = Path(__file__).parents[2] / "support"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(Path.cwd()), str(helpers)))}
    done = subprocess.run(
        [sys.executable, "-c", program], input=image, capture_output=True, check=True, env=environment
    )
    return int(done.stdout)


@pytest.mark.filterwarnings("ignore::UserWarning")  # as in service: pydicom only warns
def test_pixel_data_without_delimiter_is_read() -> None:
    data = packaged("RG1_J2KR.dcm").read_bytes()
    assert data.endswith(b"\xfe\xff\xdd\xe0\0\0\0\0")
    np.testing.assert_array_equal(decode(data[:-8]).pixels, decode(data).pixels)
