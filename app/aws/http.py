"""HTTP events (API Gateway v1 and v2, function URL, load balancer): through Mangum to the FastAPI app."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.types import ASGI

from app import errors, problems
from app.api import app
from app.encode.formats import FORMATS
from app.limits import check_answer

TEXT = [*DEFAULT_TEXT_MIME_TYPES, errors.MEDIA_TYPE, FORMATS["contours"].media_type]


def infer(event: dict[str, Any], context: Any) -> bool:
    """Whether Mangum knows the event."""
    try:
        _http.infer(event, context)
    except RuntimeError:
        return False
    return True


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The response in the event's own format; a PNG is base64, with ``isBase64Encoded`` true."""
    event = _without_stage(event | {"headers": event.get("headers") or {}})
    try:
        # Bytes, which Mangum takes as they are: a film is decoded once.
        event |= {"body": _body(event), "isBase64Encoded": False}
        answer = _http(event, context)
        check_answer(len(answer["body"]))
    except errors.FilmError as error:
        # Through Mangum as well, so that the refusal has the event's own format.
        refusal = problems.answer(error.problem())
        return _adapter(refusal)(event | {"body": None, "isBase64Encoded": False}, context)
    return answer


def _adapter(asgi: ASGI) -> Mangum:
    # Lifespan off: Mangum would run start and stop around every single invocation.
    return Mangum(asgi, lifespan="off", text_mime_types=TEXT)


_http = _adapter(app)


def _without_stage(event: dict[str, Any]) -> dict[str, Any]:
    """An HTTP API with a named stage puts the stage into the path; routes do not know it."""
    stage = event["requestContext"].get("stage")
    path = event.get("rawPath")
    if isinstance(path, str) and path.startswith(f"/{stage}/"):
        return event | {"rawPath": path.removeprefix(f"/{stage}")}
    return event


def _body(event: dict[str, Any]) -> bytes:
    """The event's body. Mangum itself raises for bad padding, and drops stray characters without a word.

    Raises:
        MalformedUpload, BadBase64, MangledBody.
    """
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise errors.MalformedUpload("The event's body is not text.")
    if not event.get("isBase64Encoded"):
        try:
            return body.encode()
        except UnicodeEncodeError:
            raise errors.MangledBody("The event's body holds half characters.") from None
    if "\n" in body:  # base64 as command-line tools wrap it
        body = "".join(body.split())
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise errors.BadBase64("The event says isBase64Encoded, but its body is not base64.") from None
