"""TIFF images, through tifffile: the first page that is not a thumbnail, at 1 to 16 bits."""

from __future__ import annotations

import io
import logging
import math
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tifffile import COMPRESSION, PHOTOMETRIC, PLANARCONFIG, TiffFile, TiffPage

from lungseg import errors, limits
from lungseg.decode import codecs, jpeg
from lungseg.decode.bounds.jpeg import jpeg_size
from lungseg.decode.bounds.tiff import MAX_PAGES
from lungseg.decode.greyscale import luminance, upright
from lungseg.decode.radiograph import Pixels, Radiograph

# tifffile logs unusual tags with their content.
logging.getLogger("tifffile").disabled = True

TIFF_COMPRESSIONS = {
    COMPRESSION.NONE,
    COMPRESSION.LZW,
    COMPRESSION.JPEG,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
    COMPRESSION.PACKBITS,
}
"""Those that scanners and viewers write. Each is decompressed only up to the size that the header states."""

TIFF_GREYS = {PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE}
TIFF_COLOURS = {PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR}

MAX_PART_OVERHEAD = 2**14
"""Bytes of headers and tables in one strip or tile that does not compress."""

MAX_TILE_SIDE = 4096
"""Pixels on a side: the only tile of a small image may be larger than the image, but not larger than this."""

ORIENTATION_TAG = 274

NO_VENDOR_FORMATS: dict[str, Any] = {"is_lsm": False, "is_ndpi": False, "is_scanimage": False}
"""tifffile would read all pages at once of a file that claims to be one of these."""


def decode_tiff(data: bytes) -> Radiograph:
    """Decode the first page of a TIFF that is not marked as a reduced copy; further pages are ignored.

    Raises:
        UnsupportedFormat: floating-point or more than 16 bits, another compression or colour model (such as CMYK), or a
            volume.
        DamagedImage, TooSmall, TooLarge.
        Exception: the file is broken; of any type.
    """
    with TiffFile(io.BytesIO(data), **NO_VENDOR_FORMATS) as file:
        pages = (page for page in islice(file.pages, MAX_PAGES) if isinstance(page, TiffPage))
        page = next((page for page in pages if not page.is_reduced), None)
        if page is None:
            raise errors.UnsupportedFormat("The TIFF has no page at full size.")
        _check_page(page, data)
        return Radiograph(upright(_to_grey(page, data), _orientation(page)))


def _check_page(page: TiffPage, data: bytes) -> None:
    """Raise an error for what the page's tags say must not, or cannot, be decoded."""
    height, width = page.imagelength, page.imagewidth
    limits.check_size(height, width, len(data))
    if page.is_tiled and (page.tilelength > max(height, MAX_TILE_SIDE) or page.tilewidth > max(width, MAX_TILE_SIDE)):
        raise errors.DamagedImage("The TIFF's tiles are far larger than the image.")
    if page.imagedepth != 1 or page.samplesperpixel > limits.MAX_SAMPLES:
        raise errors.UnsupportedFormat(
            f"The TIFF is a volume, or has more than {limits.MAX_SAMPLES} samples per pixel."
        )
    if page.photometric not in TIFF_GREYS | TIFF_COLOURS | {PHOTOMETRIC.PALETTE}:
        raise errors.UnsupportedFormat("The TIFF's colour model is not greyscale, palette, RGB or YCbCr.")
    if page.dtype is None or page.dtype.kind not in "bui" or page.bitspersample > 16:
        raise errors.UnsupportedFormat("The TIFF's pixels are not integers of at most 16 bits.")
    if page.compression not in TIFF_COMPRESSIONS:
        raise errors.UnsupportedFormat("The TIFF's compression is not LZW, Deflate, PackBits or JPEG.")
    # tifffile decodes a strip without bytes as black; an interrupted writer leaves such strips.
    parts = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    # A writer that stopped earlier leaves strips out of the list.
    if len(parts) < math.prod(page.chunked) or any(
        not offset or not count or offset + count > len(data) for offset, count in parts
    ):
        raise errors.DamagedImage("A strip or tile of the TIFF is missing.")
    if sum(count for _offset, count in parts) > min(
        len(data), 2 * _uncompressed_bytes(page) + MAX_PART_OVERHEAD * len(parts)
    ):
        raise errors.DamagedImage("The TIFF's strips or tiles overlap, or are far longer than the image.")
    if page.compression == COMPRESSION.JPEG:
        # Each part is a JPEG with its own header, which states the size that a codec allocates.
        for offset, count in parts:
            part = data[offset : offset + count]
            rows, columns = jpeg_size(part)
            if rows > max(height, page.tilelength) or columns > max(width, page.tilewidth):
                raise errors.DamagedImage("A strip or tile of the TIFF is larger than its header states.")
            # Tables shared by all parts are stored once (TIFF Technical Note 2).
            jpeg.check_jpeg_data(page.jpegtables[:-2] + part[2:] if page.jpegtables else part)


