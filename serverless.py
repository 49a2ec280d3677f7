"""AWS Lambda's door. HTTP events (API Gateway v1 and v2, function URL, load balancer) go to the FastAPI app through
Mangum; the model is loaded here, once, in Lambda's INIT phase.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES

from app import errors, network, problems
from app.api import app

network.load()

# Lifespan off: Mangum would run start and stop around every single invocation.
_http = Mangum(app, lifespan="off", text_mime_types=[*DEFAULT_TEXT_MIME_TYPES, problems.MEDIA_TYPE])


class UnsupportedEvent(Exception):
    """The event is of a kind this function does not serve. Lambda reports it as the invocation's error, so that an
    asynchronous event is kept for a retry and not lost behind a success."""


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
    if not _is_http(event):
        raise UnsupportedEvent("This function serves HTTP events: API Gateway v1 or v2, function URL, load balancer.")
    if event.get("isBase64Encoded"):
        try:
            base64.b64decode(event.get("body") or "", validate=True)
        except (binascii.Error, ValueError, TypeError):
            # Mangum raises for bad padding, and drops stray characters without a word: a damaged film.
            return _refusal(errors.BadBase64("The event says isBase64Encoded, but its body is not base64."))
    return _http(event, context)


def _is_http(event: Any) -> bool:
    if not isinstance(event, dict) or not isinstance(event.get("requestContext"), dict):
        return False
    return "httpMethod" in event or "http" in event["requestContext"]


def _refusal(error: errors.FilmError) -> dict[str, Any]:
    return {
        "statusCode": error.status,
        "headers": {"content-type": problems.MEDIA_TYPE},
        "body": json.dumps(error.problem()),
        "isBase64Encoded": False,
    }
