"""Limits of PNG, JPEG, WebP and BMP files, and of deflate streams, exact to one part."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from films import RAMP8, encode, png
from PIL import Image

from lungseg import errors, limits
from lungseg.decode import decode
from lungseg.decode.bounds import png as png_bounds
from lungseg.decode.bounds.inflate import MAX_PIECE_BYTES, READ_BYTES, InflateReader
from lungseg.decode.bounds.jpeg import MAX_SCANS, iter_segments, jpeg_size, strip_ancillary_segments
from lungseg.decode.bounds.png import PNG_SIGNATURE, png_chunk
from lungseg.decode.bounds.raster import check_bmp, check_webp


def ihdr(width: int = 300, height: int = 200, depth: int = 8, kind: int = 0, *last: int) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, *(last or (0, 0, 0))))


def png_of(*parts: bytes, head: bytes | None = None, size: int = 300 * 200 + 200) -> bytes:
    """Return a PNG with other chunks between its header and its image data."""
    return (
        PNG_SIGNATURE
        + (head or ihdr())
        + b"".join(parts)
        + png_chunk(b"IDAT", zlib.compress(bytes(size)))
        + png_chunk(b"IEND", b"")
    )


class TestPng:
    def test_plain_file_is_unchanged(self) -> None:
        for image in (png(RAMP8), png_of(png_chunk(b"gAMA", bytes(4)))):
            assert png_bounds.strip_ancillary_chunks(image) is image

    @pytest.mark.parametrize(
        "part",
        [
            png_chunk(b"tEXt", b"Comment\0anything"),
            png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"anything")),
            png_chunk(b"iTXt", b"Comment\0\0\0\0\0anything"),
            png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(500))),
            png_chunk(b"acTL", bytes(8)),
            png_chunk(b"prVt", bytes(8)),
            png_chunk(b"gAMA", bytes(5000)),
        ],
    )
    def test_ancillary_parts_are_stripped(self, part: bytes) -> None:
        assert png_bounds.strip_ancillary_chunks(png_of(part)) == png_of()
        kept = png_chunk(b"pHYs", bytes(9))
        assert png_bounds.strip_ancillary_chunks(png_of(kept, part, kept)) == png_of(kept, kept)
        assert decode(png_of(part)).pixels.shape == (200, 300)

    def test_orientation_is_kept(self) -> None:
        for part in (png_chunk(b"eXIf", bytes(60)), png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")):
            image = png_of(part)
            assert png_bounds.strip_ancillary_chunks(image) is image
        large = png_chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(2**21))
        assert png_bounds.strip_ancillary_chunks(png_of(large)) == png_of()

    def test_bytes_after_the_end_are_stripped(self) -> None:
        text = png_chunk(b"tEXt", b"a\0b")
        assert png_bounds.strip_ancillary_chunks(png_of(text) + b"anything after") == png_of()

    @pytest.mark.parametrize(
        ("head", "says"),
        [
            (png_chunk(b"IDAT", bytes(13)), "no header"),
            (ihdr(300, 200, 8, 0, 1, 0, 0), "a compression, filter or interlacing that there is not"),
            (ihdr(300, 200, 8, 0, 0, 1, 0), "a compression, filter or interlacing that there is not"),
            (ihdr(300, 200, 8, 0, 0, 0, 2), "a compression, filter or interlacing that there is not"),
        ],
    )
    def test_invalid_header_is_rejected(self, head: bytes, says: str) -> None:
        with pytest.raises(ValueError, match=f"^{says}$"):
            png_bounds.strip_ancillary_chunks(png_of(head=head))

    def test_stream_of_wrong_length_is_rejected(self) -> None:
        """Test a stream too short to expand to millions of bytes, and one too long for a few rows."""
        short = PNG_SIGNATURE + ihdr(5000, 5000) + png_chunk(b"IDAT", bytes(10_000)) + png_chunk(b"tEXt", bytes(9_000))
        with pytest.raises(ValueError, match=r"^a stream of another picture$"):
            png_bounds.strip_ancillary_chunks(short + png_chunk(b"IEND", b""))
        long = PNG_SIGNATURE + ihdr() + png_chunk(b"IDAT", bytes(400_000)) + png_chunk(b"IEND", b"")
        with pytest.raises(ValueError, match=r"^a stream of another picture$"):
            png_bounds.strip_ancillary_chunks(long)

    def test_size_is_checked_first(self) -> None:
        for head, error in ((ihdr(30, 200), errors.TooSmall), (ihdr(20_000, 200), errors.TooLarge)):
            with pytest.raises(error):
                png_bounds.strip_ancillary_chunks(png_of(head=head))

    def test_chunks_are_limited(self) -> None:
        data = PNG_SIGNATURE + png_chunk(b"IDAT", b"") * (limits.MAX_PARTS - 1)
        assert len(list(png_bounds.iter_chunks(data))) == limits.MAX_PARTS - 1
        assert next(png_bounds.iter_chunks(data)) == (b"IDAT", 8, 20)
        assert list(png_bounds.iter_chunks(data))[1] == (b"IDAT", 20, 32)
        with pytest.raises(ValueError, match=r"^too many chunks$"):
            list(png_bounds.iter_chunks(data + png_chunk(b"IDAT", b"") * 2))

    @pytest.mark.parametrize(
        ("head", "size"),
        [
            ((67, 101, 8, 0, 0, 0, 0), 101 * 68),
            ((67, 101, 16, 0, 0, 0, 0), 101 * 135),
            ((67, 101, 1, 0, 0, 0, 0), 101 * 10),
            ((67, 101, 4, 3, 0, 0, 0), 101 * 35),
            ((67, 101, 8, 2, 0, 0, 0), 101 * 202),
            ((67, 101, 16, 4, 0, 0, 0), 101 * 269),
            ((67, 101, 8, 6, 0, 0, 0), 101 * 269),
            # Passes of 9 x 13, 8 x 13, 17 x 13, 17 x 26 (rows by columns turned), 34 x 25, 33 x 51, 67 x 50.
            ((67, 101, 8, 0, 0, 0, 1), 13 * 10 + 13 * 9 + 13 * 18 + 26 * 18 + 25 * 35 + 51 * 34 + 50 * 68),
            ((1, 1, 8, 0, 0, 0, 1), 2),
            ((5, 1, 8, 0, 0, 0, 1), 2 + 2 + 2 + 3),
            ((1, 5, 8, 0, 0, 0, 1), 2 + 2 + 2 + 2 * 2),
        ],
    )
    def test_uncompressed_size(self, head: tuple[int, ...], size: int) -> None:
        assert png_bounds.uncompressed_size(PNG_SIGNATURE + ihdr(*head)) == size

    def test_no_byte_after_the_last_row_is_inflated(self) -> None:
        image = png_of(size=300 * 200 + 200 + 5_000_000)
        with pytest.raises(errors.DamagedImage, match="more rows"):
            list(png_bounds.inflate_rows(image))
        rows = bytes(200 * 301)
        split = zlib.compress(bytes(200 * 301))
        parts = png_chunk(b"IDAT", split[:40]) + png_chunk(b"tEXt", b"a\0b") + png_chunk(b"IDAT", split[40:])
        assert b"".join(png_bounds.inflate_rows(PNG_SIGNATURE + ihdr() + parts)) == rows


class TestInflateReader:
    def test_stream_is_inflated_in_pieces(self) -> None:
        plain = np.random.default_rng(1).integers(0, 8, 3 * MAX_PIECE_BYTES + 17, np.uint8).tobytes()
        packed = zlib.compress(plain)
        for parts in (
            [packed],
            [packed[:1000], packed[1000:]],
            [packed[:5], packed[5:READ_BYTES], packed[READ_BYTES:] + b"rest"],
        ):
            stream = InflateReader([memoryview(part) for part in parts])
            pieces = list(stream)
            assert b"".join(pieces) == plain
            assert stream.ended
            assert max(map(len, pieces)) <= MAX_PIECE_BYTES
            assert abs(stream.taken - len(packed)) <= READ_BYTES

    def test_only_requested_bytes_are_read(self) -> None:
        packed = zlib.compress(bytes(100 * MAX_PIECE_BYTES))
        stream = InflateReader([memoryview(packed)])
        assert len(next(iter(stream))) == MAX_PIECE_BYTES
        assert stream.taken == READ_BYTES
        assert not stream.ended

    def test_truncated_stream_has_not_ended(self) -> None:
        packed = zlib.compress(bytes(1000) + bytes(range(256)))
        stream = InflateReader([memoryview(packed[:-6])])
        assert 0 < len(b"".join(stream)) <= 1256
        assert not stream.ended
        with pytest.raises(zlib.error):
            list(InflateReader([memoryview(b"no stream at all")]))

    def test_raw_stream_is_inflated(self) -> None:
        coder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        packed = coder.compress(b"film" * 100) + coder.flush()
        stream = InflateReader([memoryview(packed)], -zlib.MAX_WBITS)
        assert b"".join(stream) == b"film" * 100


def marker(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, kind, 2 + len(body)) + body


JFIF, EXIF, ADOBE = (
    marker(0xE0, b"JFIF\0" + bytes(9)),
    marker(0xE1, b"Exif\0\0II*\0"),
    marker(0xEE, b"Adobe" + bytes(7)),
)
FRAME = marker(0xC0, struct.pack(">BHHB", 8, 200, 300, 1) + b"\1\x11\0")
SCAN = marker(0xDA, b"\1\1\0\0\x3f\0") + b"data\xff\0\xff\xd0data\xff\xd9"


class TestJpeg:
    def test_iteration_stops_at_the_first_invalid_segment(self) -> None:
        stream = b"\xff\xd8" + JFIF + b"\xff\xff" + FRAME + b"stray" + b"\xff\xd0" + marker(0xFE, b"text")
        found = [(kind, stream[start:end]) for kind, start, end in iter_segments(stream)]
        assert found == [(0xE0, JFIF), (0xC0, FRAME), (0xD0, b"\xff\xd0"), (0xFE, marker(0xFE, b"text"))]
        assert list(iter_segments(b"\xff\xd8" + b"stray")) == []

    def test_segments_are_limited(self) -> None:
        stream = b"\xff\xd8" + marker(0xFE, b"") * (limits.MAX_PARTS - 1)
        assert len(list(iter_segments(stream))) == limits.MAX_PARTS - 1
        with pytest.raises(ValueError, match=r"^too many segments$"):
            list(iter_segments(stream + marker(0xFE, b"") * 2))

    def test_ancillary_parts_are_stripped(self) -> None:
        plain = b"\xff\xd8" + JFIF + EXIF + ADOBE + FRAME + SCAN
        assert strip_ancillary_segments(plain) is plain
        for part in (
            marker(0xFE, b"text"),
            marker(0xE2, b"ICC_PROFILE\0" + bytes(50)),
            marker(0xE1, b"other"),
            JFIF,
            EXIF,
        ):
            assert strip_ancillary_segments(plain.replace(FRAME, part + FRAME)) == plain
        assert strip_ancillary_segments(plain.replace(FRAME, b"stray" + FRAME)) == plain
        with pytest.raises(ValueError, match=r"^no scan$"):
            strip_ancillary_segments(b"\xff\xd8" + JFIF + FRAME)

    def test_size_is_that_of_the_frame_header(self) -> None:
        for kind in (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xCF, 0xF7):
            frame = FRAME[:1] + bytes([kind]) + FRAME[2:]
            assert jpeg_size(b"\xff\xd8" + JFIF + frame + SCAN) == (200, 300)
        for kind in (0xC4, 0xC8, 0xCC):
            other = FRAME[:1] + bytes([kind]) + FRAME[2:]
            with pytest.raises(ValueError, match=r"^no frame header$"):
                jpeg_size(b"\xff\xd8" + other + SCAN)
            assert jpeg_size(b"\xff\xd8" + other + FRAME.replace(b"\0\xc8", b"\0\xc9") + SCAN) == (201, 300)

    def test_stream_without_end_or_frame_is_rejected(self) -> None:
        with pytest.raises(ValueError, match=r"^no end of image$"):
            jpeg_size(b"\xff\xd8" + FRAME + SCAN[:-2])
        with pytest.raises(ValueError, match=r"^no end of image$"):
            jpeg_size(b"\xff\xd8" + marker(0xFE, b"\xff\xd9") + FRAME + SCAN[:-2])
        for stream in (b"", b"\xff\xd8", b"\xff\xd8" + FRAME[:8], b"\xff\xd8" + SCAN[:6]):
            with pytest.raises(ValueError, match=r"^no frame header$"):
                jpeg_size(stream)
        with pytest.raises(ValueError, match=r"^too many scans$"):
            jpeg_size(b"\xff\xd8" + FRAME + SCAN * (MAX_SCANS + 1))
        assert jpeg_size(b"\xff\xd8" + FRAME + SCAN * MAX_SCANS) == (200, 300)


class TestOthers:
    def test_webp_with_too_many_chunks_is_rejected(self) -> None:
        """A chunk of odd length is padded by a byte."""
        head = b"RIFF\0\0\0\0WEBP"
        for body in (b"", b"odd", b"even"):
            part = b"JUNK" + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)
            fits = head + part * (limits.MAX_PARTS - 1)
            assert check_webp(fits) is fits
            with pytest.raises(ValueError, match=r"^too many chunks$"):
                check_webp(fits + part * 2)

    @pytest.mark.parametrize(
        ("header", "compression", "read"), [(40, 0, True), (40, 1, False), (124, 2, False), (12, 1, True)]
    )
    def test_run_length_encoded_bmp_is_rejected(self, header: int, compression: int, read: bool) -> None:
        data = bytearray(encode(Image.fromarray(RAMP8), "BMP"))
        struct.pack_into("<I", data, 14, header)
        struct.pack_into("<I", data, 30, compression)
        if read:
            assert check_bmp(bytes(data)) == data
            return
        with pytest.raises(errors.UnsupportedFormat) as caught:
            check_bmp(bytes(data))
        assert caught.value.detail == "The BMP is run-length encoded."
