"""TIFF: the first page at full size, and that no more is decompressed than its header states."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from films import RAMP8, RAMP16, encode, order, tiff
from memory import peak_of
from PIL import Image

from lungseg import errors
from lungseg.decode import decode


@pytest.mark.parametrize("white", ["minisblack", "miniswhite"])
def test_every_level_is_kept(white: str) -> None:
    stored = RAMP16 if white == "minisblack" else 65535 - RAMP16
    np.testing.assert_array_equal(decode(tiff(stored, photometric=white)).pixels, RAMP16)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint16])
def test_signed_greys_keep_their_depth(dtype: type[np.integer]) -> None:
    ramp = RAMP8 if np.dtype(dtype).itemsize == 1 else RAMP16
    stored = (ramp.astype(np.int32) + np.iinfo(dtype).min).astype(dtype)
    pixels = decode(tiff(stored)).pixels
    assert pixels.dtype == ramp.dtype
    np.testing.assert_array_equal(pixels, ramp)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_low_bit_depths_are_scaled_to_8_bits(bits: int) -> None:
    levels = np.arange(64 * 64).reshape(64, 64) % (1 << bits)
    padded = (levels.reshape(64, -1, 8 // bits) << np.arange(8 - bits, -1, -bits)).sum(2).astype(np.uint8)
    values = {256: 64, 257: 64, 258: bits, 259: 1, 262: 1, 273: 134, 277: 1, 278: 64, 279: padded.size}
    tags = b"".join(struct.pack("<HHII", code, 3, 1, value) for code, value in values.items())
    data = struct.pack("<2sHIH", b"II", 42, 8, len(values)) + tags + bytes(4)
    pixels = decode(data.ljust(134, b"\0") + padded.tobytes()).pixels
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, levels * 255 // ((1 << bits) - 1))


CHANNELS = np.stack([RAMP16, RAMP16[::-1], RAMP16.T], -1)
"""Three different channels, so that mix-ups are detected."""


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_colour_becomes_luminance_in_any_layout(planar: str, alpha: bool, bits: int) -> None:
    colour = (CHANNELS >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    grey = (colour.astype(int) @ (299, 587, 114) + 500) // 1000
    if alpha:
        colour = np.concatenate([colour, np.full_like(colour[..., :1], 7)], -1)
    stored = colour if planar == "contig" else np.moveaxis(colour, -1, 0)
    data = tiff(stored, photometric="rgb", planarconfig=planar, extrasamples=["unassalpha"] if alpha else None)
    pixels = decode(data).pixels
    assert pixels.dtype == colour.dtype
    np.testing.assert_array_equal(pixels, grey)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("extra", [1, 2])
def test_extra_samples_are_dropped(planar: str, extra: int) -> None:
    stored = CHANNELS[..., : 1 + extra]
    if planar == "separate":
        stored = np.moveaxis(stored, -1, 0)
    data = tiff(stored, photometric="minisblack", planarconfig=planar, extrasamples=["unspecified"] * extra)
    np.testing.assert_array_equal(decode(data).pixels, CHANNELS[..., 0])


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_ycbcr_without_jpeg_gives_luminance(compression: str | None) -> None:
    colour = np.stack([RAMP8, RAMP8[:, ::-1], RAMP8.T], -1)
    image = tiff(colour, photometric="ycbcr", subsampling=(1, 1), compression=compression)
    np.testing.assert_array_equal(decode(image).pixels, RAMP8)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_alpha_of_grey_is_dropped(planar: str) -> None:
    both = np.stack([RAMP16, RAMP16[::-1]], -1)
    stored = both if planar == "contig" else np.moveaxis(both, -1, 0)
    data = tiff(stored, planarconfig=planar, extrasamples=["unassalpha"])
    np.testing.assert_array_equal(decode(data).pixels, RAMP16)


def test_palette_is_applied() -> None:
    palette = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256) * 7 % 256]).astype(np.uint16) * 257
    pixels = decode(tiff(RAMP8, photometric="palette", colormap=palette)).pixels
    np.testing.assert_array_equal(pixels, ((palette.T.astype(int) @ (299, 587, 114) + 500) // 1000)[RAMP8])


@pytest.mark.parametrize(
    "options", [{"rowsperstrip": 256}, {"rowsperstrip": 100}, {"tile": (512, 512)}, {"tile": (64, 128)}]
)
def test_jpeg_strips_and_tiles_are_read(options: dict[str, object]) -> None:
    """A tile may be larger than the image; a strip has the image's width."""
    assert order(decode(tiff(RAMP8, compression="jpeg", **options)).pixels, RAMP8) > 0.999


