"""PNG, JPEG, BMP and WebP images, through Pillow.

`fast_png` reads most large PNGs faster, and those of 16-bit colour, which Pillow reduces to 8 bits.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections import deque

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from lungseg import errors, limits
from lungseg.decode import fast_png, jpeg
from lungseg.decode.bounds.jpeg import check_scans
from lungseg.decode.bounds.png import inflate_rows
from lungseg.decode.damage import damage_reported
from lungseg.decode.greyscale import luminance, upright
from lungseg.decode.radiograph import Pixels, Radiograph

# Pillow's own limit would be reported as damage; `limits` is stricter, and is checked before any pixel is decoded.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of unusual EXIF with its content.
warnings.filterwarnings("ignore", module=r"PIL\b")

EXIF_ORIENTATION = 0x0112
"""The EXIF tag."""


def decode_raster(data: bytes, pillow_name: str, min_side: int | None = None) -> Radiograph:
    """Decode a raster image that has been checked.

    Colour is reduced to luminance (ITU-R BT.601), an alpha channel is dropped, and an EXIF orientation is applied, so
    that the image is upright as a viewer shows it.

    Args:
        data: the file, reduced to its picture.
        pillow_name: the one format to try: "PNG", "JPEG", "BMP" or "WEBP".
        min_side: a JPEG's longer side may be reduced to this; None for full size.

    Raises:
        UnsupportedFormat: an animation.
        DamagedImage, TooSmall, TooLarge.
        Exception: the file is broken; of any type.
    """
    with Image.open(io.BytesIO(data), formats=[pillow_name]) as image:
        limits.check_size(image.height, image.width, len(data))
        if pillow_name == "PNG":
            plain = fast_png.decode_grey(data)
            if plain is not None:
                return Radiograph(plain)
        elif pillow_name == "JPEG":
            # A sequential image of one component has one scan, and libjpeg refuses a second one.
            if image.mode != "L" or "progressive" in image.info:
                check_scans(data)
        elif getattr(image, "is_animated", False):
            raise errors.UnsupportedFormat("The image is an animation.")
        orientation = image.getexif().get(EXIF_ORIENTATION, 1)
        if orientation in range(2, 9):
            return Radiograph(upright(np.asarray(_picture(image, data, None)), orientation))
        height, width = image.height, image.width
        picture = _picture(image, data, min_side)
        size = picture.size if isinstance(picture, Image.Image) else picture.shape
        scale = round(max(height, width) / max(size))
        if scale == 1:
            return Radiograph(picture)
        return Radiograph(picture, scale=scale, size=(height, width), whole=lambda: _full_size(data))


def _full_size(data: bytes) -> Pixels:
    """Decode a JPEG again, at its full size."""
    with damage_reported("JPEG"):
        return decode_raster(data, "JPEG").pixels


def _picture(image: Image.Image, data: bytes, min_side: int | None) -> Pixels | Image.Image:
    """Return the picture in grey; a JPEG at 1/8 to 8/8 of its size, its longer side at least ``min_side`` pixels."""
    if _has_colour_of_16_bits(image, data):
        return _colour_of_16_bits(data)
    if image.format == "PNG":
        image.load()
        deque(inflate_rows(data), maxlen=0)  # Pillow checks neither what follows the last row nor the checksum
    # Pillow's convert("L") clips 16-bit grey to white instead of scaling it, so keep those modes as they are.
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16)
    if isinstance(image, JpegImageFile):
        part = next(part for part in (8, 4, 2, 1) if part == 1 or _is_large_enough(image, part, min_side))
        if image.mode in ("L", "RGB"):
            with contextlib.suppress(jpeg.UnknownSamplingError):
                return Image.fromarray(jpeg.read_grey(data, image.height, image.width, part))
        else:
            jpeg.check_jpeg_data(data)
        image.draft("L", (image.width // part, image.height // part))
    image.load()
    if image.format == "WEBP":
        from lungseg.decode import webp  # rarely needed

        webp.check_webp_data(data, image)
    return image if image.mode == "L" else image.convert("L")


def _is_large_enough(image: Image.Image, part: int, min_side: int | None) -> bool:
    """Return whether 1/part of the image still has ``min_side`` pixels on its longer side; None means full size."""
    if min_side is None:
        return False
    share = min(1, min_side / max(image.size))
    return min(image.width // math.ceil(share * image.width), image.height // math.ceil(share * image.height)) >= part


def _has_colour_of_16_bits(image: Image.Image, data: bytes) -> bool:
    """Return whether Pillow would keep only the upper 8 bits per sample, which leaves a 12-bit image 16 greys."""
    depth, colour_type = data[24], data[25]
    return image.format == "PNG" and depth == 16 and colour_type != 0


def _colour_of_16_bits(data: bytes) -> Pixels:
    samples = fast_png.decode_colour(data)
    return luminance(samples) if samples.shape[2] >= 3 else np.ascontiguousarray(samples[..., 0])
