"""Which form a request is answered in, and whether its sender has that answer already."""

from __future__ import annotations

import hashlib

from mimeparse import MimeTypeParseException, best_match

from lungseg import errors
from lungseg.encode.formats import FORMATS, Format
from lungseg.pipeline.recipe import Recipe

FORMATS_BY_MEDIA_TYPE = {each.media_type: each for each in reversed(FORMATS.values()) if each.accept}
"""What an Accept header chooses among; the last, the mask, is what a sender gets that takes several alike."""


def choose_format(name: str | None, accept: str) -> Format:
    """The form of an answer: the one named, else the one that the Accept header likes best.

    Raises:
        BadParameter: there is no form of that name.
        NotAcceptable: the header likes none of them.
    """
    if name is not None:
        if name not in FORMATS:
            raise errors.BadParameter(f"format must be one of {', '.join(FORMATS)}.")
        return FORMATS[name]
    try:
        media_type = best_match(list(FORMATS_BY_MEDIA_TYPE), (accept or "*/*").lower())
    except MimeTypeParseException:
        media_type = FORMATS["mask"].media_type  # RFC 9110 section 12.5.1: a header may be left out of account
    if not media_type:
        raise errors.NotAcceptable(f"The Accept header allows none of {', '.join(FORMATS_BY_MEDIA_TYPE)}.")
    return FORMATS_BY_MEDIA_TYPE[media_type]


def make_etag(image: bytes, output_format: Format, recipe: Recipe) -> str:
    """Return the entity tag of an answer: the same image, format and recipe give the same bytes.

    The tag is weak for formats that contain JSON, because JSON contains timings.
    """
    digest = recipe.digest(output_format.name, hashlib.sha256(image).hexdigest())
    return f'W/"{digest}"' if output_format.varies else f'"{digest}"'


def matches_etag(if_none_match: str, tag: str) -> bool:
    """Whether an If-None-Match header names the tag (weak comparison, RFC 9110 section 13.1.2).

    "*" names none: the sender has no answer then, and bytes that are no image would pass for one.
    """
    return tag.removeprefix("W/") in (each.strip().removeprefix("W/") for each in if_none_match.split(","))
