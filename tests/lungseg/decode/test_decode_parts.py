"""Files cut down to their pictures, and what is counted in them before anything reads them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from films import RAMP8, RAMP16, dicom, encode, png, tiff
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from lungseg import errors, limits
from lungseg.decode import decode
from lungseg.decode.bounds import png as png_bounds
from lungseg.decode.bounds import tiff as tiff_bounds
from lungseg.decode.bounds.inflate import MAX_PIECE_BYTES, READ_BYTES, InflateReader
from lungseg.decode.bounds.jpeg import MAX_SCANS, iter_segments, jpeg_size, strip_ancillary_segments
from lungseg.decode.bounds.png import png_chunk
from lungseg.decode.bounds.raster import check_bmp, check_webp

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def ihdr(width: int = 300, height: int = 200, depth: int = 8, kind: int = 0, *last: int) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, *(last or (0, 0, 0))))


def png_of(*parts: bytes, head: bytes | None = None, size: int = 300 * 200 + 200) -> bytes:
    """A PNG with other chunks between its header and its picture."""
    return (
        SIGNATURE
        + (head or ihdr())
        + b"".join(parts)
        + png_chunk(b"IDAT", zlib.compress(bytes(size)))
        + png_chunk(b"IEND", b"")
    )


class TestPng:
    def test_a_plain_file_is_left_as_it_is(self) -> None:
        for film in (png(RAMP8), png_of(png_chunk(b"gAMA", bytes(4)))):
            assert png_bounds.strip_ancillary_chunks(film) is film

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
    def test_what_is_no_part_of_the_picture_is_left_out(self, part: bytes) -> None:
        assert png_bounds.strip_ancillary_chunks(png_of(part)) == png_of()
        kept = png_chunk(b"pHYs", bytes(9))
        assert png_bounds.strip_ancillary_chunks(png_of(kept, part, kept)) == png_of(kept, kept)
        assert decode(png_of(part)).pixels.shape == (200, 300)

    def test_an_orientation_is_kept(self) -> None:
        for part in (png_chunk(b"eXIf", bytes(60)), png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x/>")):
            film = png_of(part)
            assert png_bounds.strip_ancillary_chunks(film) is film
        large = png_chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(2**21))
        assert png_bounds.strip_ancillary_chunks(png_of(large)) == png_of()

    def test_what_follows_the_end_is_left_out(self) -> None:
        text = png_chunk(b"tEXt", b"a\0b")
        assert png_bounds.strip_ancillary_chunks(png_of(text) + b"anything behind") == png_of()

    @pytest.mark.parametrize(
        ("head", "says"),
        [
            (png_chunk(b"IDAT", bytes(13)), "no header"),
            (ihdr(300, 200, 8, 0, 1, 0, 0), "a compression, filter or interlacing that there is not"),
            (ihdr(300, 200, 8, 0, 0, 1, 0), "a compression, filter or interlacing that there is not"),
            (ihdr(300, 200, 8, 0, 0, 0, 2), "a compression, filter or interlacing that there is not"),
        ],
    )
    def test_a_header_of_no_png_is_refused(self, head: bytes, says: str) -> None:
        with pytest.raises(ValueError, match=f"^{says}$"):
            png_bounds.strip_ancillary_chunks(png_of(head=head))

    def test_a_stream_of_another_picture_is_refused(self) -> None:
        """A few bytes that would have to stand for millions, and millions that stand for a few rows."""
        short = SIGNATURE + ihdr(5000, 5000) + png_chunk(b"IDAT", bytes(10_000)) + png_chunk(b"tEXt", bytes(9_000))
        with pytest.raises(ValueError, match=r"^a stream of another picture$"):
            png_bounds.strip_ancillary_chunks(short + png_chunk(b"IEND", b""))
        long = SIGNATURE + ihdr() + png_chunk(b"IDAT", bytes(400_000)) + png_chunk(b"IEND", b"")
        with pytest.raises(ValueError, match=r"^a stream of another picture$"):
            png_bounds.strip_ancillary_chunks(long)

    def test_the_sides_are_looked_at_first(self) -> None:
        for head, error in ((ihdr(30, 200), errors.TooSmall), (ihdr(20_000, 200), errors.TooLarge)):
            with pytest.raises(error):
                png_bounds.strip_ancillary_chunks(png_of(head=head))

    def test_chunks_are_counted(self) -> None:
        data = SIGNATURE + png_chunk(b"IDAT", b"") * (limits.MAX_PARTS - 1)
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
    def test_the_rows_bytes_are_worked_out(self, head: tuple[int, ...], size: int) -> None:
        assert png_bounds.uncompressed_size(SIGNATURE + ihdr(*head)) == size

    def test_no_byte_behind_the_last_row_is_inflated(self) -> None:
        film = png_of(size=300 * 200 + 200 + 5_000_000)
        with pytest.raises(errors.DamagedImage, match="more rows"):
            list(png_bounds.inflate_rows(film))
        rows = bytes(200 * 301)
        split = zlib.compress(bytes(200 * 301))
        parts = png_chunk(b"IDAT", split[:40]) + png_chunk(b"tEXt", b"a\0b") + png_chunk(b"IDAT", split[40:])
        assert b"".join(png_bounds.inflate_rows(SIGNATURE + ihdr() + parts)) == rows


class TestInflated:
    def test_a_stream_is_inflated_in_pieces(self) -> None:
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

    def test_no_more_is_taken_than_is_asked_for(self) -> None:
        packed = zlib.compress(bytes(100 * MAX_PIECE_BYTES))
        stream = InflateReader([memoryview(packed)])
        assert len(next(iter(stream))) == MAX_PIECE_BYTES
        assert stream.taken == READ_BYTES
        assert not stream.ended

    def test_a_stream_that_ends_early_has_not_ended(self) -> None:
        packed = zlib.compress(bytes(1000) + bytes(range(256)))
        stream = InflateReader([memoryview(packed[:-6])])
        assert 0 < len(b"".join(stream)) <= 1256
        assert not stream.ended
        with pytest.raises(zlib.error):
            list(InflateReader([memoryview(b"no stream at all")]))

    def test_a_stream_without_header_is_told(self) -> None:
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
    def test_segments_are_walked_up_to_what_is_none(self) -> None:
        stream = b"\xff\xd8" + JFIF + b"\xff\xff" + FRAME + b"stray" + b"\xff\xd0" + marker(0xFE, b"text")
        found = [(kind, stream[start:end]) for kind, start, end in iter_segments(stream)]
        assert found == [(0xE0, JFIF), (0xC0, FRAME), (0xD0, b"\xff\xd0"), (0xFE, marker(0xFE, b"text"))]
        assert list(iter_segments(b"\xff\xd8" + b"stray")) == []

    def test_segments_are_counted(self) -> None:
        stream = b"\xff\xd8" + marker(0xFE, b"") * (limits.MAX_PARTS - 1)
        assert len(list(iter_segments(stream))) == limits.MAX_PARTS - 1
        with pytest.raises(ValueError, match=r"^too many segments$"):
            list(iter_segments(stream + marker(0xFE, b"") * 2))

    def test_what_is_no_part_of_the_picture_is_left_out(self) -> None:
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

    def test_the_size_is_the_frames(self) -> None:
        for kind in (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xCF, 0xF7):
            frame = FRAME[:1] + bytes([kind]) + FRAME[2:]
            assert jpeg_size(b"\xff\xd8" + JFIF + frame + SCAN) == (200, 300)
        for kind in (0xC4, 0xC8, 0xCC):
            other = FRAME[:1] + bytes([kind]) + FRAME[2:]
            with pytest.raises(ValueError, match=r"^no frame header$"):
                jpeg_size(b"\xff\xd8" + other + SCAN)
            assert jpeg_size(b"\xff\xd8" + other + FRAME.replace(b"\0\xc8", b"\0\xc9") + SCAN) == (201, 300)

    def test_a_stream_without_end_or_frame_is_refused(self) -> None:
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
    def test_a_webp_of_too_many_chunks_is_refused(self) -> None:
        """A chunk of odd length has a byte behind it."""
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
    def test_a_bmp_of_run_lengths_is_refused(self, header: int, compression: int, read: bool) -> None:
        data = bytearray(encode(Image.fromarray(RAMP8), "BMP"))
        struct.pack_into("<I", data, 14, header)
        struct.pack_into("<I", data, 30, compression)
        if read:
            assert check_bmp(bytes(data)) == data
            return
        with pytest.raises(errors.UnsupportedFormat) as caught:
            check_bmp(bytes(data))
        assert caught.value.detail == "The BMP is run-length encoded."


def directory(
    *entries: tuple[int, int, int], order: str = "<", large: bool = False, link: int = 0, start: int | None = None
) -> bytes:
    """A TIFF of one directory: codes, types and counts."""
    head = b"II" if order == "<" else b"MM"
    number, entry, place = ("Q", "HHQQ", "Q") if large else ("H", "HHII", "I")
    first = 16 if large else 8
    head += (
        struct.pack(f"{order}HHHQ", 43, 8, 0, start or first)
        if large
        else struct.pack(f"{order}HI", 42, start or first)
    )
    body = b"".join(struct.pack(f"{order}{entry}", *each, 0) for each in entries)
    return head + struct.pack(f"{order}{number}", len(entries)) + body + struct.pack(f"{order}{place}", link)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
class TestTiffTags:
    def test_values_are_counted(self, order: str, large: bool) -> None:
        def check(*entries: tuple[int, int, int]) -> None:
            tiff_bounds.check_tiff(directory(*entries, order=order, large=large))

        most = limits.MAX_PARTS
        check((256, 3, 1), (700, 7, 10_000_000), (273, 4, most), (320, 3, 3 * 2**16))
        for code, kind in ((273, 4), (279, 16), (33_000, 12)):
            with pytest.raises(ValueError, match=r"^too many numbers$"):
                check((256, 3, 1), (code, kind, most + 1))
        with pytest.raises(ValueError, match=r"^too many numbers$"):
            check((320, 3, 3 * 2**16 + 1))
        check((700, 7, tiff_bounds.MAX_DIRECTORY_BYTES))
        with pytest.raises(ValueError, match=r"^too many bytes in a directory$"):
            check((700, 7, tiff_bounds.MAX_DIRECTORY_BYTES), (256, 3, 1))
        with pytest.raises(ValueError, match=r"^too many bytes in a directory$"):
            check((700, 1, tiff_bounds.MAX_DIRECTORY_BYTES // 2 + 1), (701, 2, tiff_bounds.MAX_DIRECTORY_BYTES // 2))

    def test_tags_are_counted(self, order: str, large: bool) -> None:
        tags = [(256, 3, 1)] * tiff_bounds.MAX_TAGS
        tiff_bounds.check_tiff(directory(*tags, order=order, large=large))
        with pytest.raises(ValueError, match=r"^too many tags$"):
            tiff_bounds.check_tiff(directory(*tags, (256, 3, 1), order=order, large=large))

    def test_first_directories_are_checked(self, order: str, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        first = directory((256, 3, 1), order=order, large=large)
        link = len(first)
        first = directory((256, 3, 1), order=order, large=large, link=link)
        second = directory((273, 4, limits.MAX_PARTS + 1), order=order, large=large)[16 if large else 8 :]
        with pytest.raises(ValueError, match=r"^too many numbers$"):
            tiff_bounds.check_tiff(first + second)
        monkeypatch.setattr(tiff_bounds, "MAX_PAGES", 1)
        assert tiff_bounds.check_tiff(first + second) == first + second

    def test_a_link_into_nowhere_ends_it(self, order: str, large: bool) -> None:
        for link in (0, 10**6):
            tiff_bounds.check_tiff(directory((256, 3, 1), order=order, large=large, link=link))
        tiff_bounds.check_tiff(directory((256, 3, 1), order=order, large=large, start=10**6))
        with pytest.raises(struct.error):
            tiff_bounds.check_tiff(directory(order=order, large=large)[:6])


def saved(change: Callable[[Dataset], None]) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP16)))
    change(dataset)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


class TestDicom:
    def test_elements_are_counted(self) -> None:
        def many(dataset: Dataset, count: int) -> None:
            for number in range(count):
                dataset.add_new((0x0009 + 2 * (number // 60_000), 0x1000 + number % 60_000), "US", 1)

        few = saved(lambda dataset: many(dataset, 2_000))
        assert decode(few).pixels.shape == (256, 256)
        with pytest.raises(errors.UnsupportedDicom) as caught:
            decode(saved(lambda dataset: many(dataset, 4 * limits.MAX_ELEMENTS)))
        assert caught.value.detail == f"The object has more than {limits.MAX_ELEMENTS:,} elements."

    def test_a_sequence_that_is_asked_for_is_read_within_the_same_bounds(self) -> None:
        def table(dataset: Dataset, count: int) -> None:
            item = Dataset()
            item.LUTDescriptor = [256, 0, 16]
            item.add_new("LUTData", "OW", bytes(512))
            for number in range(count):
                item.add_new((0x0009, 0x1000 + number), "US", 1)
            dataset.VOILUTSequence = Sequence([item])

        assert decode(saved(lambda dataset: table(dataset, 100))).pixels.shape == (256, 256)
        with pytest.raises(errors.UnsupportedDicom):
            decode(saved(lambda dataset: table(dataset, 4 * limits.MAX_ELEMENTS)))

    def test_a_value_that_is_asked_for_may_not_be_too_long(self) -> None:
        assert decode(dicom(RAMP16, WindowCenter=[100] * 50, WindowWidth=[100] * 50)).pixels.shape == (256, 256)
        data = dicom(RAMP16, PatientOrientation="L" * (limits.MAX_TEXT + 2))
        with pytest.raises(errors.UnsupportedDicom) as caught:
            decode(data)
        assert caught.value.detail == "An element has more than 16,384 bytes."
        # What nothing asks for may be as long as it likes.
        assert decode(dicom(RAMP16, PatientComments="x" * (limits.MAX_TEXT + 2))).pixels.shape == (256, 256)


def item(body: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body


class TestFragments:
    """A compressed picture's pieces: a table of where frames begin, then the picture in any number of parts."""

    PICTURE = encode(Image.fromarray(np.tile(RAMP8, (2, 2))[:400]), "JPEG")

    def film(self, value: bytes) -> bytes:
        pixels = np.tile(RAMP8, (2, 2))[:400]
        return dicom(pixels, TransferSyntaxUID=JPEGBaseline8Bit, PixelData=value + b"\xfe\xff\xdd\xe0\0\0\0\0")

    def refused(self, value: bytes) -> str:
        with pytest.raises(errors.DamagedImage) as caught:
            decode(self.film(value))
        return caught.value.detail

    def test_pieces_are_counted(self) -> None:
        said = "The compressed pixel data has more than 5,000 fragments."
        halves = item(self.PICTURE[:1000]) + item(self.PICTURE[1000:])
        assert decode(self.film(item(b"") + halves)).pixels.shape == (400, 512)
        assert decode(self.film(item(bytes(4)) + halves)).pixels.shape == (400, 512)
        most = limits.MAX_ELEMENTS - 4  # the table, the halves, and room for the look behind the last one
        assert decode(self.film(item(b"") + halves + item(b"") * most)).pixels.shape == (400, 512)
        assert self.refused(item(b"") + halves + item(b"") * (most + 2)) == said

    def test_the_table_of_frames_may_not_be_one_of_thousands(self) -> None:
        said = "The compressed pixel data has more than 5,000 fragments."
        assert self.refused(item(bytes(4 * limits.MAX_ELEMENTS + 4)) + item(self.PICTURE)) == said
        assert decode(self.film(item(bytes(4 * limits.MAX_ELEMENTS)) + item(self.PICTURE))).pixels.shape == (400, 512)

    def test_a_picture_far_longer_than_without_compression_is_refused(self) -> None:
        said = "The compressed pixel data is far longer than uncompressed pixels would be."
        room = 2 * 400 * 512 + 2**20 - len(item(b"") + item(self.PICTURE)) - 8
        assert self.refused(item(b"") + item(self.PICTURE + bytes(room + 200))) == said
        assert decode(self.film(item(b"") + item(self.PICTURE + bytes(room - 100)))).pixels.shape == (400, 512)


def test_a_deflated_data_set_is_told_what_is_wrong_with_it() -> None:
    film = dicom(RAMP16, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    with pytest.raises(errors.DamagedImage) as damaged:
        decode(film[:-1000])
    assert damaged.value.detail == "The deflated data set is truncated."
    drawing = dicom(np.zeros((2000, 3000), np.uint8), TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    with pytest.raises(errors.TooLarge) as large:
        decode(drawing)
    assert large.value.detail == "The deflated data set is far larger than any image."


def test_a_tiff_is_counted_before_it_is_read() -> None:
    data = tiff(RAMP8, extratags=[(65_000, 4, limits.MAX_PARTS + 1, [1] * (limits.MAX_PARTS + 1), True)])
    with pytest.raises(errors.DamagedImage):
        decode(data)
