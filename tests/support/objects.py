"""Objects for a bucket: small images under odd keys, and files that are rejected."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from films import dicom, encode, png, tiff
from numpy.typing import NDArray
from PIL import Image
from processes import smaller

NAME = "Mustermann"
"""Part of every key; must never be logged."""


@dataclass(frozen=True)
class Object:
    """An object of the input bucket.

    Attributes:
        key: not escaped.
        body: the image's bytes.
        code: the error code; None for a valid image.
    """

    key: str
    body: bytes
    code: str | None = None


def films(rg1_png: bytes) -> list[bytes]:
    """Return the chest X-ray RG1 at 24 sizes from 128 to 220 pixels, as PNG, JPEG, TIFF and DICOM."""
    found = []
    for width in range(128, 224, 4):
        film = smaller(rg1_png, width)
        pixels = pixels_of(film)
        ways = (film, encode(Image.fromarray(pixels), "JPEG", quality=92), tiff(pixels), dicom(pixels))
        found.append(ways[width // 4 % len(ways)])
    return found


def pixels_of(film: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a PNG."""
    with Image.open(io.BytesIO(film)) as image:
        return np.asarray(image)


def poison(film: bytes) -> list[tuple[bytes, str]]:
    """Return ten files that can never be segmented, each with its error code.

    Args:
        image: a PNG.
    """
    empty = np.full((128, 128), 90, np.uint8)
    return [
        (b"Dear colleague, please find attached the film.\n" * 20, "unsupported-format"),
        (b"", "empty-body"),
        (film[: len(film) // 2], "damaged-film"),
        (png(np.zeros((1, 1), np.uint8)), "too-small"),
        (png(empty), "blank-film"),
        (b"%PDF-1.7\n" + bytes(range(256)) * 4, "unsupported-format"),
        (b'<?xml version="1.0"?><ClinicalDocument/>', "unsupported-format"),
        (dicom(empty)[:-1000], "damaged-film"),
        # UTF-8 replacement characters: what a gateway in text mode makes of an image.
        (film.decode("utf-8", "replace").encode(), "mangled-body"),
        (b"\x00" * 4096, "unsupported-format"),
    ]


def odd_keys() -> Iterator[str]:
    """Yield different keys without end, most of them odd; each contains NAME."""
    number = 0
    while True:
        number += 1
        one = f"{NAME} {number}"
        yield from (
            f"in/{one} a b.dcm",
            f"in/{NAME}+{number}+b+.png",
            f"in/{NAME}%20{number}%2F%25%.jpg",
            f"in/Zürich/{NAME}-é-{number}/Röntgen.png",
            f"in/{NAME}-e\u0301\u0327-{number}.png",  # combining: must not be composed
            f"in/\N{LUNGS}\N{X-RAY}/{one}.png",
            f"in/{NAME}/\N{WOMAN}\N{ZERO WIDTH JOINER}\N{MICROSCOPE}/{number}",
            f"/{one}/leading slash.png",
            f"//{NAME}//{number}",
            f"in/{NAME}/../{number}/./film.png",
            f"../{one}.png",  # AWS rejects keys that lead above the bucket; emulators do not
            f"in/{one}.error",
            f"in/{one}.mask.png",
            f"in/{one}.json",
            f"in/{one}.error.json",
            f"in/{one}.rle",
            f"in/{one}.mask",
            f"in/{one}",  # its outputs must not collide with those of the six before
            f"in/{one}.png?versionId=null&x=<y>#z",
            f"in/{NAME}\"'`$(true);{number}\\.png",
            f"in/{NAME}\t{number} .png ",
            f"in/{NAME}/{number}/../../../../../etc/passwd",
            f"in/*{one}{{}}[]^|~.png",
            f"\N{HANGUL SYLLABLE HAN}/{one}/\N{ARABIC LETTER SEEN}\N{RIGHT-TO-LEFT OVERRIDE}.png",
            _long(f"in/{one}/", "k", 1024),
            _long(f"in/{one}/", "k", 1018),  # too long only with a suffix
            _long(f"in/{one}/", "\N{X-RAY}", 1024),  # four bytes each: truncation must not split one
            _long(f"in/{one}/", "\N{LATIN SMALL LETTER E WITH ACUTE}", 1023),
            f"in/{one}.PNG",
            f"IN/{one}.png",
            f"in/{one}.png/",  # an image nevertheless: it is not empty
        )


def _long(start: str, filler: str, most: int) -> str:
    """Return a key of at most ``most`` bytes, as close as the filler allows."""
    return start + filler * ((most - len(start.encode())) // len(filler.encode()))


def ward(rg1_png: bytes, count: int, keys: Iterator[str] | None = None) -> list[Object]:
    """Return ``count`` objects, ten of which are rejected, spread among the others.

    Args:
        rg1_png: the image RG1.
        keys: by default `odd_keys`.
    """
    good = films(rg1_png)
    bad = poison(smaller(rg1_png, 128))
    found = []
    for number, key in enumerate(islice(keys or odd_keys(), count)):
        place, rest = divmod(number, count // len(bad))
        if rest == 3 and place < len(bad):
            found.append(Object(key, *bad[place]))
        else:
            found.append(Object(key, good[number % len(good)]))
    return found