def jpeg_of_another_size(size: tuple[int, int]) -> bytes:
    """Return a TIFF of 256 x 256 pixels with one JPEG strip, whose own header states another size."""
    honest = tiff(RAMP8, compression="jpeg", rowsperstrip=256)
    other = encode(Image.new("L", size), "JPEG")
    with tifffile.TiffFile(io.BytesIO(honest)) as file:
        offset, count = (file.pages[0].tags[code].valueoffset for code in (273, 279))
    patched = bytearray(honest + other)
    patched[offset : offset + 4] = len(honest).to_bytes(4, "little")
    patched[count : count + 4] = len(other).to_bytes(4, "little")
    return bytes(patched)


@pytest.mark.parametrize("size", [(257, 256), (256, 257)])
def test_jpeg_strip_larger_than_the_image_is_rejected(size: tuple[int, int]) -> None:
    with pytest.raises(errors.DamagedImage) as caught:
        decode(jpeg_of_another_size(size))
    assert caught.value.detail == "A strip or tile of the TIFF is larger than its header states."
    assert decode(jpeg_of_another_size((256, 256))).pixels.shape == (256, 256)


def test_one_bit_becomes_black_and_white() -> None:
    image = Image.fromarray(RAMP8).convert("1")
    pixels = decode(encode(image, "TIFF")).pixels
    np.testing.assert_array_equal(pixels, np.asarray(image) * np.uint8(255))


def test_first_page_that_is_no_thumbnail_is_read() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.zeros((64, 64), np.uint8), photometric="minisblack", subfiletype=1)
        writer.write(RAMP16, photometric="minisblack")
        writer.write(np.zeros((300, 300), np.uint8), photometric="minisblack")
    np.testing.assert_array_equal(decode(buffer.getvalue()).pixels, RAMP16)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tiff(RAMP16.astype(np.float32)), "The TIFF's pixels are not integers of at most 16 bits."),
        (tiff(RAMP16.astype(np.uint32)), "The TIFF's pixels are not integers of at most 16 bits."),
        (tiff(RAMP16.astype(np.complex64)), "The TIFF's pixels are not integers of at most 16 bits."),
        (tiff(RAMP8, compression="zstd"), "The TIFF's compression is not LZW, Deflate, PackBits or JPEG."),
        (
            encode(Image.fromarray(RAMP8).convert("CMYK"), "TIFF"),
            "The TIFF's colour model is not greyscale, palette, RGB or YCbCr.",
        ),
        (
            tiff(np.zeros((64, 64, 64), np.uint8), volumetric=True, tile=(16, 64, 64)),
            "The TIFF is a volume, or has more than 5 samples per pixel.",
        ),
        (
            tiff(np.zeros((6, 64, 64), np.uint8), planarconfig="separate"),
            "The TIFF is a volume, or has more than 5 samples per pixel.",
        ),
    ],
)
def test_unsupported_tiff_is_rejected(data: bytes, says: str) -> None:
    with pytest.raises(errors.UnsupportedFormat) as caught:
        decode(data)
    assert caught.value.detail == says


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"compression": "jpeg"}])
@pytest.mark.parametrize("keep", [0.9, 0.3, 0.02])
def test_truncated_file_is_rejected(options: dict[str, str], keep: float) -> None:
    noisy = np.random.default_rng(1).integers(0, 255, (512, 512), np.uint8)
    data = tiff(noisy, **options)
    with pytest.raises(errors.DamagedImage) as caught:
        decode(data[: int(len(data) * keep)])
    assert caught.value.detail in {
        "The TIFF data is damaged or truncated.",
        "A strip or tile of the TIFF is missing.",
        "A strip or tile of the TIFF is larger than its header states.",
    }


