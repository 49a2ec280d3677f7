"""PNG, JPEG, BMP and WebP: greys keep their order, and nothing is decoded in part."""

from __future__ import annotations

import io
import struct
import time
import zlib

import imagecodecs
import numpy as np
import pytest
from films import RAMP8, RAMP16, encode, order, png
from PIL import Image

from lungseg import errors
from lungseg.decode import decode
from lungseg.decode.bounds.png import ADAM7, PNG_SIGNATURE, png_chunk


def test_16_bit_png_keeps_every_level() -> None:
    pixels = decode(png(RAMP16)).pixels
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, RAMP16)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
def test_png_modes_become_grey(mode: str) -> None:
    image = decode(encode(Image.fromarray(RAMP8).convert(mode), "PNG"))
    assert image.pixels.dtype == np.uint8
    assert image.pixels.shape == RAMP8.shape
    assert order(image.pixels, RAMP8) > (0.5 if mode == "1" else 0.99)  # one bit: dithered


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg_modes_become_grey(mode: str) -> None:
    image = decode(encode(Image.fromarray(RAMP8).convert(mode), "JPEG", quality=95))
    assert order(image.pixels, RAMP8) > 0.99


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    ("min_side", "scale", "picture"),
    [
        (None, 1, (1000, 600)),
        (5000, 1, (1000, 600)),
        (1000, 1, (1000, 600)),
        (501, 1, (1000, 600)),
        (500, 2, (500, 300)),
        (251, 2, (500, 300)),
        (250, 4, (250, 150)),
        (30, 8, (125, 75)),
    ],
)
@pytest.mark.parametrize("upright", [True, False])
def test_jpeg_is_decoded_at_the_smallest_sufficient_size(
    mode: str, min_side: int | None, scale: int, picture: tuple[int, int], upright: bool
) -> None:
    """The longer side counts; the image's stated size stays the same."""
    image = Image.fromarray(np.linspace(0, 255, 600 * 1000).astype(np.uint8).reshape(600, 1000)).convert(mode)
    if not upright:
        image, picture = image.transpose(Image.Transpose.TRANSPOSE), picture[::-1]
    decoded = decode(encode(image, "JPEG", quality=95), min_side)
    seen = decoded.picture
    assert isinstance(seen, Image.Image)
    assert (seen.mode, seen.size, decoded.scale) == ("L", picture, scale)
    assert (decoded.width, decoded.height) == image.size
    assert decoded.pixels.shape == image.size[::-1]
    assert (decoded.whole is None) == (scale == 1)
    assert order(np.asarray(seen.resize(image.size)), np.asarray(image.convert("L"))) > 0.99


def test_other_formats_are_decoded_at_full_size() -> None:
    image = Image.fromarray(np.tile(RAMP8, (4, 4)))
    for file_format in ("PNG", "BMP", "WEBP"):
        decoded = decode(encode(image, file_format), 100)
        assert (decoded.scale, decoded.whole, decoded.size) == (1, None, None)
        assert decoded.pixels.shape == (1024, 1024)


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # displayed rotated by 90 degrees clockwise
    image = decode(encode(Image.fromarray(RAMP8[:128]), "JPEG", exif=exif))
    assert image.pixels.shape == (256, 128)
    assert image.pixels[0].mean() < image.pixels[-1].mean()


def test_huge_size_is_rejected_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 16000, 16000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(16_000_000), 9)
    bomb = PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")
    started = time.process_time()
    with pytest.raises(errors.TooLarge):
        decode(bomb)
    assert time.process_time() - started < 0.2


