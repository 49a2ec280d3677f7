"""What is stripped from a file before it is decoded, and how many parts it may have."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import imagecodecs
import numpy as np
import pydicom
import pytest
import tifffile
from films import RAMP8, RAMP16, dicom, encode, order, png, tiff
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from lungseg import errors, limits
from lungseg.decode import decode
from lungseg.decode.bounds.jpeg import strip_ancillary_segments
from lungseg.decode.bounds.png import png_chunk, strip_ancillary_chunks

ROTATED = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
WIDE = Image.fromarray(RAMP8[:128])


def in_png(*parts: bytes, image: bytes = b"") -> bytes:
    """Return a PNG with more chunks after its header."""
    image = image or encode(WIDE, "PNG")
    return image[:33] + b"".join(parts) + image[33:]


def in_jpeg(*segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with more segments after its first one."""
    image = encode(WIDE, "JPEG")
    return (
        image[:20]
        + b"".join(struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in segments)
        + image[20:]
    )


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"tEXt", b"Comment\0chest"),
        (b"iTXt", b"Comment\0\0\0\0\0chest"),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"chest")),
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(132))),
        (b"acTL", struct.pack(">II", 2, 0)),
        (b"prVt", bytes(3)),
        (b"gAMA", bytes(2000)),
    ],
)
def test_ancillary_png_chunks_are_stripped(kind: bytes, body: bytes) -> None:
    plain = encode(WIDE, "PNG")
    assert strip_ancillary_chunks(in_png(png_chunk(kind, body))) == plain
    assert strip_ancillary_chunks(plain) is plain


@pytest.mark.parametrize(
    ("kind", "body"),
    [(0xFE, b"chest"), (0xE2, b"ICC_PROFILE\0\1\1" + bytes(132)), (0xE5, b""), (0xED, b"Photoshop 3.0\0")],
)
def test_ancillary_jpeg_segments_are_stripped(kind: int, body: bytes) -> None:
    plain = encode(WIDE, "JPEG")
    assert strip_ancillary_segments(in_jpeg((kind, body))) == plain
    assert strip_ancillary_segments(plain) is plain


def test_cmyk_jpeg_with_comment_is_not_inverted() -> None:
    """The Adobe segment says that the inks are stored inverted."""
    inks = Image.fromarray(RAMP8).convert("CMYK")
    plain = encode(inks, "JPEG")
    commented = plain[:2] + b"\xff\xfe\0\7chest" + plain[2:]
    np.testing.assert_array_equal(decode(commented).pixels, decode(plain).pixels)
    assert order(decode(plain).pixels, RAMP8) > 0.99


@pytest.mark.parametrize(
    "image",
    [
        in_png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + ROTATED), png_chunk(b"tEXt", b"Comment\0chest")),
        in_png(png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(ROTATED))),
        in_png(png_chunk(b"eXIf", b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + bytes(4))),
        in_jpeg((0xFE, b"chest"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + ROTATED)),
        in_jpeg(
            (0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHIHH", 0x112, 3, 1, 6, 0) + bytes(4)), (0xFE, b"")
        ),
    ],
)
def test_orientation_survives_stripping(image: bytes) -> None:
    assert decode(image).pixels.shape == (256, 128)


@pytest.mark.parametrize("stray", [b"\0\1\2", b"\xff\xff\xff", b"\xff\0", b"\0\xff"])
def test_stray_bytes_between_segments_are_ignored(stray: bytes) -> None:
    plain = encode(WIDE, "JPEG")
    np.testing.assert_array_equal(decode(plain[:20] + stray + plain[20:]).pixels, decode(plain).pixels)


@pytest.mark.parametrize(
    "image",
    [
        in_png(png_chunk(b"prVt", b"") * limits.MAX_PARTS),
        in_png(png_chunk(b"IDAT", b"") * limits.MAX_PARTS),
        in_jpeg(*[(0xFE, b"")] * limits.MAX_PARTS),
    ],
)
def test_too_many_parts_are_rejected(image: bytes) -> None:
    with pytest.raises(errors.DamagedImage):
        decode(image)


