"""TIFF: the first whole page, and no more of it unpacked than its header says."""

from __future__ import annotations

import io
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from films import RAMP8, RAMP16, encode, order, tiff
from PIL import Image

from app import errors
from app.decode import decode


@pytest.mark.parametrize("white", ["minisblack", "miniswhite"])
def test_every_level_is_kept(white: str) -> None:
    stored = RAMP16 if white == "minisblack" else 65535 - RAMP16
    np.testing.assert_array_equal(decode(tiff(stored, photometric=white)).pixels, RAMP16)


def test_one_bit_is_black_and_white() -> None:
    image = Image.fromarray(RAMP8).convert("1")
    pixels = decode(encode(image, "TIFF")).pixels
    np.testing.assert_array_equal(pixels, np.asarray(image) * np.uint8(255))


def test_the_first_page_that_is_not_a_thumbnail_is_the_film() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(np.zeros((64, 64), np.uint8), photometric="minisblack", subfiletype=1)
        writer.write(RAMP16, photometric="minisblack")
        writer.write(np.zeros((300, 300), np.uint8), photometric="minisblack")
    np.testing.assert_array_equal(decode(buffer.getvalue()).pixels, RAMP16)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tiff(RAMP16.astype(np.float32)), "whole numbers"),
        (tiff(RAMP16.astype(np.uint32)), "whole numbers"),
        (tiff(RAMP8, compression="zstd"), "compression"),
        (encode(Image.fromarray(RAMP8).convert("CMYK"), "TIFF"), "colour model"),
        (tiff(np.zeros((64, 64, 64), np.uint8), volumetric=True, tile=(16, 64, 64)), "volume"),
    ],
)
def test_what_is_no_picture_of_a_film_is_named(data: bytes, says: str) -> None:
    with pytest.raises(errors.UnsupportedFormat, match=says):
        decode(data)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"compression": "lzw"}, {"compression": "jpeg"}])
@pytest.mark.parametrize("keep", [0.9, 0.3, 0.02])
def test_cut_files_are_refused(options: dict[str, str], keep: float) -> None:
    noisy = np.random.default_rng(1).integers(0, 255, (512, 512), np.uint8)
    data = tiff(noisy, **options)
    with pytest.raises(errors.DamagedFilm):
        decode(data[: int(len(data) * keep)])


def test_a_header_that_promises_too_much_is_refused_unread() -> None:
    data = tiff(np.zeros((16000, 16000), np.uint8), compression="zlib")
    assert len(data) < 1_000_000
    tracemalloc.start()
    with pytest.raises(errors.TooLarge):
        decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("compression", ["zlib", "jpeg"])
def test_a_strip_that_holds_more_than_its_header_says_does_not_go_off(compression: str) -> None:
    """The header speaks of 256 x 256 pixels, the stream of 144 million."""
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
    tracemalloc.start()
    with pytest.raises(errors.DamagedFilm):
        decode(bytes(patched))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_tiles_far_larger_than_the_picture_are_refused_unread() -> None:
    data = bytearray(tiff(RAMP8, tile=(256, 256), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        for code in (322, 323):
            tag = file.pages[0].tags[code]
            data[tag.valueoffset : tag.valueoffset + 2] = (48000).to_bytes(2, "little")
    tracemalloc.start()
    with pytest.raises(errors.DamagedFilm, match="tiles"):
        decode(bytes(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_film_behind_many_thumbnails_is_not_looked_for() -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for _ in range(20):
            writer.write(np.zeros((64, 64), np.uint8), photometric="minisblack", subfiletype=1)
    with pytest.raises(errors.UnsupportedFormat, match="no page"):
        decode(buffer.getvalue())


def test_a_tag_of_orientation_is_obeyed() -> None:
    pixels = decode(tiff(RAMP8[:128], extratags=[(274, 3, 1, 6, True)])).pixels
    assert pixels.shape == (256, 128)
    assert order(pixels, np.repeat(np.arange(256)[:, None], 128, axis=1)) > 0.999


@pytest.mark.parametrize("code", [273, 279])
def test_a_strip_that_was_never_written_is_missed(code: int) -> None:
    """An interrupted writer leaves 0 where it would have said where the strip lies, or how long it is."""
    data = bytearray(tiff(RAMP16, rowsperstrip=64))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[code]
        width = tag.valuebytecount // tag.count
        data[tag.valueoffset + width : tag.valueoffset + 2 * width] = bytes(width)
    with pytest.raises(errors.DamagedFilm, match="missing"):
        decode(bytes(data))