@pytest.mark.parametrize("keep", [0.98, 0.5, 0.01])
@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_truncated_file_is_rejected(rg1_png: bytes, file_format: str, keep: float) -> None:
    data = encode(Image.open(io.BytesIO(rg1_png)), file_format)
    with pytest.raises(errors.DamagedImage) as caught:
        decode(data[: int(len(data) * keep)])
    assert caught.value.detail == f"The {file_format} data is damaged or truncated."


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bit_colour_keeps_every_level(channels: int) -> None:
    """Pillow alone would reduce it to 8 bits."""
    samples = np.repeat((RAMP16 >> 4)[..., None], channels, axis=2)
    np.testing.assert_array_equal(decode(imagecodecs.png_encode(samples)).pixels, RAMP16 >> 4)


@pytest.mark.parametrize("alpha", [False, True])
def test_16_bit_colour_becomes_luminance(alpha: bool) -> None:
    samples = np.stack([RAMP16, RAMP16[::-1], RAMP16.T], -1)
    grey = (samples.astype(int) @ (299, 587, 114) + 500) // 1000
    if alpha:
        samples = np.concatenate([samples, np.full_like(samples[..., :1], 9)], -1)
    np.testing.assert_array_equal(decode(imagecodecs.png_encode(samples)).pixels, grey)


def test_alpha_of_16_bit_grey_is_dropped() -> None:
    samples = np.stack([RAMP16, RAMP16[::-1]], -1)
    pixels = decode(imagecodecs.png_encode(samples)).pixels
    np.testing.assert_array_equal(pixels, RAMP16)
    assert pixels.flags.c_contiguous


CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def built_png(depth: int, kind: int, interlaced: bool, missing: int = 0, pieces: int = 1) -> bytes:
    """Return a PNG of 67 x 101 pixels, all 255 except the last row, with ``missing`` bytes cut from its stream."""
    width, height, bits = 67, 101, depth * CHANNELS[kind]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    stream = b""
    for y0, x0, dy, dx in passes:
        columns = -(-(width - x0) // dx)
        for y in range(y0, height, dy):
            stream += b"\0" + (b"\0" if y == height - 1 else b"\xff") * -(-columns * bits // 8)
    packed = zlib.compress(stream[: len(stream) - missing])
    step = -(-len(packed) // pieces)
    data = [(b"IDAT", packed[start : start + step]) for start in range(0, len(packed), step)]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    palette = [(b"PLTE", bytes(range(256)) * 3)] if kind == 3 else []
    parts = [(b"IHDR", header), *palette, *data, (b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(png_chunk(*part) for part in parts)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("depth", "kind"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (8, 3), (8, 4), (8, 6)])
def test_png_stream_must_be_complete(depth: int, kind: int, interlaced: bool) -> None:
    for pieces in (1, 3):
        assert decode(built_png(depth, kind, interlaced, pieces=pieces)).pixels.shape == (101, 67)
        for missing in (1, 400):
            with pytest.raises(errors.DamagedImage):
                decode(built_png(depth, kind, interlaced, missing, pieces))


def test_truncated_16_bit_colour_is_rejected() -> None:
    data = imagecodecs.png_encode(np.repeat(RAMP16[..., None], 3, axis=2))
    with pytest.raises(errors.DamagedImage):
        decode(data[: len(data) // 2])


def test_small_webp_may_end_in_the_cut_part_of_its_last_blocks() -> None:
    """The last bytes of this file tell about pixels beyond the edge, so changing them has no effect on the image."""
    rows, columns = np.mgrid[-1:1:120j, -1:1:100j]
    body = 40 + 150 * (np.hypot(rows, columns) < 0.9)
    noise = np.random.default_rng(455).normal(0, 8, body.shape)  # of 600 seeds, the one with such an end
    picture = Image.fromarray((body + noise).astype(np.uint8)).resize((65, 97), Image.Resampling.BILINEAR)
    data = encode(picture, "WEBP", quality=80)
    assert decode(data).pixels.shape == (97, 65)
    with pytest.raises(errors.DamagedImage):
        decode(data[: len(data) // 2] + bytes(20) + data[len(data) // 2 + 20 :])


@pytest.mark.parametrize("file_format", ["WEBP", "PNG"])
def test_animation_is_rejected_and_default_image_read(file_format: str) -> None:
    """An animated PNG has a default image; an animated WebP has none."""
    first, second = (Image.fromarray(RAMP8).convert("RGB").rotate(angle) for angle in (0, 90))
    data = encode(first, file_format, save_all=True, append_images=[second], default_image=True, lossless=True)
    if file_format == "PNG":
        assert order(decode(data).pixels, RAMP8) > 0.999
    else:
        with pytest.raises(errors.UnsupportedFormat, match="an animation"):
            decode(data)


@pytest.mark.parametrize("mode", ["L", "I;16", "P", "1"])
def test_png_with_missing_rows_is_rejected(mode: str) -> None:
    """The lower half is missing from the stream, and all checksums are right."""
    image = Image.fromarray(RAMP16) if mode == "I;16" else Image.fromarray(RAMP8).convert(mode)
    half = bytearray(encode(image.crop((0, 0, 256, 128)), "PNG"))
    half[20:24] = struct.pack(">I", 256)
    half[29:33] = struct.pack(">I", zlib.crc32(half[12:29]))
    with pytest.raises(errors.DamagedImage) as caught:
        decode(bytes(half))
    assert caught.value.detail == "The PNG has fewer rows than its header states."


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "P", "1"])
def test_png_with_black_last_row_is_read(mode: str) -> None:
    pixels = (RAMP16 if mode == "I;16" else RAMP8).copy()
    pixels[-1] = 0
    image = Image.fromarray(pixels) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    assert decode(encode(image, "PNG")).pixels.shape == (256, 256)


def test_interlaced_png() -> None:
    """Pillow cannot write interlaced PNGs, so the seven passes are built here."""
    image = RAMP8[:101, :67]
    rows = b"".join(b"\0" + image[y, x0::dx].tobytes() for y0, x0, dy, dx in ADAM7 for y in range(y0, 101, dy))
    header = struct.pack(">IIBBBBB", 67, 101, 8, 0, 0, 0, 1)

    def whole(stream: bytes) -> bytes:
        parts = ((b"IHDR", header), (b"IDAT", zlib.compress(stream)), (b"IEND", b""))
        return PNG_SIGNATURE + b"".join(png_chunk(*part) for part in parts)

    np.testing.assert_array_equal(decode(whole(rows)).pixels, image)
    with pytest.raises(errors.DamagedImage):
        decode(whole(rows[:-2000]))


def test_unusual_exif_gives_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    data = encode(Image.fromarray(RAMP8), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01")
    assert decode(data).pixels.shape == RAMP8.shape


def test_file_too_short_for_its_size_is_rejected_before_decoding() -> None:
    bomb = encode(Image.new("1", (6000, 6000)), "PNG")
    with pytest.raises(errors.DamagedImage, match="too few for an image of 6000 x 6000"):
        decode(bomb)


def test_png_bomb_is_rejected_at_once() -> None:
    header = struct.pack(">IIBBBBB", 300, 300, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(200_000_000), 9)
    started = time.process_time()
    with pytest.raises(errors.DamagedImage, match="more rows"):
        decode(PNG_SIGNATURE + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", body) + png_chunk(b"IEND", b""))
    assert time.process_time() - started < 0.2


def test_jpeg_with_thousands_of_scans_is_rejected_before_decoding() -> None:
    image = encode(Image.fromarray(RAMP8), "JPEG", progressive=True)
    start = image.rindex(b"\xff\xda")
    with pytest.raises(errors.DamagedImage):
        decode(image[:start] + 2000 * image[start:-2] + image[-2:])


def test_memory_error_is_not_reported_as_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object, **__: object) -> None:
        raise MemoryError

    image = encode(Image.fromarray(RAMP8), "PNG")
    monkeypatch.setattr(Image, "open", no_room)
    with pytest.raises(MemoryError):
        decode(image)
