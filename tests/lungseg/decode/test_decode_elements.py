"""Limits of TIFF directories and DICOM data sets, exact to one part."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from films import RAMP8, RAMP16, dicom, encode, tiff
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit

from lungseg import errors, limits
from lungseg.decode import decode
from lungseg.decode.bounds import tiff as tiff_bounds


def directory(
    *entries: tuple[int, int, int], order: str = "<", large: bool = False, link: int = 0, start: int | None = None
) -> bytes:
    """Return a TIFF of one directory; ``entries`` are codes, types and counts."""
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
    def test_values_are_limited(self, order: str, large: bool) -> None:
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

    def test_tags_are_limited(self, order: str, large: bool) -> None:
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

    def test_invalid_link_ends_the_check(self, order: str, large: bool) -> None:
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
    def test_elements_are_limited(self) -> None:
        def many(dataset: Dataset, count: int) -> None:
            for number in range(count):
                dataset.add_new((0x0009 + 2 * (number // 60_000), 0x1000 + number % 60_000), "US", 1)

        few = saved(lambda dataset: many(dataset, 2_000))
        assert decode(few).pixels.shape == (256, 256)
        with pytest.raises(errors.UnsupportedDicom) as caught:
            decode(saved(lambda dataset: many(dataset, 4 * limits.MAX_ELEMENTS)))
        assert caught.value.detail == f"The object has more than {limits.MAX_ELEMENTS:,} elements."

    def test_sequence_is_read_within_the_same_limits(self) -> None:
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

    def test_accessed_value_is_limited(self) -> None:
        assert decode(dicom(RAMP16, WindowCenter=[100] * 50, WindowWidth=[100] * 50)).pixels.shape == (256, 256)
        data = dicom(RAMP16, PatientOrientation="L" * (limits.MAX_TEXT + 2))
        with pytest.raises(errors.UnsupportedDicom) as caught:
            decode(data)
        assert caught.value.detail == "An element has more than 16,384 bytes."
        # An element that is not accessed has no limit.
        assert decode(dicom(RAMP16, PatientComments="x" * (limits.MAX_TEXT + 2))).pixels.shape == (256, 256)


def item(body: bytes) -> bytes:
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body


class TestFragments:
    """Fragments of compressed pixel data: the offset table, then the stream in any number of parts."""

    PICTURE = encode(Image.fromarray(np.tile(RAMP8, (2, 2))[:400]), "JPEG")

    def image(self, value: bytes) -> bytes:
        pixels = np.tile(RAMP8, (2, 2))[:400]
        return dicom(pixels, TransferSyntaxUID=JPEGBaseline8Bit, PixelData=value + b"\xfe\xff\xdd\xe0\0\0\0\0")

    def refused(self, value: bytes) -> str:
        with pytest.raises(errors.DamagedImage) as caught:
            decode(self.image(value))
        return caught.value.detail

    def test_fragments_are_limited(self) -> None:
        said = "The compressed pixel data has more than 5,000 fragments."
        halves = item(self.PICTURE[:1000]) + item(self.PICTURE[1000:])
        assert decode(self.image(item(b"") + halves)).pixels.shape == (400, 512)
        assert decode(self.image(item(bytes(4)) + halves)).pixels.shape == (400, 512)
        most = limits.MAX_ELEMENTS - 4  # the table, the two halves, and the check after the last one
        assert decode(self.image(item(b"") + halves + item(b"") * most)).pixels.shape == (400, 512)
        assert self.refused(item(b"") + halves + item(b"") * (most + 2)) == said

    def test_offset_table_is_limited(self) -> None:
        said = "The compressed pixel data has more than 5,000 fragments."
        assert self.refused(item(bytes(4 * limits.MAX_ELEMENTS + 4)) + item(self.PICTURE)) == said
        assert decode(self.image(item(bytes(4 * limits.MAX_ELEMENTS)) + item(self.PICTURE))).pixels.shape == (400, 512)

    def test_pixel_data_longer_than_uncompressed_is_rejected(self) -> None:
        said = "The compressed pixel data is far longer than uncompressed pixels would be."
        room = 2 * 400 * 512 + 2**20 - len(item(b"") + item(self.PICTURE)) - 8
        assert self.refused(item(b"") + item(self.PICTURE + bytes(room + 200))) == said
        assert decode(self.image(item(b"") + item(self.PICTURE + bytes(room - 100)))).pixels.shape == (400, 512)


def test_deflated_data_set_errors() -> None:
    image = dicom(RAMP16, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    with pytest.raises(errors.DamagedImage) as damaged:
        decode(image[:-1000])
    assert damaged.value.detail == "The deflated data set is truncated."
    drawing = dicom(np.zeros((2000, 3000), np.uint8), TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    with pytest.raises(errors.TooLarge) as large:
        decode(drawing)
    assert large.value.detail == "The deflated data set is far larger than any image."


def test_tiff_is_checked_before_it_is_read() -> None:
    data = tiff(RAMP8, extratags=[(65_000, 4, limits.MAX_PARTS + 1, [1] * (limits.MAX_PARTS + 1), True)])
    with pytest.raises(errors.DamagedImage):
        decode(data)
