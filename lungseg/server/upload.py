"""The image in a request, raw or a part of multipart/form-data; never on disk, and never more than the limit."""

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

# The multipart parser logs what it could not read.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

MAX_FIELDS = len(SegmentParameters.model_fields)
"""Fields of a form besides the file."""

MAX_PART_BYTES = 1000
"""Bytes of a form's field that is a parameter."""

LINE_BREAKS = (b"\n", b"\r", b"\0")
"""What `curl --data @file` leaves out of a file."""

MIN_STRIPPED_BYTES = 1000
"""Bytes without any of LINE_BREAKS that no image has: one in 100,000 random strings of this length has none."""


@dataclass(frozen=True)
class Upload:
    """What a request carries.

    Attributes:
        image: the file's bytes.
        fields: parameters that came as fields of a form, by name.
    """

    image: bytes
    fields: dict[str, str] = field(default_factory=dict)


class InMemoryParser(MultiPartParser):
    """Starlette's parser, but no part is ever spooled to disk: an image is private data."""

    spool_max_size = limits.MAX_BYTES + 1

    def close(self) -> None:
        """Close every part's file, also of one that has no end, which no form holds."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_upload(request: Request) -> Upload:
    """Return the image of a request, and the parameters of its form.

    Raises:
        MalformedUpload: multipart that is broken, or without a file part named "file"; gzip that is broken.
        MangledBody: the line breaks were left out on the way.
        BadParameter: a form's field is no parameter, or came twice.
        TooLarge: gzip that holds more than MAX_BYTES.
    """
    # The chunks of the request, not its `body`, which would stay with it while the answer is made.
    body = b"".join([chunk async for chunk in request.stream()])
    if intake.content_encoding(request.headers) != "identity":
        body = await run_in_threadpool(gunzip, body)  # Intake lets no other encoding pass
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return await _read_form(request.headers, body)
    if media_type.startswith("multipart/"):
        raise errors.MalformedUpload("The body is multipart, but not multipart/form-data.")
    if media_type == "application/x-www-form-urlencoded":
        _check_line_breaks(body)
    return Upload(body)


def gunzip(data: bytes) -> bytes:
    """Return what gzip holds, members one behind the other included (RFC 1952 section 2.2).

    Raises:
        MalformedUpload: it is broken, or has no end.
        TooLarge: it holds more than MAX_BYTES.
    """
    parts, count = [], 0
    while data:
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(data, limits.MAX_BYTES + 1 - count))
        except zlib.error:
            raise errors.MalformedUpload("The body is not valid gzip, as its Content-Encoding says.") from None
        count += len(parts[-1])
        if count > limits.MAX_BYTES:
            limits.check_bytes(count)
        if not member.eof:
            raise errors.MalformedUpload("The body's gzip is cut short.")
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
    except (MultiPartException, ValueError):  # ValueError: the charset that it names is none for texts
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
    """Return the fields of a form other than the file.

    Raises:
        BadParameter.
    """
    found = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    if len(found) + 1 < len(form.multi_items()):
        raise errors.BadParameter("A field of the form is there twice.")
    return found


def _check_line_breaks(image: bytes) -> None:
    if len(image) >= MIN_STRIPPED_BYTES and not any(each in image for each in LINE_BREAKS):
        raise errors.MangledBody(
            "The body has no line break and no zero byte: `curl --data` takes them out. Use `curl --data-binary`."
        )
