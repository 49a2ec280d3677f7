"""PNG, JPEG, BMP and WebP images, through Pillow; `png` reads most large PNGs faster, and libpng those of 16-bit colour,
which Pillow cuts to 8."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections import deque
from collections.abc import Callable

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from lungseg import errors, limits
from lungseg.decode import fast_png, jpeg
from lungseg.decode.bounds.jpeg import check_kind, check_scans
from lungseg.decode.bounds.png import inflated
from lungseg.decode.greyscale import luminance, upright
from lungseg.decode.radiograph import Pixels, Radiograph

# Pillow's own limit would pass for a damaged image; `limits` is stricter, and asked before any pixel is read.
Image.MAX_IMAGE_PIXELS = None
# It reports odd EXIF by quoting it.
warnings.filterwarnings("ignore", module=r"PIL\b")

ORIENTATION = 0x0112
"""EXIF's tag."""


def decode(data: bytes, file_format: str, bound: Callable[[bytes], bytes], least: int | None = None) -> Radiograph:
    """Decode a raster image.

    Colour is reduced to luminance (ITU-R BT.601), an alpha channel is dropped, and an EXIF orientation is applied, so
    that the image stands as a viewer shows it.

    Args:
        data: the whole file.
        file_format: Pillow's name of the one format to try: "PNG", "JPEG", "BMP" or "WEBP".
        bound: returns the file as Pillow is to see it, cut down to its picture; refuses one in more parts than any
            image's. It may raise any exception of a broken file.
        least: what suffices as the longer side of a JPEG; None is all of it.

    Raises:
        UnsupportedFormat: an animation.
        DamagedImage, TooSmall, TooLarge.
    """
    try:
        if file_format == "JPEG":
            check_kind(data)
        data = bound(data)
        with Image.open(io.BytesIO(data), formats=[file_format]) as image:
            limits.check_size(image.height, image.width, len(data))
            if file_format == "PNG":
                plain = fast_png.grey(data)
                if plain is not None:
                    return Radiograph(plain)
            elif file_format == "JPEG":
                # A sequential image of one component has one scan, and libjpeg refuses a second one.
                if image.mode != "L" or "progressive" in image.info:
                    check_scans(data)
            elif getattr(image, "is_animated", False):
                raise errors.UnsupportedFormat("The file holds several pictures, one after the other.")
            orientation = image.getexif().get(ORIENTATION, 1)
            if orientation in range(2, 9):
                return Radiograph(upright(np.asarray(_picture(image, data, None)), orientation))
            height, width = image.height, image.width
            picture = _picture(image, data, least)
            size = picture.size if isinstance(picture, Image.Image) else picture.shape
            scale = round(max(height, width) / max(size))
            if scale == 1:
                return Radiograph(picture)
            return Radiograph(
                picture, scale=scale, size=(height, width), whole=lambda: decode(data, file_format, bound).pixels
            )
    except (errors.ProblemError, MemoryError, ImportError):
        raise  # the last two say nothing of the image
    # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more for broken data, with texts that
    # may quote it.
    except Exception:
        raise errors.DamagedImage(f"The {file_format} data is broken or ends too early.") from None


def _picture(image: Image.Image, data: bytes, least: int | None) -> Pixels | Image.Image:
    """The picture's greys; of a JPEG at an eighth to all of its size, with ``least`` pixels along the longer side."""
    if _has_colour_of_16_bits(image, data):
        return _colour_of_16_bits(data)
    if image.format == "PNG":
        image.load()
        deque(inflated(data), maxlen=0)  # Pillow looks neither behind the last row nor at the checksum
    # Pillow's convert("L") clips 16-bit grey to white instead of scaling it: those modes are taken as they are.
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16)
    if isinstance(image, JpegImageFile):
        part = next(part for part in (8, 4, 2, 1) if part == 1 or _suffices(image, part, least))
        if image.mode in ("L", "RGB"):
            with contextlib.suppress(jpeg.UnknownSamplingError):
                return Image.fromarray(jpeg.read_grey(data, image.height, image.width, part))
        else:
            jpeg.check(data)
        image.draft("L", (image.width // part, image.height // part))
    image.load()
    if image.format == "WEBP":
        from lungseg.decode import webp  # few images need it

        webp.check(data, image)
    return image if image.mode == "L" else image.convert("L")


def _suffices(image: Image.Image, part: int, least: int | None) -> bool:
    """Whether one part-th of a picture still has ``least`` pixels along the longer side; None is all of them."""
    if least is None:
        return False
    share = min(1, least / max(image.size))
    return min(image.width // math.ceil(share * image.width), image.height // math.ceil(share * image.height)) >= part


def _has_colour_of_16_bits(image: Image.Image, data: bytes) -> bool:
    """Whether Pillow would keep the upper 8 bits of each sample only: of a 12-bit image, 16 greys."""
    depth, colour_type = data[24], data[25]
    return image.format == "PNG" and depth == 16 and colour_type != 0


def _colour_of_16_bits(data: bytes) -> Pixels:
    samples = fast_png.colour(data)
    return luminance(samples) if samples.shape[2] >= 3 else np.ascontiguousarray(samples[..., 0])
