"""The film in a request, raw or a part of multipart/form-data; never on disk, and never more than the limit."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app import errors, limits

# The multipart parser logs what it could not read.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class InMemoryParser(MultiPartParser):
    """Starlette's parser, but no part is ever spooled to disk: a film is private data."""

    spool_max_size = limits.MAX_BYTES + 1

    def close(self) -> None:
        """Close every part's file, also of one that has no end, which no form holds."""
        for file in self._files_to_close_on_error:
            file.close()


async def read_film(request: Request) -> bytes:
    """The film in a request; no more than MAX_BYTES of a body are taken in.

    Raises:
        MalformedUpload: multipart that is broken, or without a file part named "file".
        TooLarge.
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() == "multipart/form-data":
        parser = InMemoryParser(request.headers, _limited(request), max_files=1)
        try:
            part = (await parser.parse()).get("file")
            if not isinstance(part, UploadFile):
                raise errors.MalformedUpload("The multipart body has no file part named 'file'.")
            return await part.read()
        except (MultiPartException, ValueError):  # ValueError: the charset that it names is none for texts
            raise errors.MalformedUpload("The multipart body is broken or has more than one file.") from None
        finally:
            parser.close()
    return b"".join([chunk async for chunk in _limited(request)])


async def _limited(request: Request) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > limits.MAX_BYTES:
            limits.check_bytes(count)
        yield chunk