def _uncompressed_bytes(page: TiffPage) -> int:
    """Return the bytes of the page without compression, with full tiles at the border."""
    return math.prod(page.chunks) * math.prod(page.chunked) * (page.bitspersample + 7) // 8


def _orientation(page: TiffPage) -> int:
    """Return the orientation, which some programs write as bytes, or several times; 1 if it is not a number."""
    value = page.tags.valueof(ORIENTATION_TAG, default=1)
    first = value[0] if isinstance(value, bytes | tuple) and value else value
    return first if isinstance(first, int) else 1


def _decode_padded(page: TiffPage, data: bytes) -> NDArray[np.integer]:
    """Decode a page of padded PackBits strips, which the codec rejects.

    Raises:
        ValueError: a strip is broken.
    """
    rows = [min(page.rowsperstrip, page.imagelength - top) for top in range(0, page.imagelength, page.rowsperstrip)]
    width = page.imagewidth * page.samplesperpixel * page.bitspersample // 8
    strips = zip(page.dataoffsets, page.databytecounts, rows, strict=True)
    plain = b"".join(
        codecs.unpack_packbits(data[offset : offset + count], high * width) for offset, count, high in strips
    )
    kind = page.dtype.kind if page.dtype is not None else "u"
    dtype = np.dtype(f"{page.parent.byteorder}{kind}{page.bitspersample // 8}")
    return np.frombuffer(plain, dtype).reshape(page.shape)


def _decode_page(page: TiffPage, data: bytes) -> NDArray[np.integer]:
    padded = page.compression == COMPRESSION.PACKBITS and not page.is_tiled and page.bitspersample in (8, 16)
    try:
        pixels: NDArray[np.integer] = page.asarray(maxworkers=1)
        return pixels
    except Exception:  # tifffile re-raises whatever the codec raises
        if padded and page.planarconfig == PLANARCONFIG.CONTIG:
            return _decode_padded(page, data)
        raise


def _to_grey(page: TiffPage, data: bytes) -> Pixels:
    """Decode the page to uint8 or uint16, white bright."""
    pixels = _decode_page(page, data)
    if "S" in page.axes:
        pixels = np.moveaxis(pixels, page.axes.index("S"), -1)
    if page.photometric in TIFF_COLOURS and pixels.ndim == 3 and pixels.shape[2] >= 3:
        # Only JPEG converts YCbCr to RGB; otherwise luminance is the first sample.
        stored = page.photometric == PHOTOMETRIC.YCBCR and page.compression != COMPRESSION.JPEG
        return np.ascontiguousarray(pixels[..., 0]) if stored else luminance(pixels)
    if pixels.ndim == 3:
        pixels = pixels[..., 0]  # grey with alpha
    if page.photometric == PHOTOMETRIC.PALETTE:
        return luminance(np.moveaxis(np.asarray(page.colormap), 0, -1))[pixels.astype(np.intp)]
    return _scale_grey(pixels, page.bitspersample, inverted=page.photometric == PHOTOMETRIC.MINISWHITE)


def _scale_grey(pixels: NDArray[np.generic], bits: int, inverted: bool) -> Pixels:
    """Return greys of any depth as uint8 or uint16; fewer than 8 bits are scaled to 255, so resizing can mix them."""
    whole = pixels.astype(np.int32)
    if pixels.dtype.kind == "i":
        whole += 1 << (bits - 1)
    top = (1 << bits) - 1
    if inverted:
        whole = top - whole
    if bits < 8:
        whole = whole * 255 // top
    return whole.astype(np.uint8) if bits <= 8 else whole.astype(np.uint16)
