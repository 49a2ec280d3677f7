"""Damaged data gives no wrong mask, whichever codec wrote it."""

from __future__ import annotations

import io
import zlib
from collections import Counter

import numpy as np
import pytest
from damage import coded, damaged
from films import dice
from ledger import Ledger, cases
from numpy.typing import NDArray
from PIL import Image
from processes import smaller

from lungseg import errors
from lungseg.pipeline.segment import segment

WIDTH = 480

LEAST_DICE = 0.98
"""Dice with the intact image's mask from which damage counts as harmless."""

UNDETECTED = {
    "WebP lossless": ({"hole", "flipped", "zeros inside"}, 0.2),
    "DICOM JPEG 2000": ({"flipped"}, 0.1),
    "DICOM JPEG 2000 lossless": ({"flipped"}, 0.1),
    "DICOM HTJ2K": ({"flipped"}, 0.1),
}
"""Codecs whose damaged data may be valid data of another image: kinds of damage, and the largest share that passes."""


@pytest.fixture(scope="module")
def grey(rg1_png: bytes) -> NDArray[np.uint8]:
    """Return RG1 at 8 bits, small enough to be segmented quickly."""
    with Image.open(io.BytesIO(smaller(rg1_png, WIDTH))) as image:
        return np.asarray(image.convert("L"))


def test_damaged_data_gives_no_wrong_mask(grey: NDArray[np.uint8], ledger: Ledger) -> None:
    wrong: dict[str, list[str]] = {}
    count = cases(5, 50)
    for name, code in coded(grey).items():
        image, found = code(), Counter[str]()
        whole = segment(image.file).mask
        for kind, file in damaged(image, count, zlib.crc32(name.encode())):
            try:
                mask = segment(file).mask
            except errors.ProblemError as error:
                assert error.code == "damaged-film", f"{name}, {kind}: {error.code}"
                found["rejected"] += 1
                continue
            harmless = dice(mask, whole) >= LEAST_DICE
            found["harmless" if harmless else "wrong"] += 1
            if not harmless:
                wrong.setdefault(name, []).append(kind)
        ledger.enter(
            14,
            f"Damaged {name} data gives no wrong mask",
            f"{count} damaged images",
            ", ".join(f"{number} {outcome}" for outcome, number in sorted(found.items())),
        )
    for name, kinds in wrong.items():
        allowed, share = UNDETECTED.get(name, (set[str](), 0.0))
        assert {*kinds} <= allowed, f"{name}: {kinds}"
        assert len(kinds) <= max(1, share * count), f"{name}: {kinds}"