def test_many_parts_are_read() -> None:
    whole = png(RAMP16)
    stream = whole[41 : whole.index(b"IEND") - 8]
    parts = b"".join(png_chunk(b"IDAT", stream[start : start + 1]) for start in range(len(stream)))
    assert len(stream) > 500
    np.testing.assert_array_equal(decode(whole[:33] + parts + png_chunk(b"IEND", b"")).pixels, RAMP16)
    np.testing.assert_array_equal(decode(tiff(RAMP16, rowsperstrip=1)).pixels, RAMP16)
    inside = encode(Image.fromarray(RAMP8), "JPEG")
    pieces = encapsulate([inside], fragments_per_frame=1000)
    want = decode(dicom(RAMP8, TransferSyntaxUID=JPEGBaseline8Bit, PixelData=encapsulate([inside]))).pixels
    np.testing.assert_array_equal(
        decode(dicom(RAMP8, TransferSyntaxUID=JPEGBaseline8Bit, PixelData=pieces)).pixels, want
    )


def test_libpng_does_not_log_the_profile(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """libpng would quote the profile's name."""
    profile = png_chunk(b"iCCP", b"CANARY^NAME\0\0" + zlib.compress(np.random.default_rng(1).bytes(400)))
    image = in_png(profile, image=imagecodecs.png_encode(np.repeat(RAMP16[..., None], 3, axis=2)))
    np.testing.assert_array_equal(decode(image).pixels, RAMP16)
    np.testing.assert_array_equal(imagecodecs.png_decode(image)[..., 0], RAMP16)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("place", [26, 27, 28])
def test_png_with_unknown_method_is_damaged(place: int) -> None:
    image = bytearray(encode(WIDE, "PNG"))
    image[place] = 2
    image[29:33] = struct.pack(">I", zlib.crc32(image[12:29]))
    with pytest.raises(errors.DamagedImage):
        decode(bytes(image))


def test_png_with_too_long_stream_is_rejected() -> None:
    image = encode(WIDE, "PNG")
    with pytest.raises(errors.DamagedImage):
        decode(image[:-12] + png_chunk(b"IDAT", bytes(300_000)) + image[-12:])


def test_run_length_encoded_bmp_is_rejected() -> None:
    image = bytearray(encode(Image.fromarray(RAMP8), "BMP"))
    image[30:34] = struct.pack("<I", 1)
    with pytest.raises(errors.UnsupportedFormat, match="run-length encoded"):
        decode(bytes(image))


def test_replacement_character_is_found_across_pieces() -> None:
    mark = "\N{REPLACEMENT CHARACTER}".encode()
    for place in range(2**20 - 3, 2**20 + 1):
        with pytest.raises(errors.MangledBody):
            decode(b"A" * place + mark + b"A")
    with pytest.raises(errors.UnsupportedFormat):
        decode(b"A" * (2**20 - 1) + mark[:2])


def test_overlapping_tiff_strips_are_rejected() -> None:
    data = bytearray(tiff(RAMP16, rowsperstrip=64))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[279]
        width = tag.valuebytecount // tag.count
    for strip in range(3):
        place = tag.valueoffset + width * strip
        data[place : place + width] = (60_000).to_bytes(width, "little")
    with pytest.raises(errors.DamagedImage, match="overlap"):
        decode(bytes(data))


def test_tiff_with_16_bit_palette_is_read() -> None:
    """Its directory has 196,608 numbers, the maximum."""
    colours = np.repeat(np.arange(65536, dtype=np.uint16)[None], 3, axis=0)
    image = decode(tiff(RAMP16, photometric="palette", colormap=colours))
    np.testing.assert_array_equal(image.pixels, RAMP16)


@pytest.mark.parametrize("value", [(270, 2, 0, "A" * 2**24, True), (65000, 4, 30_000, [7] * 30_000, True)])
def test_tiff_with_too_large_directory_is_rejected(value: tuple[object, ...]) -> None:
    with pytest.raises(errors.DamagedImage):
        decode(tiff(RAMP8, description=None, metadata=None, extratags=[value]))


def with_item(count: int, lengths_open: bool) -> Dataset:
    """Return the elements of an image, in an item of a sequence."""
    item = Dataset()
    for number in range(count):
        item.add_new(0x00310000 + number, "UT", "A")
    item.is_undefined_length_sequence_item = lengths_open
    return item


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("times", [0.9, 1.1])
def test_dicom_elements_are_limited(nested: bool, times: float) -> None:
    data = pydicom.dcmread(io.BytesIO(dicom(RAMP16)))
    items = with_item(int(times * limits.MAX_ELEMENTS), lengths_open=True)
    if nested:
        data.AnatomicRegionSequence = [items]
        data["AnatomicRegionSequence"].is_undefined_length = True
    else:
        data.update(items)
    buffer = io.BytesIO()
    data.save_as(buffer)
    if times < 1:
        assert order(decode(buffer.getvalue()).pixels, RAMP16) > 0.9999
    else:
        with pytest.raises(errors.UnsupportedDicom, match="more than 5,000 elements"):
            decode(buffer.getvalue())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WindowCenter", ["1"] * 9_000),
        ("PixelSpacing", ["0.2"] * 9_000),
        ("SpecificCharacterSet", ["ISO_IR 100"] * 200),
    ],
)
def test_too_long_dicom_value_is_rejected(name: str, value: list[str]) -> None:
    image = dicom(RAMP16, TransferSyntaxUID=ImplicitVRLittleEndian, WindowWidth="1", **{name: value})
    with pytest.raises(errors.UnsupportedDicom):
        decode(image)


