"""AWS Lambda's door. HTTP events (API Gateway v1 and v2, function URL, load balancer) go to the FastAPI app through
Mangum; the models are loaded here, once, in Lambda's INIT phase.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.types import ASGI

from app import errors, network, problems
from app.api import app
from app.encode.formats import FORMATS
from app.view import load_view

network.load()
load_view()


TEXT = [*DEFAULT_TEXT_MIME_TYPES, problems.MEDIA_TYPE, FORMATS["contours"].media_type]


class UnsupportedEvent(Exception):
    """The event is of a kind this function does not serve. Lambda reports it as the invocation's error, so that an
    asynchronous event is kept for a retry and not lost behind a success."""


def _adapter(asgi: ASGI) -> Mangum:
    # Lifespan off: Mangum would run start and stop around every single invocation.
    return Mangum(asgi, lifespan="off", text_mime_types=TEXT)


_http = _adapter(app)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer one invocation.

    Args:
        event: an HTTP event: API Gateway REST (v1) or HTTP API (v2), function URL, or application load balancer.
        context: Lambda's context object.

    Returns:
        The response in the event's own format; a PNG is base64, with ``isBase64Encoded`` true.

    Raises:
        UnsupportedEvent: the event is none of these.
    """
    if not _is_http(event, context):
        raise UnsupportedEvent("This function serves HTTP events: API Gateway v1 or v2, function URL, load balancer.")
    event = _without_stage(event | {"headers": event.get("headers") or {}})
    try:
        event["body"] = _checked_body(event)
    except errors.FilmError as error:
        # Through Mangum as well, so that the refusal has the event's own format.
        refusal = problems.answer(error.problem())
        return _adapter(refusal)(event | {"body": None, "isBase64Encoded": False}, context)
    return _http(event, context)


def _is_http(event: Any, context: Any) -> bool:
    if not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict):
        return False
    try:
        _http.infer(event, context)
    except RuntimeError:
        return False
    return True


def _without_stage(event: dict[str, Any]) -> dict[str, Any]:
    """An HTTP API with a named stage puts the stage into the path; routes do not know it."""
    stage = event["requestContext"].get("stage")
    path = event.get("rawPath")
    if isinstance(path, str) and path.startswith(f"/{stage}/"):
        return event | {"rawPath": path.removeprefix(f"/{stage}")}
    return event


def _checked_body(event: dict[str, Any]) -> str:
    """The event's body, of which Mangum can make bytes without raising, and without dropping any.

    Raises:
        MalformedUpload, BadBase64, MangledBody.
    """
    body = event.get("body") or ""
    if not isinstance(body, str):
        raise errors.MalformedUpload("The event's body is not text.")
    if not event.get("isBase64Encoded"):
        try:
            body.encode()
        except UnicodeEncodeError:
            raise errors.MangledBody("The event's body holds half characters.") from None
        return body
    if "\n" in body:  # base64 as command-line tools wrap it
        body = "".join(body.split())
    try:
        base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        # Mangum raises for bad padding, and drops stray characters without a word: a damaged film.
        raise errors.BadBase64("The event says isBase64Encoded, but its body is not base64.") from None
    return body
