"""The kinds of image that the Python API accepts, and how each becomes a radiograph."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lungseg import limits
from lungseg.decode import Radiograph, decode
from lungseg.decode.in_memory import read_array, read_dataset, read_picture
from lungseg.files import read_image_file

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ImageLike: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[Any] | Image.Image | Dataset"
)
"""What `lungseg.segment` accepts."""

IMAGE_KINDS = "a path, bytes, a binary file, a NumPy array, a PIL.Image.Image or a pydicom.Dataset"


def image_reader(image: ImageLike) -> Callable[[int | None], Radiograph]:
    """Return a function that decodes an image; its argument is that of `decode`: to how many pixels it may reduce.

    Raises:
        TypeError: an object that is no image. Everything else is raised by the function.
    """
    if isinstance(image, str | os.PathLike):
        return lambda min_side: decode(read_image_file(Path(image), pipes=True, named=True), min_side)
    if isinstance(image, bytes | bytearray | memoryview):
        return lambda min_side: decode(bytes(image), min_side)
    if isinstance(image, np.ndarray):
        return lambda _: read_array(image)
    if isinstance(image, Image.Image):
        return lambda _: read_picture(image)
    if _is_dataset(image):
        return lambda _: read_dataset(image)  # type: ignore[arg-type]
    if hasattr(image, "read"):
        return lambda min_side: decode(_read_file(image), min_side)  # type: ignore[arg-type]
    raise TypeError(f"{type(image).__name__} is not an image; pass {IMAGE_KINDS}")


def _is_dataset(image: object) -> bool:
    """Return whether an object is a pydicom data set, without importing pydicom: then there can be none."""
    module = sys.modules.get("pydicom.dataset")
    return module is not None and isinstance(image, module.Dataset)


def _read_file(file: BinaryIO) -> bytes:
    """Read a file from its current position, up to one byte more than the limit.

    Raises:
        TypeError: it was opened as text.
    """
    data = file.read(limits.MAX_BYTES + 1)
    if not isinstance(data, bytes):
        raise TypeError(f"the file's read() returned {type(data).__name__}, not bytes; open it with mode 'rb'")
    return data
