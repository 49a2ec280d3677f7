"""Content negotiation: the output format of a request, and its ETag."""

from __future__ import annotations

import hashlib

from mimeparse import MimeTypeParseException, best_match

from lungseg import errors
from lungseg.encode.formats import FORMATS, Format, find_format
from lungseg.pipeline.recipe import Recipe

FORMATS_BY_MEDIA_TYPE = {each.media_type: each for each in reversed(FORMATS.values()) if each.accept}
"""Formats that an Accept header can select. On a tie mimeparse takes the last, the mask."""


def choose_format(name: str | None, accept: str) -> Format:
    """Return the output format: the named one, or else the best match of the Accept header.

    Raises:
        BadParameter: no format has this name.
        NotAcceptable: the header allows no format.
    """
    if name is not None:
        try:
            return find_format(name)
        except ValueError as error:
            raise errors.BadParameter(f"format {error}.") from None
    try:
        media_type = best_match(list(FORMATS_BY_MEDIA_TYPE), (accept or "*/*").lower())
    except MimeTypeParseException:
        media_type = FORMATS["mask"].media_type  # RFC 9110 section 12.5.1 allows a server to disregard the header
    if not media_type:
        raise errors.NotAcceptable(f"The Accept header allows none of {', '.join(FORMATS_BY_MEDIA_TYPE)}.")
    return FORMATS_BY_MEDIA_TYPE[media_type]


def make_etag(image: bytes, output_format: Format, recipe: Recipe) -> str:
    """Return the entity tag of an answer: the same image, format and recipe give the same bytes.

    The tag is weak for formats that contain JSON, because JSON contains timings.
    """
    facts = [recipe.options.opacity] if output_format.is_drawn else []
    digest = recipe.digest(output_format.name, hashlib.sha256(image).hexdigest(), *facts)
    return f'W/"{digest}"' if output_format.varies else f'"{digest}"'


def matches_etag(if_none_match: str, tag: str) -> bool:
    """Return whether an If-None-Match header names the tag (weak comparison, RFC 9110 section 13.1.2).

    "*" matches nothing: else bytes that are no image would get a 304 as if they were one.
    """
    return tag.removeprefix("W/") in (each.strip().removeprefix("W/") for each in if_none_match.split(","))