def test_huge_tiff_is_rejected_before_decoding() -> None:
    data = tiff(np.zeros((16000, 16000), np.uint8), compression="zlib")
    assert len(data) < 1_000_000

    def refused() -> None:
        with pytest.raises(errors.TooLarge):
            decode(data)

    assert peak_of(refused) < 10_000_000


@pytest.mark.parametrize("compression", ["zlib", "jpeg"])
def test_strip_bomb_is_rejected_within_memory(compression: str) -> None:
    """The header states 256 x 256 pixels, the stream has 144 million."""
    honest = tiff(RAMP8, compression=compression, rowsperstrip=256)
    if compression == "zlib":
        bomb = zlib.compress(bytes(144_000_000), 9)
    else:
        bomb = encode(Image.new("L", (12000, 12000)), "JPEG")
    with tifffile.TiffFile(io.BytesIO(honest)) as file:
        page = file.pages[0]
        offset, count = (page.tags[code].valueoffset for code in (273, 279))
        size = page.tags[279].dtype
    assert size in (3, 4)
    patched = bytearray(honest + bomb)
    patched[offset : offset + 4] = len(honest).to_bytes(4, "little")
    patched[count : count + 4] = len(bomb).to_bytes(4, "little")

    def refused() -> None:
        with pytest.raises(errors.DamagedImage):
            decode(bytes(patched))

    assert peak_of(refused) < 20_000_000


def test_huge_tiles_are_rejected_before_decoding() -> None:
    data = bytearray(tiff(RAMP8, tile=(256, 256), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for code in (322, 323):
            tag = file.pages[0].tags[code]
            data[tag.valueoffset : tag.valueoffset + 2] = (48000).to_bytes(2, "little")

    def refused() -> None:
        with pytest.raises(errors.DamagedImage, match="tiles are far larger than the image"):
            decode(bytes(data))

    assert peak_of(refused) < 10_000_000


def test_tiff_of_thumbnails_is_rejected() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for _ in range(20):
            writer.write(np.zeros((64, 64), np.uint8), photometric="minisblack", subfiletype=1)
    with pytest.raises(errors.UnsupportedFormat) as caught:
        decode(buffer.getvalue())
    assert caught.value.detail == "The TIFF has no page at full size."


@pytest.mark.parametrize(("thumbnails", "found"), [(15, True), (16, False)])
def test_first_16_pages_are_searched(thumbnails: int, found: bool) -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for _ in range(thumbnails):
            writer.write(np.zeros((64, 64), np.uint8), photometric="minisblack", subfiletype=1)
        writer.write(RAMP8, photometric="minisblack")
    if found:
        np.testing.assert_array_equal(decode(buffer.getvalue()).pixels, RAMP8)
    else:
        with pytest.raises(errors.UnsupportedFormat):
            decode(buffer.getvalue())


def test_orientation_tag_is_applied() -> None:
    pixels = decode(tiff(RAMP8[:128], extratags=[(274, 3, 1, 6, True)])).pixels
    assert pixels.shape == (256, 128)
    assert order(pixels, np.repeat(np.arange(256)[:, None], 128, axis=1)) > 0.999


@pytest.mark.parametrize("code", [273, 279])
def test_missing_strip_is_detected(code: int) -> None:
    """An interrupted writer leaves 0 as the offset or the length of a strip."""
    data = bytearray(tiff(RAMP16, rowsperstrip=64))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[code]
        width = tag.valuebytecount // tag.count
        data[tag.valueoffset + width : tag.valueoffset + 2 * width] = bytes(width)
    with pytest.raises(errors.DamagedImage) as caught:
        decode(bytes(data))
    assert caught.value.detail == "A strip or tile of the TIFF is missing."
