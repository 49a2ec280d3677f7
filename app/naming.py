"""Names of outputs, the same in a folder and in a bucket: the whole input name, then what the file is."""

from __future__ import annotations

import hashlib

from app.encode.formats import FORMATS

ERROR_SUFFIX = ".error.json"
"""Of the problem document that takes the outputs' place if a film was refused."""

_SUFFIXES = {ERROR_SUFFIX, *(each.suffix for each in FORMATS.values())}

_RESERVED = tuple(
    whole.removesuffix(tail) for whole in _SUFFIXES for tail in _SUFFIXES if whole != tail and whole.endswith(tail)
)
"""Ends of a film's name which would lead its outputs into another's: the JSON of `a.rle` and the run lengths of `a`."""

_LONGEST = max(map(len, _SUFFIXES))


def output_name(film: str, suffix: str, most_bytes: int | None = None) -> str:
    """``film.dcm`` and ``.mask.png`` give ``film.dcm.mask.png``: films that differ in their suffix alone never meet.

    A film whose name ends as an output's does (.rle, .contours, .error), or is too long for the longest suffix, gets
    "~" and 16 digits of its name's SHA-256 between.

    Args:
        film: its name, or its path or key, which is kept.
        suffix: of a format, or ERROR_SUFFIX.
        most_bytes: the longest name that the outputs' place allows, in UTF-8.
    """
    name = film.encode("utf-8", "surrogateescape")
    too_long = most_bytes is not None and len(name) + _LONGEST > most_bytes
    if not too_long and not film.endswith(_RESERVED):
        return f"{film}{suffix}"
    digest = f"~{hashlib.sha256(name).hexdigest()[:16]}"
    if most_bytes is not None:
        film = name[: most_bytes - _LONGEST - len(digest)].decode("utf-8", "ignore")
    return f"{film}{digest}{suffix}"
