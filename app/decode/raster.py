"""PNG and JPEG films, through Pillow."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from app import errors, limits
from app.decode.radiograph import Pixels, Radiograph

# Pillow's own limit would pass for a damaged film; `limits` is stricter, and asked before any pixel is read.
Image.MAX_IMAGE_PIXELS = None


def decode(data: bytes, file_format: str) -> Radiograph:
    """Decode a raster film.

    Colour is reduced to luminance (ITU-R 601, as Pillow does it), an alpha channel is dropped, and an EXIF
    orientation is applied, so that the film stands as a viewer shows it.

    Args:
        data: the whole file.
        file_format: Pillow's name of the one format to try, "PNG" or "JPEG".

    Raises:
        DamagedFilm, TooSmall, TooLarge.
    """
    try:
        with Image.open(io.BytesIO(data), formats=[file_format]) as image:
            limits.check_sides(image.height, image.width)
            return Radiograph(_grey(ImageOps.exif_transpose(image)))
    except errors.FilmError:
        raise
    # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error and more for broken data, with texts that
    # may quote it.
    except Exception:
        raise errors.DamagedFilm(f"The {file_format} data is broken or ends too early.") from None


def _grey(image: Image.Image) -> Pixels:
    # Pillow's convert("L") clips 16-bit grey to white instead of scaling it: those modes are taken as they are.
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16)
    return np.asarray(image.convert("L"))
