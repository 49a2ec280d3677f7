"""Every film comes out bone bright, air dark, with its greys in order."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from films import dicom, encode, packaged, png
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless

from app import errors, limits
from app.decode import decode
from app.decode.raster import ADAM7

RAMP16 = np.linspace(0, 65535, 256 * 256).astype(np.uint16).reshape(256, 256)
RAMP8 = np.repeat(np.arange(256, dtype=np.uint8)[None], 256, axis=0)


def order(pixels: NDArray[np.generic], reference: NDArray[np.generic]) -> float:
    """Correlation of two films' greys: 1 if one is a linear map of the other, -1 if it is its negative."""
    return float(np.corrcoef(pixels.ravel().astype(float), reference.ravel().astype(float))[0, 1])


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def compressed(pixels: NDArray[np.uint8], inside: bytes, syntax: UID) -> bytes:
    """A DICOM film whose header describes ``pixels`` and whose picture is the file ``inside``."""
    return dicom(pixels, TransferSyntaxUID=syntax, PixelData=encapsulate([inside]))


class TestRaster:
    def test_16_bit_png_keeps_every_level(self) -> None:
        pixels = decode(png(RAMP16)).pixels
        assert pixels.dtype == np.uint16
        np.testing.assert_array_equal(pixels, RAMP16)

    @pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1"])
    def test_png_modes_become_grey(self, mode: str) -> None:
        film = decode(encode(Image.fromarray(RAMP8).convert(mode), "PNG"))
        assert film.pixels.dtype == np.uint8
        assert film.pixels.shape == RAMP8.shape
        assert order(film.pixels, RAMP8) > (0.5 if mode == "1" else 0.99)  # one bit: dithered

    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    def test_jpeg_modes_become_grey(self, mode: str) -> None:
        film = decode(encode(Image.fromarray(RAMP8).convert(mode), "JPEG", quality=95))
        assert order(film.pixels, RAMP8) > 0.99

    def test_exif_orientation_is_applied(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # shown turned by 90 degrees clockwise
        film = decode(encode(Image.fromarray(RAMP8[:128]), "JPEG", exif=exif))
        assert film.pixels.shape == (256, 128)
        assert film.pixels[0].mean() < film.pixels[-1].mean()

    def test_huge_header_is_refused_before_its_pixels_are_read(self) -> None:
        header = struct.pack(">IIBBBBB", 16000, 16000, 8, 0, 0, 0, 0)
        body = zlib.compress(bytes(16_000_000), 9)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        started = time.perf_counter()
        with pytest.raises(errors.TooLarge):
            decode(bomb)
        assert time.perf_counter() - started < 0.2

    @pytest.mark.parametrize("keep", [0.98, 0.5, 0.01])
    @pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
    def test_cut_files_are_refused(self, rg1_png: bytes, file_format: str, keep: float) -> None:
        data = encode(Image.open(io.BytesIO(rg1_png)), file_format)
        with pytest.raises(errors.DamagedFilm):
            decode(data[: int(len(data) * keep)])

    def test_16_bit_colour_is_refused_rather_than_cut_to_8(self) -> None:
        data = bytearray(encode(Image.fromarray(RAMP8).convert("RGB"), "PNG"))
        data[24] = 16  # the header's depth; the stream is not reached
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        with pytest.raises(errors.UnsupportedFormat, match="16 bits"):
            decode(bytes(data))

    @pytest.mark.parametrize("mode", ["L", "I;16", "P", "1"])
    def test_a_png_that_ends_early_but_cleanly_is_refused(self, mode: str) -> None:
        """Its lower half is missing from the stream, and every checksum is right."""
        image = Image.fromarray(RAMP16) if mode == "I;16" else Image.fromarray(RAMP8).convert(mode)
        half = bytearray(encode(image.crop((0, 0, 256, 128)), "PNG"))
        half[20:24] = struct.pack(">I", 256)
        half[29:33] = struct.pack(">I", zlib.crc32(half[12:29]))
        with pytest.raises(errors.DamagedFilm, match="fewer rows"):
            decode(bytes(half))

    @pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "RGBA", "P", "1"])
    def test_a_whole_png_with_a_black_last_row_is_read(self, mode: str) -> None:
        pixels = (RAMP16 if mode == "I;16" else RAMP8).copy()
        pixels[-1] = 0
        image = Image.fromarray(pixels) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
        assert decode(encode(image, "PNG")).pixels.shape == (256, 256)

    def test_interlaced_png(self) -> None:
        """Pillow writes none; the seven passes are laid out by hand."""
        film = RAMP8[:101, :67]
        rows = b"".join(b"\0" + film[y, x0::dx].tobytes() for y0, x0, dy, dx in ADAM7 for y in range(y0, 101, dy))
        header = struct.pack(">IIBBBBB", 67, 101, 8, 0, 0, 0, 1)

        def whole(stream: bytes) -> bytes:
            parts = ((b"IHDR", header), (b"IDAT", zlib.compress(stream)), (b"IEND", b""))
            return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)

        np.testing.assert_array_equal(decode(whole(rows)).pixels, film)
        with pytest.raises(errors.DamagedFilm):
            decode(whole(rows[:-2000]))

    def test_odd_exif_is_read_in_silence(self, recwarn: pytest.WarningsRecorder) -> None:
        data = encode(Image.fromarray(RAMP8), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01")
        assert decode(data).pixels.shape == RAMP8.shape


class TestDicom:
    def test_monochrome1_is_turned_round(self) -> None:
        plain = decode(dicom(RAMP16)).pixels
        turned = decode(dicom(RAMP16.max() - RAMP16, PhotometricInterpretation="MONOCHROME1")).pixels
        assert order(plain, RAMP16) > 0.9999
        np.testing.assert_array_equal(turned, plain)

    def test_rg1_shows_air_dark_and_bone_bright(self, rg1_pixels: NDArray[np.uint16]) -> None:
        assert rg1_pixels.shape == (1955, 1841)
        lung, spine = rg1_pixels[560:660, 430:560], rg1_pixels[300:700, 870:930]
        assert lung.mean() < spine.mean() - 5000

    def test_window_is_applied(self) -> None:
        pixels = decode(dicom(RAMP16, WindowCenter=20000, WindowWidth=10000)).pixels
        assert (pixels[RAMP16 < 14900] == 0).all()
        assert (pixels[RAMP16 > 25100] == 65535).all()
        assert order(pixels[(RAMP16 > 15000) & (RAMP16 < 25000)], RAMP16[(RAMP16 > 15000) & (RAMP16 < 25000)]) > 0.999

    def test_first_of_several_windows_is_applied(self) -> None:
        one = decode(dicom(RAMP16, WindowCenter=20000, WindowWidth=10000)).pixels
        two = decode(dicom(RAMP16, WindowCenter=[20000, 100], WindowWidth=[10000, 50])).pixels
        np.testing.assert_array_equal(one, two)

    @pytest.mark.parametrize(("centre", "width"), [(-500000, 10), (20000, 0), (20000, -1)])
    def test_window_that_shows_nothing_is_ignored(self, centre: int, width: int) -> None:
        pixels = decode(dicom(RAMP16, WindowCenter=centre, WindowWidth=width)).pixels
        assert order(pixels, RAMP16) > 0.9999

    def test_voi_lut_is_applied(self) -> None:
        table = Dataset()
        table.LUTDescriptor = [256, 0, 16]
        table.add_new("LUTData", "OW", np.linspace(65535, 0, 256).astype("<u2").tobytes())
        pixels = decode(dicom(RAMP8, VOILUTSequence=[table])).pixels
        assert order(pixels, RAMP8) < -0.9999

    def test_signed_values_and_rescale(self) -> None:
        signed = (RAMP16.astype(np.int32) - 32768).astype(np.int16)
        assert order(decode(dicom(signed)).pixels, RAMP16) > 0.9999
        negative = decode(dicom(RAMP16, RescaleSlope=-1, RescaleIntercept=65535)).pixels
        assert order(negative, RAMP16) < -0.9999

    def test_overlay_in_unused_high_bits_is_dropped(self) -> None:
        twelve = RAMP16 >> 4
        dirty = twelve | np.where(np.arange(256)[None] % 2, 0xF000, 0).astype(np.uint16)
        clean = decode(dicom(twelve, BitsStored=12, HighBit=11)).pixels
        np.testing.assert_array_equal(decode(dicom(dirty, BitsStored=12, HighBit=11)).pixels, clean)

    @pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
    def test_padding_is_dark_and_does_not_stretch_the_greys(self, photometric: str) -> None:
        film = (RAMP16 >> 6) + np.uint16(500)  # 500 to 1523
        padded = film.copy()
        padded[:, :40] = 65535
        pixels = decode(dicom(padded, PhotometricInterpretation=photometric, PixelPaddingValue=65535)).pixels
        whole = decode(dicom(film, PhotometricInterpretation=photometric)).pixels
        assert (pixels[:, :40] == 0).all()
        assert abs(pixels[:, 40:].astype(int) - whole[:, 40:]).max() < 200

    def test_pixels_are_found_wherever_high_bit_says(self) -> None:
        twelve = RAMP16 >> 4
        plain = decode(dicom(twelve, BitsStored=12, HighBit=11)).pixels
        left_justified = decode(dicom(twelve << 4, BitsStored=12, HighBit=15)).pixels
        np.testing.assert_array_equal(left_justified, plain)
        with pytest.raises(errors.DamagedFilm):
            decode(dicom(twelve, BitsStored=12, HighBit=3))

    def test_padding_outside_the_stored_bits_is_seen(self) -> None:
        film = RAMP16 >> 4
        padded = film.copy()
        padded[:, :40] = 0xF830
        pixels = decode(dicom(padded, BitsStored=12, HighBit=11, PixelPaddingValue=0xF830)).pixels
        assert (pixels[:, :40] == 0).all()
        assert order(pixels[:, 40:], film[:, 40:]) > 0.9999

    def test_padding_with_the_other_sign_is_seen(self) -> None:
        film = (RAMP16 >> 6).astype(np.int16)
        padded = film.copy()
        padded[:, :40] = -2000
        data = pydicom.dcmread(io.BytesIO(dicom(padded)))
        data.add_new("PixelPaddingValue", "US", 65536 - 2000)
        buffer = io.BytesIO()
        data.save_as(buffer)
        pixels = decode(buffer.getvalue()).pixels
        assert (pixels[:, :40] == 0).all()
        assert order(pixels[:, 40:], film[:, 40:]) > 0.9999

    @pytest.mark.parametrize(
        "elements",
        [
            {"RescaleSlope": None, "RescaleIntercept": None},
            {"RescaleSlope": 0, "RescaleIntercept": 5},
            {"RescaleSlope": "1e308", "RescaleIntercept": "1e308"},
            {"WindowCenter": None, "WindowWidth": None},
            {"WindowCenter": 128, "WindowWidth": 256},  # left from an 8-bit copy
        ],
    )
    def test_nonsense_in_rescale_or_window_is_left_out(self, elements: dict[str, object]) -> None:
        assert order(decode(dicom(RAMP16, **elements)).pixels, RAMP16) > 0.9999

    def test_missing_pixel_representation_is_unsigned(self) -> None:
        assert order(decode(dicom(RAMP16, PixelRepresentation=None)).pixels, RAMP16) > 0.9999

    @pytest.mark.parametrize(
        "name", ["MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm"]
    )
    def test_encodings_give_the_same_pixels(self, name: str) -> None:
        """A small real picture in pydicom, and its lossless JPEG 2000 form."""
        want = decode(packaged("MR_small_jp2klossless.dcm").read_bytes()).pixels
        np.testing.assert_array_equal(decode(packaged(name).read_bytes()).pixels, want)

    def test_a_tag_that_lies_is_believed_here(self, shared: Path) -> None:
        """The pixels of the two files are the same; what the network makes of it is test_pipeline's affair."""
        right, lying = (
            decode((shared / "dicom" / f"{name}.dcm").read_bytes()).pixels
            for name in ("chest_pa_jpeg_baseline", "chest_pa_wrong_monochrome1_tag")
        )
        assert right.shape == (1024, 1024)
        assert order(lying, right) < -0.9999

    @pytest.mark.parametrize("file_format", ["JPEG", "JPEG2000"])
    def test_a_picture_larger_than_its_header_is_refused_unread(self, file_format: str) -> None:
        syntax = {"JPEG": JPEGBaseline8Bit, "JPEG2000": JPEG2000Lossless}[file_format]
        options = {"no_jp2": True} if file_format == "JPEG2000" else {}
        inside = encode(Image.new("L", (6000, 6000)), file_format, **options)
        film = compressed(RAMP8, inside, syntax)
        tracemalloc.start()
        with pytest.raises(errors.DamagedFilm):
            decode(film)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10_000_000

    def test_jpeg_inside(self) -> None:
        film = compressed(RAMP8, encode(Image.fromarray(RAMP8), "JPEG", quality=95), JPEGBaseline8Bit)
        assert order(decode(film).pixels, RAMP8) > 0.999

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"NumberOfFrames": 2, "PixelData": bytes(2 * RAMP16.nbytes)}, "several frames"),
            ({"PhotometricInterpretation": "RGB"}, "not grey"),
            ({"TransferSyntaxUID": JPEGLSLossless, "PixelData": encapsulate([bytes(100)])}, "JPEG-LS Lossless"),
            ({"TransferSyntaxUID": "1.2.840.99999.1"}, "not one of the standard"),
        ],
    )
    def test_what_is_not_read_is_named(self, change: dict[str, object], says: str) -> None:
        dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP16)))
        for name, value in change.items():
            setattr(dataset.file_meta if name == "TransferSyntaxUID" else dataset, name, value)
        buffer = io.BytesIO()
        dataset.save_as(buffer, implicit_vr=False, little_endian=True)
        with pytest.raises(errors.UnsupportedDicom, match=says):
            decode(buffer.getvalue())

    @pytest.mark.parametrize("padding", [0, 20_000])
    def test_deflated_data_is_not_inflated(self, padding: int) -> None:
        data = pydicom.dcmread(io.BytesIO(dicom(RAMP16, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)))
        data.file_meta.PrivateInformationCreatorUID = "1.2.3"
        data.file_meta.PrivateInformation = bytes(padding)
        buffer = io.BytesIO()
        data.save_as(buffer, enforce_file_format=True)
        with pytest.raises(errors.UnsupportedDicom, match="deflated"):
            decode(buffer.getvalue())

    @pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "MR_small_jpeg_ls_lossless.dcm", "meta_missing_tsyntax.dcm"])
    def test_what_no_decoder_reads_is_not_called_damaged(self, name: str) -> None:
        with pytest.raises(errors.UnsupportedDicom):
            decode(packaged(name).read_bytes())

    def test_object_without_picture(self) -> None:
        dataset = pydicom.dcmread(io.BytesIO(dicom(RAMP16)))
        del dataset.PixelData
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        with pytest.raises(errors.UnsupportedDicom, match="no picture"):
            decode(buffer.getvalue())

    @pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "RG1_J2KR.dcm"])
    @pytest.mark.parametrize("keep", [0.9, 0.01])
    def test_cut_files_are_refused(self, name: str, keep: float) -> None:
        data = packaged(name).read_bytes()
        with pytest.raises(errors.DamagedFilm):
            decode(data[: int(len(data) * keep)])

    def test_huge_header_is_refused(self) -> None:
        with pytest.raises(errors.TooLarge):
            decode(dicom(RAMP16, Rows=60000, Columns=60000))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", errors.EmptyBody),
        (b"this is a text file, not a film", errors.UnsupportedFormat),
        (b"GIF89a" + bytes(500), errors.UnsupportedFormat),
        (b"\x89PNG\r\n\x1a\n".decode("utf-8", "replace").encode() + bytes(500), errors.MangledBody),
        (b"\xff\xd8\xff\xe0".decode("utf-8", "replace").encode() + bytes(500), errors.MangledBody),
        (png(np.zeros((1, 1), np.uint8)), errors.TooSmall),
        (png(np.zeros((63, 500), np.uint8)), errors.TooSmall),
        (bytes(limits.MAX_BYTES + 1), errors.TooLarge),
    ],
)
def test_refusals(data: bytes, error: type[errors.FilmError]) -> None:
    with pytest.raises(error):
        decode(data)


def test_a_refusal_quotes_nothing_of_the_film() -> None:
    secret = "CANARY^PATIENT"
    film = dicom(RAMP16, PatientName=secret, PhotometricInterpretation=secret[:16])
    with pytest.raises(errors.FilmError) as caught:
        decode(film)
    assert "CANARY" not in caught.value.line()
    assert caught.value.__cause__ is None
