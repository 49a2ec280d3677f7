"""Limits on what is read, checked before any work is done, and the reason for each number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lungseg import errors

MAX_PIXELS = 40_000_000
"""Pixels: twice the largest image of the public sets (Montgomery, 4020 x 4892 = 19.7 megapixels)."""

MAX_BYTES = 2 * MAX_PIXELS + 2**20
"""Bytes of a file: the largest image allowed, uncompressed at 16 bits, and a header."""

MAX_SIDE = 16_384
"""Pixels on the longer side: no detector has so many, and a long thin image is no radiograph."""

MIN_SIDE = 64
"""Pixels on the shorter side: an eighth of the network's input. Below it no lung has a visible edge."""

MAX_SAMPLES = 5
"""Samples per pixel: colour, alpha and one to spare."""

MAX_PARTS = 20_000
"""Chunks or segments of a PNG, JPEG or WebP, strips or tiles of a TIFF. MAX_BYTES in PNG chunks of 8 KB are half as
many, and no image has more than MAX_SIDE rows. Decoders allocate an object for each part, so small ones cost 1000 times
their size."""

MAX_ELEMENTS = 5_000
"""Elements of a DICOM object, nested ones included, and fragments of its pixel data; a radiograph has a few hundred.
Objects of empty elements may have more."""

MAX_VALUE = 2**17
"""Bytes of a DICOM element other than the pixel data: a lookup table of 65,536 entries, the largest there is."""

MAX_TEXT = 2**14
"""Bytes of a DICOM element of numbers or text; the longest that decoding reads has a few dozen."""

MAX_JSON_BYTES = 2**14
"""Bytes of a request body on any route but `POST /v1/segment`; the largest job has 300."""

MAX_PIXELS_PER_BYTE = 2000
"""Pixels per byte of the file: a JPEG of usable quality has at most 100, a synthetic mask of 20 megapixels 1000."""

_extra_check: ContextVar[Callable[[int, int], None] | None] = ContextVar("a further check of size", default=None)


def check_bytes(count: int) -> None:
    """Raise EmptyBody for 0 bytes, TooLarge above MAX_BYTES."""
    if count == 0:
        raise errors.EmptyBody("The image has 0 bytes.")
    if count > MAX_BYTES:
        raise errors.TooLarge(f"The image has more than {MAX_BYTES:,} bytes.")


def check_size(height: int, width: int, count: int) -> None:
    """Check the size that an image's header states, before a pixel is decoded.

    Args:
        height, width: in pixels.
        count: bytes of the file.

    Raises:
        TooSmall, TooLarge.
        DamagedImage: the file is too short for so many pixels.
        ProblemError: what a check of `extra_size_check` raises.
    """
    if min(height, width) < MIN_SIDE:
        raise errors.TooSmall(f"The image is {width} x {height} pixels; each side needs at least {MIN_SIDE}.")
    if max(height, width) > MAX_SIDE:
        raise errors.TooLarge(f"The image is {width} x {height} pixels; the limit is {MAX_SIDE:,} on each side.")
    if height * width > MAX_PIXELS:
        raise errors.TooLarge(f"The image is {width} x {height} pixels; the limit is {MAX_PIXELS:,} pixels.")
    if height * width > MAX_PIXELS_PER_BYTE * count:
        raise errors.DamagedImage(f"The file has {count:,} bytes, too few for an image of {width} x {height} pixels.")
    extra_check = _extra_check.get()
    if extra_check is not None:
        extra_check(height, width)


@contextmanager
def extra_size_check(check: Callable[[int, int], None]) -> Iterator[None]:
    """Let `check_size` also call ``check(height, width)`` within the block, in pixels."""
    token = _extra_check.set(check)
    try:
        yield
    finally:
        _extra_check.reset(token)
