"""Names of output files, the same in a folder and in a bucket: the whole input name and a suffix."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container

from lungseg.encode.formats import FORMATS, Format

ERROR_SUFFIX = ".error.json"
"""Suffix of the problem document that replaces the outputs if an image was rejected."""

OUTPUT_SUFFIXES = {ERROR_SUFFIX, *(each.suffix for each in FORMATS.values())}
"""All suffixes that are written."""

FORMAT_SUFFIXES = {".png": "mask", **{each.suffix: each.name for each in FORMATS.values()}}
"""The format that each suffix asks for, where a user names a file and no format."""

DIGEST_MARK = re.compile(r"~[0-9a-f]{16}\Z")
"""What is inserted before the suffix of a reserved name (`output_name`)."""

REFUSED_CHARACTERS = re.compile(r'[\x00-\x1f<>:"/\\|?*\ud800-\udfff]')
"""Characters that Windows refuses in a file's name, and bytes that are no UTF-8."""

MAX_NAME_BYTES = 255
"""Maximum length of a file name on common file systems."""

_RESERVED = tuple(
    whole.removesuffix(tail)
    for whole in OUTPUT_SUFFIXES
    for tail in OUTPUT_SUFFIXES
    if whole != tail and whole.endswith(tail)
)
"""Ends of an image's name with which its outputs would collide with another's: the JSON of `a.rle` is `a.rle.json`, as
the run lengths of `a` are."""

_MAX_SUFFIX = max(map(len, OUTPUT_SUFFIXES))


def output_name(image: str, suffix: str, max_bytes: int | None = None) -> str:
    """Return an output's name: ``chest.dcm`` and ``.mask.png`` give ``chest.dcm.mask.png``.

    The input's suffix is kept, so images that differ only in their suffix do not collide. If the name ends like an
    output's (.rle, .contours, .error), or is too long for the longest suffix, "~" and 16 digits of its SHA-256 are
    inserted.

    Args:
        image: name, path or key of the image.
        suffix: of a format, or ERROR_SUFFIX.
        max_bytes: maximum length of a name where the outputs are stored, in UTF-8.
    """
    name = image.encode("utf-8", "surrogateescape")
    too_long = max_bytes is not None and len(name) + _MAX_SUFFIX > max_bytes
    if not too_long and not image.endswith(_RESERVED):
        return f"{image}{suffix}"
    return f"{_digested(image, None if max_bytes is None else max_bytes - _MAX_SUFFIX)}{suffix}"


def output_path(image: str, suffix: str) -> str:
    """Return `output_name` of a path with slashes, whose last part is no longer than MAX_NAME_BYTES.

    A folder whose name ends like an output's gets a digest, too: ``a.png.mask.png/`` must not block a.png's mask.
    """
    *folders, name = image.split("/")
    parts = (_digested(each, MAX_NAME_BYTES) if each.endswith(tuple(OUTPUT_SUFFIXES)) else each for each in folders)
    return "/".join((*parts, output_name(name, suffix, MAX_NAME_BYTES)))


def _digested(image: str, max_bytes: int | None) -> str:
    """Return a name with "~" and 16 digits of its SHA-256, truncated to ``max_bytes`` in all."""
    name = image.encode("utf-8", "surrogateescape")
    digest = f"~{hashlib.sha256(name).hexdigest()[:16]}"
    if max_bytes is not None:
        image = name[: max_bytes - len(digest)].decode("utf-8", "ignore")
    return f"{image}{digest}"


def archive_stem(path: str) -> str:
    """Return what the names of a ZIP's members begin with: the image's name, as in `output_name`.

    Characters that a system refuses in names become "_", with a digest, so that no two images share a name.

    Args:
        path: of the image, with slashes.
    """
    name = path.rpartition("/")[2]
    stem = output_name(name, "", MAX_NAME_BYTES)
    if REFUSED_CHARACTERS.search(stem):
        stem = REFUSED_CHARACTERS.sub("_", _digested(name, MAX_NAME_BYTES - _MAX_SUFFIX))
    return stem


def format_of_suffix(name: str) -> Format | None:
    """Return the format that a file's name asks for, by the longest suffix; mask.png has the suffix .mask.png."""
    fitting = [suffix for suffix in FORMAT_SUFFIXES if f".{name}".endswith(suffix)]
    return FORMATS[FORMAT_SUFFIXES[max(fitting, key=len)]] if fitting else None


def is_output(name: str, beside: Container[str]) -> bool:
    """Return whether a file's name is that of an output of another file in ``beside``."""
    for suffix in filter(name.endswith, OUTPUT_SUFFIXES):
        stem = name.removesuffix(suffix)
        if any(image in beside and output_name(image, suffix) == name for image in (stem, DIGEST_MARK.sub("", stem))):
            return True
    return False
