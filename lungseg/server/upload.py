"""Read the image of a request: the raw body, or a part of multipart/form-data. It never touches the disk."""

from __future__ import annotations

import logging
import zlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from lungseg import errors, limits
from lungseg.server import intake
from lungseg.server.schemas import SegmentParameters

# The multipart parser logs parts of what it cannot parse.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

MAX_FIELDS = len(SegmentParameters.model_fields)
"""Fields of a form besides the file."""

MAX_PART_BYTES = 1000
"""Bytes of a form field other than the file."""

LINE_BREAKS = (b"\n", b"\r", b"\0")
"""Bytes that `curl --data @file` removes from a file."""

MIN_STRIPPED_BYTES = 1000
"""An image of this many bytes contains one of LINE_BREAKS: only one in 100,000 random strings does not."""


@dataclass(frozen=True)
class Upload:
    """The content of a request.

    Attributes:
        image: bytes of the file.
        fields: form fields other than the file, by name.
    """

    image: bytes
    fields: dict[str, str] = field(default_factory=dict)


class InMemoryParser(MultiPartParser):
    """Starlette's parser, except that it never spools a part to disk: an image is private data."""

    spool_max_size = limits.MAX_BYTES + 1

    def close(self) -> None:
        """Close the file of every part, including an unfinished one, which is not in the form."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_upload(request: Request) -> Upload:
    """Return the image of a request, and the parameters of its form.

    Raises:
        MalformedUpload: the multipart body or the gzip is broken, or there is no file part named "file".
        MangledBody: the line breaks were removed on the way.
        BadParameter: a form field occurs twice.
        TooLarge: the gzip expands to more than MAX_BYTES.
    """
    # Not request.body(): it would cache the bytes with the request until the response is sent.
    body = b"".join([chunk async for chunk in request.stream()])
    if intake.content_encoding(request.headers) != "identity":
        body = await run_in_threadpool(gunzip, body)  # Intake rejects other encodings
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return await _read_form(request.headers, body)
    if media_type.startswith("multipart/"):
        raise errors.MalformedUpload("The body is multipart, but not multipart/form-data.")
    if media_type == "application/x-www-form-urlencoded":
        _check_line_breaks(body)
    return Upload(body)


def gunzip(data: bytes) -> bytes:
    """Decompress gzip, including concatenated members (RFC 1952 section 2.2).

    Raises:
        MalformedUpload: the gzip is broken or truncated.
        TooLarge: it expands to more than MAX_BYTES.
    """
    parts, count = [], 0
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(data, limits.MAX_BYTES + 1 - count))
        except zlib.error:
            raise errors.MalformedUpload("The body is not valid gzip, although its Content-Encoding says so.") from None
        count += len(parts[-1])
        if count > limits.MAX_BYTES:
            limits.check_bytes(count)
        if not member.eof:
            raise errors.MalformedUpload("The body's gzip is truncated.")
        data = member.unused_data
    return b"".join(parts)


async def _read_form(headers: Headers, body: bytes) -> Upload:
    parser = InMemoryParser(
        headers, _split_body(body), max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_PART_BYTES
    )
    try:
        form = await parser.parse()
        part = form.get("file")
        if not isinstance(part, UploadFile):
            raise errors.MalformedUpload("The multipart body has no file part named 'file'.")
        return Upload(await part.read(), _read_fields(form))
    except (MultiPartException, ValueError):  # ValueError: its charset is not a text encoding
        raise errors.MalformedUpload(
            f"The multipart body is broken, or has more than one file, {MAX_FIELDS} fields, or {MAX_PART_BYTES} "
            "bytes in a field."
        ) from None
    finally:
        parser.close()


async def _split_body(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), intake.PROGRESS_BYTES):
        yield body[start : start + intake.PROGRESS_BYTES]


def _read_fields(form: FormData) -> dict[str, str]:
    """Return the form fields other than the file.

    Raises:
        BadParameter.
    """
    found = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    if len(found) + 1 < len(form.multi_items()):
        raise errors.BadParameter("A form field occurs twice.")
    return found


def _check_line_breaks(image: bytes) -> None:
    if len(image) >= MIN_STRIPPED_BYTES and not any(each in image for each in LINE_BREAKS):
        raise errors.MangledBody(
            "The body has no line break and no zero byte: `curl --data` removes them. Use `curl --data-binary`."
        )
