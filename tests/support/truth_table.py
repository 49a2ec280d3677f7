"""One real image, written in every supported variant."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import imagecodecs
import numpy as np
import pydicom
from films import dicom, encode, packaged, png, tiff
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import compress
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from lungseg.decode import decode
from lungseg.decode.bounds.png import PNG_SIGNATURE, png_chunk

Film = NDArray[np.integer]
Writer = Callable[[], bytes]


@cache
def half() -> NDArray[np.uint16]:
    """Return RG1 at half its size, bone bright: each pixel is the mean of four."""
    whole = decode(packaged("RG1_UNCR.dcm").read_bytes()).pixels
    height, width = whole.shape[0] // 2, whole.shape[1] // 2
    return whole[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean((1, 3)).astype(np.uint16)


@cache
def film(bits: int) -> Film:
    """Return the image at ``bits`` per pixel."""
    return (half() >> (16 - bits)).astype(np.uint8 if bits <= 8 else np.uint16)


def picture(mode: str = "L") -> Image.Image:
    """Return the image as an 8-bit Pillow image."""
    grey = Image.fromarray(film(8))
    if mode.endswith("A"):
        grey = grey.convert(mode)
        grey.putalpha(200)
        return grey
    return grey.convert(mode)


def samples(count: int, bits: int) -> Film:
    """Return the greys repeated as samples; a second or fourth sample is alpha."""
    grey = film(bits)
    colour = np.repeat(grey[..., None], count, axis=2)
    if count in (2, 4):
        colour[..., -1] = (1 << bits) // 2
    return colour


def low_png(bits: int) -> bytes:
    """Return a dithered grey PNG of 1, 2 or 4 bits; Pillow writes none of 2 and 4."""
    greys = Image.new("P", (1, 1))
    greys.putpalette([255 * level // ((1 << bits) - 1) for level in range(1 << bits) for _ in "RGB"])
    levels = np.asarray(picture("RGB").quantize(palette=greys, dither=Image.Dither.FLOYDSTEINBERG))
    height, width = levels.shape
    padded = np.pad(levels, ((0, 0), (0, -width % (8 // bits))))
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    packed = (padded.reshape(height, -1, 8 // bits) << shifts).sum(2).astype(np.uint8)
    rows = np.pad(packed, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(png_chunk(*part) for part in parts)


STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How pixels are stored for each EXIF orientation, so that viewers show them upright."""


