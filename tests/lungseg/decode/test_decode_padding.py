"""Files of other programs that are whole, but not as codecs expect them: padded PackBits, and JPEG without markers."""

from __future__ import annotations

import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from films import RAMP8, RAMP16, dicom, tiff
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, RLELossless

from lungseg import errors
from lungseg.decode import decode

COLOUR = np.stack([RAMP8, RAMP8[::-1], RAMP8.T], -1)
COLOUR_ELEMENTS = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}

PADDING = b"\xaa\x55\xff\xaa"
"""No zeros: the codec ignores those itself."""


def rle_frame(pixels: NDArray[np.unsignedinteger], padding: bytes) -> bytes:
    """Return an RLE frame (PS3.5 annex G) with bytes after each segment."""
    samples = pixels.reshape(pixels.shape[0] * pixels.shape[1], -1)
    planes = [
        samples[:, sample].astype(pixels.dtype.newbyteorder(">")).tobytes()[byte :: pixels.itemsize]
        for sample in range(samples.shape[1])
        for byte in range(pixels.itemsize)
    ]
    segments = [imagecodecs.packbits_encode(plane) + padding for plane in planes]
    offsets = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return struct.pack("<16I", len(segments), *offsets, *[0] * (15 - len(segments))) + b"".join(segments)


@pytest.mark.parametrize("count", [1, 2])  # the frame's own padding is added
@pytest.mark.parametrize("pixels", [RAMP8, RAMP16, COLOUR], ids=["8 bits", "16 bits", "colour"])
def test_padded_rle_gives_the_same_pixels(pixels: NDArray[np.unsignedinteger], count: int) -> None:
    elements = COLOUR_ELEMENTS if pixels.ndim == 3 else {}
    frame = encapsulate([rle_frame(pixels, PADDING[:count])])
    found = decode(dicom(pixels, TransferSyntaxUID=RLELossless, PixelData=frame, **elements)).pixels
    np.testing.assert_array_equal(found, decode(dicom(pixels, **elements)).pixels)


def test_rle_with_more_than_padding_is_rejected() -> None:
    frame = encapsulate([rle_frame(RAMP8, PADDING)])
    with pytest.raises(errors.DamagedImage):
        decode(dicom(RAMP8, TransferSyntaxUID=RLELossless, PixelData=frame))


def test_padded_rle_of_another_number_of_segments_is_rejected() -> None:
    frame = encapsulate([rle_frame(RAMP16, PADDING[:1])])
    with pytest.raises(errors.DamagedImage):
        decode(dicom(RAMP8, TransferSyntaxUID=RLELossless, PixelData=frame))


def padded_tiff(path: Path, pixels: NDArray[np.integer], padding: bytes, byteorder: str) -> bytes:
    """Return a PackBits TIFF of several strips with bytes after each."""
    path.write_bytes(tiff(pixels, compression="packbits", rowsperstrip=50, byteorder=byteorder))
    with tifffile.TiffFile(path, mode="r+b") as file:
        page = file.pages.first
        data = path.read_bytes()
        strips = [
            data[start : start + count] + padding
            for start, count in zip(page.dataoffsets, page.databytecounts, strict=True)
        ]
        page.tags["StripOffsets"].overwrite([len(data) + sum(map(len, strips[:at])) for at in range(len(strips))])
        page.tags["StripByteCounts"].overwrite([len(strip) for strip in strips])
    return path.read_bytes()[: len(data)].ljust(len(data), b"\0") + b"".join(strips)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_padded_packbits_tiff_gives_the_same_pixels(dtype: type[np.integer], byteorder: str, tmp_path: Path) -> None:
    ramp = RAMP8 if np.dtype(dtype).itemsize == 1 else RAMP16
    stored = (ramp.astype(np.int32) + np.iinfo(dtype).min).astype(dtype)
    for count in (1, 3):
        data = padded_tiff(tmp_path / "padded.tiff", stored, PADDING[:count], byteorder)
        np.testing.assert_array_equal(decode(data).pixels, ramp)


def test_packbits_tiff_with_more_than_padding_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(errors.DamagedImage):
        decode(padded_tiff(tmp_path / "padded.tiff", RAMP8, PADDING, "<"))


def without_application_segments(stream: bytes) -> bytes:
    """Return a JPEG without the segments that may state its colour space."""
    position = 2
    while stream[position + 1] != 0xDB:
        assert 0xE0 <= stream[position + 1] <= 0xEF
        position += 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
    return stream[:2] + stream[position:]


def test_rgb_jpeg_without_a_colour_marker_is_not_taken_for_ycbcr() -> None:
    grey = (COLOUR.astype(int) @ (299, 587, 114) + 500) // 1000
    plain = imagecodecs.jpeg8_encode(COLOUR, level=100, colorspace="RGB", outcolorspace="RGB", subsampling="444")
    marked = imagecodecs.jpeg8_encode(COLOUR, level=100, subsampling="444")
    for stream in (without_application_segments(plain), plain, marked):
        elements = {"TransferSyntaxUID": JPEGBaseline8Bit, "PixelData": encapsulate([stream]), **COLOUR_ELEMENTS}
        assert abs(decode(dicom(COLOUR, **elements)).pixels.astype(int) - grey).max() <= 3
