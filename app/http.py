"""HTTP events (API Gateway v1 and v2, function URL, load balancer): through Mangum to the FastAPI app."""

from __future__ import annotations

import base64
import binascii
import logging
from typing import Any

from mangum import Mangum
from mangum.adapter import DEFAULT_TEXT_MIME_TYPES
from mangum.types import ASGI
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from app.main import app
from lungseg import errors
from lungseg.encode.formats import FORMATS
from lungseg.limits import answering, check_answer
from lungseg.server import negotiation, problems

log = logging.getLogger(__name__)

# It logs each request's path, and the texts of exceptions.
logging.getLogger("mangum").setLevel(logging.CRITICAL)

TEXT = [*DEFAULT_TEXT_MIME_TYPES, errors.MEDIA_TYPE, *(each.media_type for each in FORMATS.values() if each.text)]


def infer(event: dict[str, Any], context: Any) -> bool:
    """Whether Mangum knows the event."""
    try:
        _http.infer(event, context)
    except Exception:  # RuntimeError if it does not, any other of an event that only resembles one
        return False
    return True


def handle(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The response in the event's own format; a PNG is base64, with ``isBase64Encoded`` true."""
    event = _without_base_path(_without_stage(event | {"headers": event.get("headers") or {}}))
    if not _is_whole(event, context):
        return _refused(errors.MalformedUpload("The event is not as its source sends it."), event)
    try:
        # Bytes, which Mangum takes as they are: an image is decoded once.
        event |= {"body": _body(event), "isBase64Encoded": False}
        answer = _http(event, context)
        check_answer(len(answer["body"]))
    except errors.ProblemError as error:
        # Through Mangum as well, so that the refusal has the event's own format.
        refusal = problems.answer(error.problem())
        return _adapter(refusal)(event | {"body": None, "isBase64Encoded": False}, context)
    return answer


def _adapter(asgi: ASGI) -> Mangum:
    # Lifespan off: Mangum would run start and stop around every single invocation.
    return Mangum(asgi, lifespan="off", text_mime_types=TEXT)


MIN_BYTES_A_PIXEL = {"all": 1.4, "npz": 1.0, "probability": 0.3}
"""Bytes of an answer for each pixel of the image, at least, in formats whose size hardly depends on the image: a little
below what RG1 gives when it is enlarged to 40 megapixels (1.51, 1.13 and 0.33); 12 radiographs at their own sizes give
more. To make "all" of so large an image takes 12 s of a processor, and only then is its size known."""


async def _estimated(scope: Scope, receive: Receive, send: Send) -> None:
    """The app; an image whose answer Lambda could not carry is refused by its header, not after all has been done."""
    asked = HTTPConnection(scope)
    try:
        name = negotiation.choose(asked.query_params.get("format"), asked.headers.get("accept", "")).name
    except errors.ProblemError:
        name = ""  # the route refuses it
    with answering(MIN_BYTES_A_PIXEL.get(name, 0)):
        await app(scope, receive, send)


_http = _adapter(_estimated)


def _is_whole(event: dict[str, Any], context: Any) -> bool:
    """Whether Mangum can make a request of the event; where a member is missing or of another type, it just fails."""
    try:
        scope = _http.infer(event, context).scope
    except Exception as error:
        log.error("an HTTP event is malformed: %s in %s", type(error).__name__, errors.place(error))
        return False
    return isinstance(scope["method"], str)


def _refused(error: errors.ProblemError, event: dict[str, Any]) -> dict[str, Any]:
    """A refusal without Mangum, in a form that every source of HTTP events takes."""
    refusal = problems.answer(error.problem())
    headers = dict(refusal.headers)
    answer = {"statusCode": refusal.status_code, "headers": headers, "body": bytes(refusal.body).decode()}
    if "multiValueHeaders" in event:
        answer["multiValueHeaders"] = {name: [value] for name, value in headers.items()}
    return answer | {"isBase64Encoded": False}


def _without_stage(event: dict[str, Any]) -> dict[str, Any]:
    """An HTTP API with a named stage puts the stage into the path; routes do not know it."""
    place = event["requestContext"]
    http = place.get("http")
    path = http.get("path") if isinstance(http, dict) else None
    if isinstance(path, str) and path.startswith(f"/{place.get('stage')}/"):
        return _with_path(event, path.removeprefix(f"/{place['stage']}"))
    return event


def _without_base_path(event: dict[str, Any]) -> dict[str, Any]:
    """Remove what a custom domain's API mapping puts before the path: the routes begin where the API's resource does.

    A REST API names the resource, "/health" or "/{proxy+}"; an HTTP API the route, "ANY /{proxy+}". What a ``$default``
    route matched cannot be told from a base path, and stays.
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
    """Return an event with another path, which lies elsewhere in each version of events."""
    place = event["requestContext"]
    http = place.get("http")
    if isinstance(http, dict):
        return event | {"requestContext": place | {"http": http | {"path": path}}}
    return event | {"path": path}


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
        data = base64.b64decode(body, validate=True)
        if len(body) != -(-len(data) // 3) * 4:  # Python takes whole groups of four with any padding behind them
            raise binascii.Error
    except (binascii.Error, ValueError):
        raise errors.BadBase64("The event says isBase64Encoded, but its body is not base64.") from None
    return data
