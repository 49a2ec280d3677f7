"""The answer to the request for an image: one DICOM object, usually as the only part of a multipart body."""

from __future__ import annotations

from requests import Response
from requests_toolbelt.multipart.decoder import MultipartDecoder

from lungseg.dicomweb.errors import NotDicomweb, ServerUnreachable

IMAGE_MEDIA_TYPE = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""In the transfer syntax in which it is stored, so that the bytes are those that were stored."""

SINGLE_MEDIA_TYPE = "application/dicom; transfer-syntax=*"
"""Not in the standard, but the one that some servers know."""


def single_part(answer: Response) -> bytes:
    """Return the object in a multipart answer; a single object without parts is accepted as well.

    Raises:
        NotDicomweb: it is no object, or several.
        ServerUnreachable: it is not whole.
    """
    content, kind = answer.content, answer.headers["Content-Type"]
    if kind.lower().startswith("application/dicom") and not kind.lower().endswith("json"):
        return content
    try:
        decoder = MultipartDecoder(content, kind)
        (part,) = decoder.parts
        is_whole = b"--" + decoder.boundary + b"--" in content[-2 * len(decoder.boundary) - 16 :]
    except Exception:  # the decoder raises various types
        raise NotDicomweb("The answer is not one DICOM object in a multipart body.") from None
    if not is_whole:
        raise ServerUnreachable("The answer ended before its last boundary.")
    return bytes(part.content)
