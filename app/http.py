"""HTTP events (API Gateway REST and HTTP APIs, function URLs, load balancers), passed to the FastAPI app by Mangum.

Event formats: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import base64
import binascii
import logging
from functools import partial
from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.protocols import HTTPCycle
from mangum.types import LambdaHandler
from mangum.types import Scope as EventScope
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from app.main import app
from app.response_limit import check_expected_size, check_response_size
from lungseg import errors
from lungseg.encode.formats import FORMATS
from lungseg.limits import extra_size_check
from lungseg.server import negotiation, problems

log = logging.getLogger(__name__)

# Mangum logs the path of each request and the texts of exceptions.
logging.getLogger("mangum").setLevel(logging.CRITICAL)

TEXT_MEDIA_TYPES = [
    *DEFAULT_TEXT_MIME_TYPES,
    errors.PROBLEM_MEDIA_TYPE,
    *(each.media_type for each in FORMATS.values() if each.text),
]


def accept(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    """Answer an HTTP event; return None for any other.

    The response has the event's own format. A PNG is base64, with ``isBase64Encoded`` true.
    """
    try:
        source = type(_mangum.infer(event, context))
    except Exception:  # RuntimeError for an unknown event; anything else for one that only resembles an HTTP event
        return None
    event = _without_base_path(_without_stage(event | {"headers": event.get("headers") or {}}))
    request = source(event, context, _mangum.config)
    scope = _read_scope(request)
    if scope is None:
        return _plain_problem(errors.MalformedUpload("The event is not as its source sends it."), event)
    try:
        response = request(HTTPCycle(scope, _decode_body(event))(_app_with_size_check))
        check_response_size(len(response["body"]))
    except errors.ProblemError as error:
        return request(HTTPCycle(scope, b"")(problems.problem_response(error.problem())))
    return response


def _read_scope(request: LambdaHandler) -> EventScope | None:
    """Return an event's ASGI scope, or None where Mangum finds a member missing or of another type."""
    try:
        scope = request.scope
    except Exception as error:
        log.error("an HTTP event is malformed: %s in %s", type(error).__name__, errors.raised_at(error))
        return None
    return scope if isinstance(scope["method"], str) else None


MIN_BYTES_PER_PIXEL = {"all": 1.4, "npz": 1.0, "probability": 0.3}
"""Minimum bytes of a response per pixel of the image, in formats whose size hardly depends on the content: a little
below those of RG1 upsampled to 40 megapixels (1.77, 1.13 and 0.30); 12 radiographs at their original sizes give
more. Without them, "all" of so large an image takes 12 s of processor time before its size is known."""


async def _app_with_size_check(scope: Scope, receive: Receive, send: Send) -> None:
    """Run the app; reject an image by its header if its response would exceed Lambda's limit."""
    connection = HTTPConnection(scope)
    try:
        name = negotiation.choose_format(
            connection.query_params.get("format"), connection.headers.get("accept", "")
        ).name
    except errors.ProblemError:
        name = ""  # the route rejects it
    with extra_size_check(partial(check_expected_size, bytes_per_pixel=MIN_BYTES_PER_PIXEL.get(name, 0))):
        await app(scope, receive, send)


# Lifespan off: Mangum would run the app's start and stop around every invocation.
_mangum = Mangum(_app_with_size_check, lifespan="off", text_mime_types=TEXT_MEDIA_TYPES)


def _plain_problem(error: errors.ProblemError, event: dict[str, Any]) -> dict[str, Any]:
    """Return a problem document without Mangum, in a format that every source of HTTP events takes."""
    refusal = problems.problem_response(error.problem())
    headers = dict(refusal.headers)
    answer = {"statusCode": refusal.status_code, "headers": headers, "body": bytes(refusal.body).decode()}
    if "multiValueHeaders" in event:
        answer["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
    return answer | {"isBase64Encoded": False}


def _without_stage(event: dict[str, Any]) -> dict[str, Any]:
    """Remove the stage, which an HTTP API with a named stage puts into the path."""
    context = event["requestContext"]
    http = context.get("http")
    path = http.get("path") if isinstance(http, dict) else None
    if isinstance(path, str) and path.startswith(f"/{context.get('stage')}/"):
        return _with_path(event, path.removeprefix(f"/{context['stage']}"))
    return event


def _without_base_path(event: dict[str, Any]) -> dict[str, Any]:
    """Remove the base path that a custom domain's API mapping puts before the path of the resource.

    A REST API names the resource ("/health" or "/{proxy+}"), an HTTP API the route ("ANY /{proxy+}"). The path of a
    ``$default`` route is kept: its base path cannot be recognised.
    """
    parameters, resource = event.get("pathParameters"), event.get("resource") or event.get("routeKey")
    if not isinstance(resource, str) or not isinstance(event["requestContext"], dict):
        return event
    route = resource.rpartition(" ")[2]
    proxy = parameters.get("proxy") if isinstance(parameters, dict) else None
    route = route.replace("{proxy+}", proxy) if isinstance(proxy, str) else route
    http = event["requestContext"].get("http")
    path = http.get("path") if isinstance(http, dict) else event.get("path")
    below = isinstance(path, str) and route.startswith("/") and (route == "/" or path.endswith(route))
    return _with_path(event, route) if below else event


def _with_path(event: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the event with another path; its place depends on the event's version."""
    context = event["requestContext"]
    http = context.get("http")
    if isinstance(http, dict):
        return event | {"requestContext": context | {"http": http | {"path": path}}}
    return event | {"path": path}


def _decode_body(event: dict[str, Any]) -> bytes:
    """Return the event's body as bytes. Mangum raises for bad padding and silently drops stray characters.

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
            raise errors.MangledBody("The event's body has unpaired surrogates.") from None
    if "\n" in body:  # line-wrapped base64, from command-line tools
        body = "".join(body.split())
    try:
        data = base64.b64decode(body, validate=True)
        if len(body) != -(-len(data) // 3) * 4:  # b64decode accepts excess padding after a whole group of four
            raise binascii.Error
    except (binascii.Error, ValueError):
        raise errors.BadBase64("The event says isBase64Encoded, but its body is not valid base64.") from None
    return data
