"""Corrupt an image. All randomness comes from the given generator: same generator, same image."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import grammars
from mutate_bytes import BLIND, Others, Way
from mutate_dicom import DICOM_WAYS
from mutate_offsets import BMP_WAYS, TIFF_WAYS
from mutate_parts import PARTS, PNG_WAYS

MAX_BYTES = 60_000
"""Bytes; longer images are cut, so that no case is slow because of its length."""


def mutate(image: bytes, random: Random, others: Others) -> bytes:
    """Corrupt an image once or several times."""
    for _ in range(random.choice((1, 3, 4, 6, 8, 12, 16))):
        image = spoil(image, random, others)
    return image


def spoil(image: bytes, random: Random, others: Others) -> bytes:
    """Make one change: at random, or by the format's grammar."""
    ways = _structured(image) if random.random() < 0.75 else ()
    return random.choice(ways or BLIND)(image, random, others)[:MAX_BYTES]


def _structured(image: bytes) -> Sequence[Way]:
    if grammars.of(image) is not None:
        return DICOM_WAYS if image[128:132] == b"DICM" else PARTS + PNG_WAYS * image.startswith(grammars.PNG_SIGNATURE)
    if image.startswith((b"II", b"MM")):
        return TIFF_WAYS
    return BMP_WAYS if image.startswith(b"BM") else ()
