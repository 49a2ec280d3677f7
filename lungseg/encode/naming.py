"""Names of outputs, the same in a folder and in a bucket: the whole input name, then what the file is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container

from lungseg.encode.formats import FORMATS

ERROR_SUFFIX = ".error.json"
"""Of the problem document that takes the outputs' place if an image was refused."""

OUTPUT_SUFFIXES = {ERROR_SUFFIX, *(each.suffix for each in FORMATS.values())}
"""Of everything that is written of an image."""

DIGEST_MARK = re.compile(r"~[0-9a-f]{16}\Z")
"""What a reserved name gets before the suffix (`output_name`)."""

MAX_NAME_BYTES = 255
"""Bytes of a file's name, on every file system in use."""

_RESERVED = tuple(
    whole.removesuffix(tail)
    for whole in OUTPUT_SUFFIXES
    for tail in OUTPUT_SUFFIXES
    if whole != tail and whole.endswith(tail)
)
"""Ends of an image's name which would lead its outputs into another's: the JSON of `a.rle` and the run lengths of `a`."""

_LONGEST = max(map(len, OUTPUT_SUFFIXES))


def output_name(film: str, suffix: str, most_bytes: int | None = None) -> str:
    """``film.dcm`` and ``.mask.png`` give ``film.dcm.mask.png``: images that differ in their suffix alone never meet.

    An image whose name ends as an output's does (.rle, .contours, .error), or is too long for the longest suffix, gets
    "~" and 16 digits of its name's SHA-256 between.

    Args:
        image: its name, or its path or key, which is kept.
        suffix: of a format, or ERROR_SUFFIX.
        most_bytes: the longest name that the outputs' place allows, in UTF-8.
    """
    name = film.encode("utf-8", "surrogateescape")
    too_long = most_bytes is not None and len(name) + _LONGEST > most_bytes
    if not too_long and not film.endswith(_RESERVED):
        return f"{film}{suffix}"
    return f"{_digested(film, None if most_bytes is None else most_bytes - _LONGEST)}{suffix}"


def output_path(film: str, suffix: str) -> str:
    """Return `output_name` of a path with slashes, its last part no longer than a file's name may be.

    A folder whose name ends as an output's does gets a digest, too: ``a.png.mask.png/`` is not in the way of a.png's.
    """
    *folders, name = film.split("/")
    parts = (_digested(each, MAX_NAME_BYTES) if each.endswith(tuple(OUTPUT_SUFFIXES)) else each for each in folders)
    return "/".join((*parts, output_name(name, suffix, MAX_NAME_BYTES)))


def _digested(film: str, most_bytes: int | None) -> str:
    """Return a name with "~" and 16 digits of its SHA-256, cut so that the whole has no more than so many bytes."""
    name = film.encode("utf-8", "surrogateescape")
    digest = f"~{hashlib.sha256(name).hexdigest()[:16]}"
    if most_bytes is not None:
        film = name[: most_bytes - len(digest)].decode("utf-8", "ignore")
    return f"{film}{digest}"


def is_output(name: str, beside: Container[str]) -> bool:
    """Return whether a file's name is that of an output of a file beside it."""
    for suffix in filter(name.endswith, OUTPUT_SUFFIXES):
        stem = name.removesuffix(suffix)
        if any(film in beside and output_name(film, suffix) == name for film in (stem, DIGEST_MARK.sub("", stem))):
            return True
    return False