def turned(orientation: int, file_format: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(picture().transpose(STORED[orientation]), file_format, exif=exif, quality=95)


def white_is_zero(bits: int) -> bytes:
    return tiff(((1 << bits) - 1 - film(bits)).astype(film(bits).dtype), photometric="miniswhite")


def palette_tiff() -> bytes:
    return encode(picture().quantize(256), "TIFF")


def rewritten(data: bytes, syntax: UID) -> bytes:
    """Return a DICOM image in another transfer syntax that pydicom writes."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    buffer = io.BytesIO()
    if syntax == RLELossless:
        compress(dataset, syntax)
        dataset.save_as(buffer)
        return buffer.getvalue()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(buffer, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    return buffer.getvalue()


def inside(syntax: UID, frame: bytes, bits: int, **elements: object) -> bytes:
    """Return a DICOM image with compressed pixels."""
    elements = {"BitsStored": bits, "HighBit": bits - 1} | elements
    return dicom(film(bits), TransferSyntaxUID=syntax, PixelData=encapsulate([frame]), **elements)


def of(bits: int, shift: int = 0, **elements: object) -> bytes:
    """Return a DICOM image with ``bits`` stored, in 8 or 16."""
    return dicom(film(bits) << shift, BitsStored=bits, HighBit=bits - 1 + shift, **elements)


def lut(name: str) -> Dataset:
    """Return a lookup table that maps 12 bits evenly to 16."""
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 16]
    table.add_new("LUTData", "OW", (np.arange(4096) * 16).astype("<u2").tobytes())
    if name == "ModalityLUTSequence":
        table.ModalityLUTType = "US"
    return table


def padded(photometric: str) -> bytes:
    grey = film(12) if photometric == "MONOCHROME2" else 4095 - film(12)
    grey = grey.copy()
    grey[grey == 4095] = 4094
    grey[:8] = 4095
    return dicom(grey, BitsStored=12, HighBit=11, PixelPaddingValue=4095, PhotometricInterpretation=photometric)


def colour(photometric: str, **elements: object) -> bytes:
    """Return the image with three samples per pixel: its grey in each, or as luma of YBR."""
    pixels = samples(3, 8)
    if photometric.startswith("YBR"):
        pixels[..., 1:] = 128
    elements = {"PlanarConfiguration": 0, "PixelData": pixels.tobytes()} | elements
    return dicom(film(8), SamplesPerPixel=3, PhotometricInterpretation=photometric, **elements)


def planar() -> bytes:
    return colour("RGB", PlanarConfiguration=1, PixelData=np.moveaxis(samples(3, 8), -1, 0).tobytes())


def jpeg(bits: int, lossless: bool = False, predictor: int | None = None) -> bytes:
    return imagecodecs.jpeg8_encode(film(bits), level=97, bitspersample=bits, lossless=lossless, predictor=predictor)


def j2k(bits: int, level: float = 0) -> bytes:
    return imagecodecs.jpeg2k_encode(film(bits), level=level, codecformat="j2k", bitspersample=bits)


def htj2k(reversible: bool) -> bytes:
    return imagecodecs.htj2k_encode(film(12), level=0 if reversible else 0.001, reversible=reversible)


def signed() -> Film:
    return (film(12).astype(np.int32) - 2048).astype(np.int16)


CELLS: dict[str, Writer] = {
    "PNG grey 1": lambda: low_png(1),
    "PNG grey 2": lambda: low_png(2),
    "PNG grey 4": lambda: low_png(4),
    "PNG grey 8": lambda: png(film(8)),
    "PNG grey 12 in 16": lambda: png(film(12)),
    "PNG palette": lambda: encode(picture("P"), "PNG"),
    "PNG grey and alpha 8": lambda: encode(picture("LA"), "PNG"),
    "PNG RGB 8": lambda: encode(picture("RGB"), "PNG"),
    "PNG RGBA 8": lambda: encode(picture("RGBA"), "PNG"),
    "PNG grey and alpha 16": lambda: imagecodecs.png_encode(samples(2, 16)),
    "PNG RGB 16": lambda: imagecodecs.png_encode(samples(3, 16)),
    "PNG RGB 12 in 16": lambda: imagecodecs.png_encode(samples(3, 12)),
    "PNG RGBA 16": lambda: imagecodecs.png_encode(samples(4, 16)),
    "PNG turned by EXIF": lambda: turned(6, "PNG"),
    "JPEG grey": lambda: encode(picture(), "JPEG", quality=90),
    "JPEG grey progressive": lambda: encode(picture(), "JPEG", quality=90, progressive=True),
    "JPEG RGB": lambda: encode(picture("RGB"), "JPEG", quality=90),
    "JPEG CMYK": lambda: encode(picture("RGB").convert("CMYK"), "JPEG", quality=95),
    **{f"JPEG EXIF {orientation}": lambda it=orientation: turned(it) for orientation in STORED},  # type: ignore[misc]
    "BMP grey": lambda: encode(picture(), "BMP"),
    "BMP RGB": lambda: encode(picture("RGB"), "BMP"),
    "BMP RGBA": lambda: encode(picture("RGBA"), "BMP"),
    "WebP": lambda: encode(picture("RGB"), "WEBP", quality=90),
    "WebP lossless": lambda: encode(picture("RGB"), "WEBP", lossless=True),
    "TIFF 8": lambda: tiff(film(8)),
    "TIFF 16": lambda: tiff(film(16)),
    "TIFF 12 in 16": lambda: tiff(film(12)),
    "TIFF 16 big endian": lambda: tiff(film(16), byteorder=">"),
    "TIFF 16 signed": lambda: tiff((film(16).astype(np.int32) - 32768).astype(np.int16)),
    "TIFF 8 white is zero": lambda: white_is_zero(8),
    "TIFF 16 white is zero": lambda: white_is_zero(16),
    "TIFF palette": palette_tiff,
    "TIFF RGB 8": lambda: tiff(samples(3, 8), photometric="rgb"),
    "TIFF RGB 16": lambda: tiff(samples(3, 16), photometric="rgb"),
    "TIFF RGB planar": lambda: tiff(np.moveaxis(samples(3, 8), -1, 0), photometric="rgb", planarconfig="separate"),
    "TIFF RGBA": lambda: tiff(samples(4, 8), photometric="rgb", extrasamples=["unassalpha"]),
    "TIFF LZW": lambda: tiff(film(16), compression="lzw", predictor=True),
    "TIFF Deflate": lambda: tiff(film(16), compression="zlib"),
    "TIFF PackBits": lambda: tiff(film(8), compression="packbits"),
    "TIFF JPEG": lambda: tiff(film(8), compression="jpeg", compressionargs={"level": 95}),
    "TIFF tiles": lambda: tiff(film(16), tile=(256, 256), compression="zlib"),
    "TIFF strips": lambda: tiff(film(16), rowsperstrip=16, compression="zlib"),
    "TIFF BigTIFF": lambda: tiff(film(16), bigtiff=True),
    "TIFF several pages": lambda: tiff(film(8), pages=3),
    "TIFF turned": lambda: tiff(np.rot90(film(8)), extratags=[(274, 3, 1, 6, True)]),
    "DICOM MONOCHROME2 8": lambda: of(8),
    "DICOM MONOCHROME2 10": lambda: of(10),
    "DICOM MONOCHROME2 12": lambda: of(12),
    "DICOM MONOCHROME2 14": lambda: of(14),
    "DICOM MONOCHROME2 16": lambda: of(16),
    "DICOM MONOCHROME1 12": lambda: dicom(
        4095 - film(12), BitsStored=12, HighBit=11, PhotometricInterpretation="MONOCHROME1"
    ),
    "DICOM signed": lambda: dicom(signed(), BitsStored=12, HighBit=11),
    "DICOM left-justified": lambda: of(12, shift=4),
    "DICOM rescale": lambda: of(12, RescaleSlope="0.25", RescaleIntercept="-1024"),
    "DICOM rescale downwards": lambda: dicom(
        4095 - film(12), BitsStored=12, HighBit=11, RescaleSlope=-1, RescaleIntercept=4095
    ),
    "DICOM modality LUT": lambda: of(12, ModalityLUTSequence=[lut("ModalityLUTSequence")]),
    "DICOM window": lambda: of(12, WindowCenter=2048, WindowWidth=4096),
    "DICOM window exact": lambda: of(12, WindowCenter=2048, WindowWidth=4096, VOILUTFunction="LINEAR_EXACT"),
    "DICOM VOI LUT": lambda: of(12, VOILUTSequence=[lut("VOILUTSequence")]),
    "DICOM padding": lambda: padded("MONOCHROME2"),
    "DICOM padding MONOCHROME1": lambda: padded("MONOCHROME1"),
    "DICOM RGB": lambda: colour("RGB"),
    "DICOM RGB planar": planar,
    "DICOM YBR_FULL": lambda: colour("YBR_FULL"),
    "DICOM implicit": lambda: rewritten(of(12), ImplicitVRLittleEndian),
    "DICOM big endian": lambda: of(
        12, TransferSyntaxUID=ExplicitVRBigEndian, PixelData=film(12).astype(">u2").tobytes()
    ),
    "DICOM deflated": lambda: rewritten(of(12), DeflatedExplicitVRLittleEndian),
    "DICOM RLE": lambda: rewritten(of(12), RLELossless),
    "DICOM RLE RGB": lambda: rewritten(colour("RGB"), RLELossless),
    "DICOM JPEG baseline": lambda: inside(JPEGBaseline8Bit, jpeg(8), 8),
    "DICOM JPEG baseline RGB": lambda: colour(
        "YBR_FULL_422",
        TransferSyntaxUID=JPEGBaseline8Bit,
        PixelData=encapsulate([encode(picture("RGB"), "JPEG", quality=95)]),
    ),
    "DICOM JPEG extended 12": lambda: inside(JPEGExtended12Bit, jpeg(12), 12),
    "DICOM JPEG lossless 8": lambda: inside(JPEGLossless, jpeg(8, lossless=True, predictor=4), 8),
    "DICOM JPEG lossless 12": lambda: inside(JPEGLossless, jpeg(12, lossless=True, predictor=7), 12),
    "DICOM JPEG lossless SV1 16": lambda: inside(JPEGLosslessSV1, jpeg(16, lossless=True, predictor=1), 16),
    "DICOM JPEG-LS": lambda: inside(JPEGLSLossless, imagecodecs.jpegls_encode(film(12)), 12),
    "DICOM JPEG-LS near lossless": lambda: inside(JPEGLSNearLossless, imagecodecs.jpegls_encode(film(12), level=3), 12),
    "DICOM JPEG 2000 lossless": lambda: inside(JPEG2000Lossless, j2k(12), 12),
    "DICOM JPEG 2000": lambda: inside(JPEG2000, j2k(12, level=60), 12),
    "DICOM HTJ2K lossless": lambda: inside(HTJ2KLossless, htj2k(reversible=True), 12),
    "DICOM HTJ2K lossless RPCL": lambda: inside(HTJ2KLosslessRPCL, htj2k(reversible=True), 12),
    "DICOM HTJ2K": lambda: inside(HTJ2K, htj2k(reversible=False), 12),
}
