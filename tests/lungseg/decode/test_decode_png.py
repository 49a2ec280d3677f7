"""Fast decoding of large greyscale PNGs: the same pixels as Pillow's, or None."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
from films import encode
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from lungseg import errors
from lungseg.decode import decode, fast_png
from lungseg.decode.bounds.png import PNG_SIGNATURE, png_chunk

END = png_chunk(b"IEND", b"")
FILM = (np.add.outer(np.arange(900), 2 * np.arange(801)) // 3 % 256).astype(np.uint8)


def header(pixels: NDArray[np.generic], interlaced: int = 0) -> bytes:
    height, width = pixels.shape
    depth = 8 * pixels.dtype.itemsize
    return PNG_SIGNATURE + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, interlaced))


def filtered(pixels: NDArray[np.generic], kinds: list[int]) -> bytes:
    """Return rows with filter numbers; wrong filters give another image, but a valid one."""
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    step = len(rows) // len(pixels)
    return b"".join(bytes([kinds[y % len(kinds)]]) + rows[y * step : (y + 1) * step] for y in range(len(pixels)))


def in_parts(stream: bytes, length: int) -> bytes:
    return b"".join(png_chunk(b"IDAT", stream[start : start + length]) for start in range(0, len(stream), length))


def from_pillow(data: bytes) -> NDArray[np.generic]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@settings(max_examples=60, deadline=None)
@given(
    side=st.tuples(st.integers(64, 400), st.integers(64, 400)),
    depth=st.sampled_from([np.uint8, np.uint16]),
    kinds=st.lists(st.integers(0, 4), min_size=1, max_size=7),
    level=st.integers(0, 9),
    part=st.integers(1, 70_000),
    seed=st.integers(0, 9),
)
def test_all_filters_and_layouts_match_pillow(
    side: tuple[int, int], depth: type, kinds: list[int], level: int, part: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, np.iinfo(depth).max, side).astype(depth)
    stream = zlib.compress(filtered(pixels, kinds), level)
    data = header(pixels) + in_parts(stream, max(part, len(stream) // 50)) + END
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast_png, "MIN_ROWS_BYTES", 0)
        found = fast_png.decode_grey(data)
    assert found is not None
    np.testing.assert_array_equal(found, from_pillow(data))


@pytest.mark.parametrize("height", [13 * 65_535 // 801, 65_535, 64])
def test_stored_block_boundaries(height: int) -> None:
    """A stored block has 65,535 bytes; 65,535 rows of 9 bytes end at its boundary."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, 8 if height == 65_535 else 9000)).astype(np.uint8)
    data = header(pixels) + png_chunk(b"IDAT", zlib.compress(filtered(pixels, [0]))) + END
    np.testing.assert_array_equal(fast_png.decode_grey(data), pixels)


def test_large_image_round_trip() -> None:
    for pixels in (FILM, FILM.astype(np.uint16) * 257):
        data = encode(Image.fromarray(pixels), "PNG")
        found = fast_png.decode_grey(data)
        assert found is not None
        assert found.dtype == pixels.dtype
        np.testing.assert_array_equal(found, pixels)
        np.testing.assert_array_equal(decode(data).pixels, pixels)


def test_harmless_chunks_are_accepted_and_orientation_is_not() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 45455))
    info.add(b"pHYs", struct.pack(">IIB", 3000, 3000, 1))
    info.add(b"tRNS", b"\0\x07")
    np.testing.assert_array_equal(fast_png.decode_grey(encode(Image.fromarray(FILM), "PNG", pnginfo=info)), FILM)
    turned = Image.Exif()
    turned[0x0112] = 6
    data = encode(Image.fromarray(FILM), "PNG", exif=turned)
    assert fast_png.decode_grey(data) is None
    np.testing.assert_array_equal(decode(data).pixels, np.rot90(FILM, -1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_colour_is_left_to_pillow(mode: str) -> None:
    data = encode(Image.fromarray(FILM).convert(mode), "PNG")
    assert fast_png.decode_grey(data) is None
    assert decode(data).pixels.shape == FILM.shape


def test_small_and_huge_images_are_left_to_pillow() -> None:
    assert fast_png.decode_grey(encode(Image.fromarray(FILM[:100, :100]), "PNG")) is None
    assert fast_png.decode_grey(encode(Image.new("I;16", (6000, 6000)), "PNG")) is None


class TestDamaged:
    def test_changed_byte_gives_no_wrong_pixels(self) -> None:
        """The result is None or correct, never wrong pixels."""
        data = encode(Image.fromarray(FILM), "PNG")
        start = data.index(b"IDAT") + 4
        for place in np.linspace(start, len(data) - 30, 40, dtype=int):
            changed = bytearray(data)
            changed[place] ^= 0x10
            found = fast_png.decode_grey(bytes(changed))
            assert found is None or np.array_equal(found, FILM)

    @pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
    def test_truncated_file(self, keep: float) -> None:
        data = encode(Image.fromarray(FILM), "PNG")
        with pytest.raises(errors.DamagedImage):
            decode(data[: int(keep * len(data))])

    def test_short_but_valid_stream(self) -> None:
        half = zlib.compress(filtered(FILM, [0])[: FILM.size // 2])
        with pytest.raises(errors.DamagedImage):
            decode(header(FILM) + png_chunk(b"IDAT", half) + END)

    def test_invalid_filter(self) -> None:
        stream = zlib.compress(filtered(FILM, [7]))
        assert fast_png.decode_grey(header(FILM) + png_chunk(b"IDAT", stream) + END) is None

    def test_chunk_longer_than_the_file(self) -> None:
        stream = zlib.compress(filtered(FILM, [0]))
        body = struct.pack(">I", 2**31 - 1) + b"IDAT" + stream
        np.testing.assert_array_equal(fast_png.decode_grey(header(FILM) + body), FILM)


def test_only_the_rows_are_inflated() -> None:
    """A gigabyte of zeros after the last row takes no time."""
    deflate = zlib.compressobj(9)
    stream = deflate.compress(filtered(FILM, [0]))
    stream += b"".join(deflate.compress(bytes(2**20)) for _ in range(1024)) + deflate.flush()
    data = header(FILM) + png_chunk(b"IDAT", stream) + END
    started = time.process_time()
    with pytest.raises(errors.DamagedImage):
        decode(data)
    assert time.process_time() - started < 0.5
