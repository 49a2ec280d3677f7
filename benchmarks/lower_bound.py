"""The lower bound of a full-size mask: one decode, one run of the network, one PNG."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pydicom
from imagecodecs import jpeg2k_decode, jpeg8_decode, png_decode, spng_decode
from numpy.typing import NDArray
from PIL import Image
from pydicom.encaps import get_frame

from benchmarks.machine import Times, median
from benchmarks.sample_images import BenchmarkImage
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
    "PNG16": {"Pillow": _pillow, "imagecodecs, libpng": png_decode},  # libspng does not read 16-bit greyscale
    "DICOM": {"pydicom": _pydicom},
    "DICOM JPEG 2000": {"pydicom and imagecodecs": _jpeg_2000},
}
"""Decoders of a whole image to greyscale, by kind of image."""


def lower_bound_tasks(image: BenchmarkImage, mask: NDArray[np.bool_]) -> dict[str, Task]:
    """Return the parts of the lower bound, to be timed separately: decoders, the network, PNG encoders."""
    model = load_lung()
    square, _ = preprocess(decode(image.data), model.card.input)
    tasks: dict[str, Task] = {
        f"decode: {name}": lambda call=call: call(image.data) for name, call in DECODERS[image.kind].items()
    }
    tasks["network"] = lambda: model(square)
    tasks["write: lungseg.encode.png"] = lambda: mask_png(mask)
    tasks["write: Pillow"] = lambda: _pillow_png(mask)
    return tasks


def fastest_parts(times: Times) -> dict[str, str]:
    """Return the name of the fastest task of each part, by median."""
    parts = {}
    for part in ("decode", "network", "write"):
        names = [name for name in times if name.partition(":")[0] == part]
        parts[part] = min(names, key=lambda name: median(times[name]))
    return parts


def lower_bound_times(times: Times) -> list[float]:
    """Return the lower bound in each round: the sum of the fastest parts."""
    return [sum(parts) for parts in zip(*(times[name] for name in fastest_parts(times).values()), strict=True)]


def _pillow_png(mask: NDArray[np.bool_]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()