def test_largest_lookup_table_is_read() -> None:
    table = Dataset()
    table.LUTDescriptor = [0, 0, 16]  # 65,536 entries
    table.add_new("LUTData", "OW", np.arange(65535, -1, -1, dtype="<u2").tobytes())
    assert order(decode(dicom(RAMP16, VOILUTSequence=[table])).pixels, RAMP16) < -0.9999
    table.add_new("LUTData", "OW", bytes(limits.MAX_VALUE + 2))
    with pytest.raises(errors.UnsupportedDicom, match="more than 131,072 bytes"):
        decode(dicom(RAMP16, VOILUTSequence=[table]))


@pytest.mark.parametrize("stated", [0, 10, 60, 2**31])
def test_wrong_length_of_file_meta_information_is_ignored(stated: int) -> None:
    image = dicom(RAMP16)
    pixels = decode(image[:140] + struct.pack("<I", stated) + image[144:]).pixels
    assert order(pixels, RAMP16) > 0.9999


def with_second_syntax(image: bytes) -> bytes:
    """Return an image whose file meta information has a second transfer syntax, after its stated end."""
    end = 144 + int.from_bytes(image[140:144], "little")
    syntax = DeflatedExplicitVRLittleEndian.encode()
    return image[:end] + b"\2\0\x10\0UI" + struct.pack("<H", len(syntax)) + syntax + image[end:]


def with_meta_that_is_implicit(image: bytes) -> bytes:
    """Return an image that pydicom alone would take for a deflated one, by an element of an unknown VR."""
    syntax = DeflatedExplicitVRLittleEndian.encode()
    odd = b"\2\0\1\0ZZ\0\0" + b"\2\0\x10\0" + struct.pack("<I", len(syntax)) + syntax
    return image[:132] + odd + image[132:]


@pytest.mark.parametrize("change", [with_second_syntax, with_meta_that_is_implicit])
def test_data_set_is_inflated_only_by_our_reader(
    change: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our reader has a limit; pydicom's own has none."""
    inflated: list[bytes] = []
    monkeypatch.setattr("pydicom.filereader.zlib.decompress", lambda data, *_: inflated.append(data))
    with pytest.raises(errors.ProblemError):
        decode(change(dicom(RAMP16))[:-1000])
    assert not inflated
