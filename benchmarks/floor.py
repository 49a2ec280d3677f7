"""The least that a mask of an image's own size takes: one decode, one run of the network, one PNG written."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pydicom
from imagecodecs import jpeg2k_decode, jpeg8_decode, png_decode, spng_decode
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import get_frame

from benchmarks.kinds import Film
from benchmarks.machine import Times, median
from lungseg.decode import decode
from lungseg.encode.png import mask_png
from lungseg.model.lung import load_lung
from lungseg.model.preprocess import preprocess

Task = Callable[[], object]


def _pillow(data: bytes) -> object:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image if image.mode in ("L", "I;16") else image.convert("L")


def _pydicom(data: bytes) -> object:
    return pydicom.dcmread(io.BytesIO(data)).pixel_array


def _jpeg_2000(data: bytes) -> object:
    return jpeg2k_decode(get_frame(pydicom.dcmread(io.BytesIO(data)).PixelData, 0, number_of_frames=1))


DECODERS: dict[str, dict[str, Callable[[bytes], object]]] = {
    "JPEG": {"Pillow": _pillow, "imagecodecs, libjpeg-turbo": jpeg8_decode},
    "PNG": {"Pillow": _pillow, "imagecodecs, libpng": png_decode, "imagecodecs, libspng": spng_decode},
    "PNG16": {"Pillow": _pillow, "imagecodecs, libpng": png_decode},  # libspng takes no grey of 16 bits
    "DICOM": {"pydicom": _pydicom},
    "DICOM JPEG 2000": {"pydicom and imagecodecs": _jpeg_2000},
}
"""By kind of image: what gives all of its pixels, grey."""


def tasks(film: Film, mask: NDArray[np.bool_]) -> dict[str, Task]:
    """What the floor is made of, each to be timed by itself: decoders, the network, writers."""
    model = load_lung()
    square, _ = preprocess(decode(film.data), model.card.input)
    found: dict[str, Task] = {
        f"decode: {name}": lambda call=call: call(film.data) for name, call in DECODERS[film.kind].items()
    }
    found["network"] = lambda: model(square)
    found["write: lungseg.encode.png"] = lambda: mask_png(mask)
    found["write: Pillow"] = lambda: _pillow_png(mask)
    return found


def best(times: Times) -> dict[str, str]:
    """The faster name of each part, by its median."""
    parts = {}
    for part in ("decode", "network", "write"):
        names = [name for name in times if name.partition(":")[0] == part]
        parts[part] = min(names, key=lambda name: median(times[name]))
    return parts


def total(times: Times) -> list[float]:
    """The floor in each round: the sum of the best ones."""
    return [sum(parts) for parts in zip(*(times[name] for name in best(times).values()), strict=True)]


def _pillow_png(mask: NDArray[np.bool_]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()
