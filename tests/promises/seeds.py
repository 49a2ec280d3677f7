"""Images that fuzzing starts from: the phantom in every supported format and variation, a few KB each."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from unittest import mock

import imagecodecs
import numpy as np
import pydicom
import tifffile
from films import dicom, encode, tiff
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from lungseg.decode.bounds.png import ADAM7, PNG_SIGNATURE, png_chunk
from lungseg.decode.selftest import dicom_file
from lungseg.decode.transfer_syntaxes import TRANSFER_SYNTAXES
from lungseg.model.selfcheck import draw_phantom

UID = "1.2.826.0.1.3680043.8.498.1"

GREY = draw_phantom(80)[:, 4:76]
"""80 x 72, so that the sides differ."""
TWELVE = GREY.astype(np.uint16) << 4
SIXTEEN = GREY.astype(np.uint16) * 257
COLOUR = np.repeat(GREY[..., None], 3, axis=2)
ICC = b"\0" * 128 + struct.pack(">I", 0)
"""A colour profile without tags."""


@functools.cache
def seeds() -> dict[str, bytes]:
    """Return all seeds by name; a name begins with the format."""
    # A new instance UID in each process would make other images of the same seed.
    with mock.patch("films.generate_uid", lambda: UID), mock.patch("lungseg.decode.selftest.generate_uid", lambda: UID):
        found = dict(chain(_png(), _jpeg(), _tiff(), _dicom(), _others()))
    assert all(len(film) < 40_000 for film in found.values())
    return found


def png_of(samples: NDArray[np.integer], depth: int, colour_type: int, interlaced: bool = False, *more: bytes) -> bytes:
    """Return a PNG written by hand: Pillow writes neither 2 and 4-bit grey nor interlacing.

    Args:
        samples: (height, width) or (height, width, channels).
        more: chunks between the header and the image data.
    """
    stored = samples.reshape(*samples.shape[:2], -1)
    rows = b"".join(
        b"\0" + _packed(stored[row, column::across].reshape(-1), depth)
        for first, column, down, across in (ADAM7 if interlaced else ((0, 0, 1, 1),))
        for row in range(first, len(stored), down)
    )
    header = struct.pack(">IIBBBBB", stored.shape[1], len(stored), depth, colour_type, 0, 0, interlaced)
    parts = png_chunk(b"IHDR", header), *more, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")
    return PNG_SIGNATURE + b"".join(parts)


def _packed(samples: NDArray[np.integer], depth: int) -> bytes:
    if depth == 16:
        return samples.astype(">u2").tobytes()
    bits = np.unpackbits(samples.astype(np.uint8)[:, None], axis=1)[:, 8 - depth :]
    return np.packbits(bits.ravel()).tobytes()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _png() -> Iterator[tuple[str, bytes]]:
    alpha = np.full_like(GREY, 255)
    palette = png_chunk(b"PLTE", bytes(np.repeat(np.arange(256, dtype=np.uint8), 3)))
    for depth in (1, 2, 4, 8):
        yield f"png-grey{depth}", png_of(GREY >> (8 - depth), depth, 0)
    yield "png-grey16", png_of(SIXTEEN, 16, 0)
    yield "png-grey-transparent", png_of(GREY, 8, 0, False, png_chunk(b"tRNS", b"\0\x14"))
    for depth in (1, 4, 8):
        yield f"png-palette{depth}", png_of(GREY >> (8 - depth), depth, 3, False, palette[: 12 + 768])
    yield "png-palette-transparent", png_of(GREY, 8, 3, False, palette, png_chunk(b"tRNS", bytes(40)))
    for depth, grey in ((8, GREY), (16, SIXTEEN)):
        yield f"png-colour{depth}", png_of(np.dstack([grey] * 3), depth, 2)
        yield f"png-grey-alpha{depth}", png_of(np.dstack([grey, alpha]), depth, 4)
        yield f"png-colour-alpha{depth}", png_of(np.dstack([grey] * 3 + [alpha]), depth, 6)
        yield f"png-interlaced{depth}", png_of(grey, depth, 0, True)
    yield "png-interlaced-colour16", png_of(np.dstack([SIXTEEN] * 3), 16, 2, True)
    text = PngInfo()
    text.add_text("Title", "chest", zip=True)
    text.add_itxt("Comment", "chest", zip=True)
    yield "png-texts", encode(Image.fromarray(GREY), "PNG", pnginfo=text, icc_profile=ICC, exif=_exif(6))
    frames = [Image.fromarray(GREY).rotate(angle) for angle in (90, 180)]
    yield "png-animated", encode(Image.fromarray(GREY), "PNG", save_all=True, append_images=frames, default_image=True)


def _jpeg() -> Iterator[tuple[str, bytes]]:
    grey, colour = Image.fromarray(GREY), Image.fromarray(COLOUR)
    yield "jpeg-grey", encode(grey, "JPEG")
    yield "jpeg-grey-progressive", encode(grey, "JPEG", progressive=True)
    yield "jpeg-restarts", encode(grey, "JPEG", restart_marker_blocks=4)
    yield "jpeg-colour-444", encode(colour, "JPEG", subsampling=0)
    yield "jpeg-colour-420", encode(colour, "JPEG", subsampling=2, optimize=True)
    yield "jpeg-colour-progressive", encode(colour, "JPEG", progressive=True)
    yield "jpeg-rgb", encode(colour, "JPEG", keep_rgb=True)
    yield "jpeg-cmyk", encode(colour.convert("CMYK"), "JPEG")
    yield "jpeg-turned", encode(grey, "JPEG", exif=_exif(6), icc_profile=ICC, comment=b"chest")
    yield "jpeg-mirrored", encode(colour, "JPEG", exif=_exif(2), dpi=(300, 300))


def _tiff() -> Iterator[tuple[str, bytes]]:
    yield "tiff-grey8", tiff(GREY)
    yield "tiff-grey16-big-endian", tiff(SIXTEEN, byteorder=">")
    yield "tiff-signed16", tiff((SIXTEEN.astype(np.int32) - 32768).astype(np.int16))
    yield "tiff-strips", tiff(GREY, rowsperstrip=8)
    yield "tiff-white-is-zero", tiff(255 - GREY, photometric="miniswhite")
    yield "tiff-bigtiff", tiff(GREY, bigtiff=True)
    yield "tiff-bigtiff-big-endian", tiff(SIXTEEN, bigtiff=True, byteorder=">", compression="zlib")
    yield "tiff-turned", tiff(GREY, extratags=[(274, 3, 1, 8, True)])
    for compression in ("lzw", "zlib", "packbits", "jpeg"):
        yield f"tiff-{compression}", tiff(GREY, compression=compression, rowsperstrip=32)
        yield f"tiff-tiles-{compression}", tiff(GREY, compression=compression, tile=(32, 48))
    yield "tiff-predictor", tiff(SIXTEEN, compression="lzw", predictor=True)
    yield "tiff-colour", tiff(COLOUR, photometric="rgb", compression="zlib", predictor=True)
    yield "tiff-colour-planes", tiff(np.moveaxis(COLOUR, 2, 0), photometric="rgb", planarconfig="separate")
    yield "tiff-colour-alpha", tiff(np.dstack([COLOUR, GREY]), photometric="rgb", extrasamples=["unassalpha"])
    yield "tiff-ycbcr", tiff(COLOUR, photometric="ycbcr", compression="jpeg", subsampling=(2, 2))
    yield "tiff-colour16-tiles", tiff(np.dstack([SIXTEEN] * 3), photometric="rgb", tile=(32, 32), compression="lzw")
    colours = np.repeat(np.arange(256, dtype=np.uint16)[None] * 257, 3, axis=0)
    yield "tiff-palette", tiff(GREY, photometric="palette", colormap=colours, compression="packbits")
    yield "tiff-1-bit", encode(Image.fromarray(GREY).convert("1"), "TIFF")
    for bits in (4, 12):
        stored = GREY.astype(np.uint16) << 4 if bits == 12 else GREY >> 4
        yield f"tiff-{bits}-bits", _tiff_of_bits(stored, bits)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        writer.write(GREY[::8, ::8], photometric="minisblack", subfiletype=1)
        writer.write(GREY, photometric="minisblack", compression="lzw")
        writer.write(GREY[::8, ::8], photometric="minisblack")
    yield "tiff-pages", buffer.getvalue()


def _tiff_of_bits(samples: NDArray[np.integer], bits: int) -> bytes:
    """Return a TIFF with packed samples, which tifffile does not write."""
    height, width = samples.shape
    whole = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(height, width, 2), axis=2)[..., 16 - bits :]
    packed = np.packbits(whole.reshape(height, -1), axis=1).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: len(packed)}
    entries = b"".join(struct.pack("<HHII", code, 4, 1, value) for code, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags)) + entries + bytes(4)


def _table(first: int, entries: int, bits: int) -> Dataset:
    """Return an item of a sequence of lookup tables."""
    table = Dataset()
    table.LUTDescriptor = [entries, first, bits]
    table.add_new("LUTData", "OW", np.linspace(0, 2**bits - 1, entries).astype("<u2").tobytes())
    return table


def _nested(depth: int) -> Dataset:
    item = Dataset()
    item.CodeValue = "T-28000"
    if depth:
        item.AnatomicRegionSequence = [_nested(depth - 1)]
        item["AnatomicRegionSequence"].is_undefined_length = bool(depth % 2)
    return item


def _with_overlay(film: bytes) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(film))
    for element, kind, value in ((0x10, "US", 80), (0x11, "US", 72), (0x40, "CS", "G"), (0x50, "SS", [1, 1])):
        dataset.add_new(0x60000000 + element, kind, value)
    dataset.add_new(0x60003000, "OW", b"\5" * 720)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def _dicom() -> Iterator[tuple[str, bytes]]:
    for syntax in TRANSFER_SYNTAXES:
        yield f"dicom-{syntax.keyword}", dicom_file(draw_phantom(), syntax)
    variations: dict[str, tuple[NDArray[np.generic], dict[str, object]]] = {
        "monochrome1": (TWELVE, {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}),
        "signed": (TWELVE.astype(np.int16) - 2048, {"RescaleSlope": 2, "RescaleIntercept": -1024}),
        "left-justified": (TWELVE << 4, {"BitsStored": 12, "HighBit": 15}),
        "windows": (TWELVE, {"WindowCenter": [2000, 1000], "WindowWidth": [3000, 500], "BitsStored": 12}),
        "sigmoid": (TWELVE, {"WindowCenter": 1800, "WindowWidth": 2500, "VOILUTFunction": "SIGMOID"}),
        "voi-lut": (GREY, {"VOILUTSequence": [_table(0, 256, 16), _table(0, 256, 8)]}),
        "modality-lut": (TWELVE, {"ModalityLUTSequence": [_table(0, 4096, 12)], "BitsStored": 12, "HighBit": 11}),
        "padding": (TWELVE, {"PixelPaddingValue": 320, "PixelPaddingRangeLimit": 400}),
        "colour": (COLOUR, {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}),
        "planes": (
            np.ascontiguousarray(np.moveaxis(COLOUR, 2, 0)).reshape(*COLOUR.shape),
            {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 1},
        ),
        "ybr": (COLOUR, {"PhotometricInterpretation": "YBR_FULL", "SamplesPerPixel": 3, "PlanarConfiguration": 0}),
        "palette": (GREY, {"PhotometricInterpretation": "PALETTE COLOR", "RedPaletteColorLookupTableData": bytes(512)}),
        "sequences": (GREY, {"AnatomicRegionSequence": [_nested(4), _nested(0)], "PixelSpacing": [0.2, 0.2]}),
        "oriented": (GREY, {"PatientOrientation": ["R", "F"], "ImagerPixelSpacing": [0.1, 0.1], "NumberOfFrames": 1}),
    }
    for name, (pixels, elements) in variations.items():
        yield f"dicom-{name}", dicom(pixels, **elements)
    yield "dicom-overlay", _with_overlay(dicom(GREY))
    tables = {"VOILUTSequence": [_table(0, 256, 16)], "AnatomicRegionSequence": [_nested(2)]}
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        yield f"dicom-tables-{syntax.keyword}", dicom(GREY, TransferSyntaxUID=syntax, **tables)
    colour = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    ybr = colour | {"PhotometricInterpretation": "YBR_FULL_422"}
    coded: dict[str, tuple[dict[str, object], Callable[[NDArray[np.uint8]], bytes]]] = {
        "jpeg-colour": ({"TransferSyntaxUID": JPEGBaseline8Bit} | ybr, imagecodecs.jpeg8_encode),
        "jpeg-ls-colour": ({"TransferSyntaxUID": JPEGLSLossless} | colour, imagecodecs.jpegls_encode),
        "jpeg-2000-colour": (
            {"TransferSyntaxUID": JPEG2000Lossless} | colour,
            functools.partial(imagecodecs.jpeg2k_encode, codecformat="j2k"),
        ),
    }
    for name, (elements, encoder) in coded.items():
        yield f"dicom-{name}", dicom(COLOUR, **elements, PixelData=encapsulate([bytes(encoder(COLOUR))]))
    tiles = encode(Image.fromarray(GREY), "JPEG2000", no_jp2=True, tile_size=(64, 64), precinct_size=(64, 64))
    yield "dicom-jpeg-2000-tiles", dicom(GREY, TransferSyntaxUID=JPEG2000Lossless, PixelData=encapsulate([tiles]))
    jp2 = encode(Image.fromarray(GREY), "JPEG2000")
    yield "dicom-jp2", dicom(GREY, TransferSyntaxUID=JPEG2000Lossless, PixelData=encapsulate([jp2]))
    inside = encode(Image.fromarray(GREY), "JPEG")
    fragments = encapsulate([inside], fragments_per_frame=4)
    yield "dicom-fragments", dicom(GREY, TransferSyntaxUID=JPEGBaseline8Bit, PixelData=fragments)
    data, offsets, lengths = encapsulate_extended([inside])
    yield (
        "dicom-extended-offsets",
        dicom(
            GREY,
            TransferSyntaxUID=JPEGBaseline8Bit,
            PixelData=data,
            ExtendedOffsetTable=offsets,
            ExtendedOffsetTableLengths=lengths,
        ),
    )
    yield (
        "dicom-rle-colour",
        dicom(COLOUR, TransferSyntaxUID=RLELossless, PixelData=encapsulate([_rle(COLOUR)]), **colour),
    )


def _rle(colour: NDArray[np.uint8]) -> bytes:
    """Return three planes, each a PackBits segment (PS3.5 annex G)."""
    planes = [b"".join(_pack_bits(row) for row in colour[..., channel]) for channel in range(3)]
    starts = np.cumsum([64, *map(len, planes)])[:3]
    return struct.pack("<16I", 3, *starts, *[0] * 12) + b"".join(planes)


def _pack_bits(row: NDArray[np.uint8]) -> bytes:
    return bytes([len(row) - 1]) + row.tobytes()


def _others() -> Iterator[tuple[str, bytes]]:
    grey, colour = Image.fromarray(GREY), Image.fromarray(COLOUR)
    for mode in ("1", "L", "RGB", "RGBA"):
        yield f"bmp-{mode}", encode(grey.convert(mode), "BMP")
    runs = b"".join(b"".join(bytes([2, pixel]) for pixel in row[::2]) + b"\0\0" for row in GREY[::-1]) + b"\0\1"
    colours = b"".join(bytes([grey, grey, grey, 0]) for grey in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, 72, 80, 1, 8, 1, len(runs), 0, 0, 256, 0)
    start = 14 + len(header) + len(colours)
    yield "bmp-runs", b"BM" + struct.pack("<IHHI", start + len(runs), 0, 0, start) + header + colours + runs
    yield "webp-lossy", encode(grey, "WEBP")
    yield "webp-lossless", encode(grey, "WEBP", lossless=True)
    yield "webp-alpha", encode(colour.convert("RGBA"), "WEBP", exif=_exif(3), icc_profile=ICC)
    yield "webp-animated", encode(colour, "WEBP", save_all=True, append_images=[colour.rotate(90)])
