"""The HTTP door: its routes, and the OpenAPI text that describes them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app import __version__, errors, limits, network, problems
from app.encode.mask_png import mask_png
from app.pipeline import segment

# The multipart parser logs what it could not read.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class Health(BaseModel):
    """The service is up, with this model loaded."""

    status: str = Field(examples=["ok"])
    model: str = Field(examples=["lung-unet"])
    model_sha256: str


class InMemoryParser(MultiPartParser):
    """Starlette's parser, but no part is ever spooled to disk: a film is private data."""

    spool_max_size = limits.MAX_BYTES + 1


app = FastAPI(
    title="Lung segmentation of frontal chest radiographs",
    description=(
        "Send a frontal chest radiograph, get its lung mask. It reports lungs, makes no diagnosis, and is not a "
        "medical device."
    ),
    version=__version__,
)
problems.install(app)


FILM_BODY = {
    "required": True,
    "content": {
        media: {"schema": {"type": "string", "format": "binary"}}
        for media in ("application/octet-stream", "image/png", "image/jpeg", "image/tiff", "application/dicom")
    }
    | {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": {"type": "string", "format": "binary"}},
            }
        }
    },
}


@app.post(
    "/v1/segment",
    summary="Segment the lungs of one film",
    response_class=Response,
    responses={
        200: {
            "description": "The mask: a 1-bit PNG of the film's own size, white = lung.",
            "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
        },
        400: problems.response(
            "No film arrived, or not whole: empty-body, mangled-body, malformed-upload, bad-base64."
        ),
        413: problems.response("too-large"),
        415: problems.response("unsupported-format, unsupported-dicom"),
        422: problems.response("damaged-film, too-small, blank-film"),
        500: problems.response("internal-error"),
    },
    openapi_extra={"requestBody": FILM_BODY},
)
async def post_segment(request: Request) -> Response:
    """Send the film as the raw body, or as the part `file` of multipart/form-data.

    PNG, JPEG, TIFF, BMP, WebP and DICOM are read, told by content: neither Content-Type nor a file name matters.
    """
    film = await _film(request)
    result = await run_in_threadpool(segment, film)
    return Response(mask_png(result.mask), media_type="image/png")


@app.get("/health", summary="Is the service up?")
def get_health() -> Health:
    """Answers once the model is loaded."""
    model = network.load()
    return Health(status="ok", model=model.card.name, model_sha256=model.sha256)


async def _film(request: Request) -> bytes:
    """The film in a request, raw or multipart; no more than MAX_BYTES of a body are taken in."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() == "multipart/form-data":
        try:
            form = await InMemoryParser(request.headers, _limited(request), max_files=1).parse()
        except MultiPartException:
            raise errors.MalformedUpload("The multipart body is broken or has more than one file.") from None
        try:
            part = form.get("file")
            if not isinstance(part, UploadFile):
                raise errors.MalformedUpload("The multipart body has no file part named 'file'.")
            return await part.read()
        finally:
            await form.close()
    return b"".join([chunk async for chunk in _limited(request)])


async def _limited(request: Request) -> AsyncGenerator[bytes, None]:
    count = 0
    async for chunk in request.stream():
        count += len(chunk)
        if count > limits.MAX_BYTES:
            limits.check_bytes(count)
        yield chunk
