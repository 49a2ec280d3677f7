"""A direct invocation, ``{"image_key": "path/image.jpg"}``: segment that object and return the key of its mask.

Optional members: ``bucket`` (default: the input bucket), ``format`` (default: those of the settings), and
``"return": "mask"``, which writes nothing and returns the output itself.
"""

from __future__ import annotations

import base64
from typing import Any

from app.buckets.keys import ImageLocation, OutputKeys
from app.buckets.process import Outcome, encode_image
from app.buckets.requests import OutputRequest, default_request
from app.buckets.s3 import ObjectArchived, ObjectMissing
from app.invocation import Invocation
from app.response_limit import check_response_size
from lungseg import errors
from lungseg.encode.formats import FORMATS, find_format

EVENT_MEMBERS = {"image_key", "bucket", "format", "return"}


def infer(event: dict[str, Any]) -> bool:
    """Return whether the event has an image_key."""
    return "image_key" in event


def handle(event: dict[str, Any], invocation: Invocation) -> dict[str, Any]:
    """Process one image.

    Returns:
        ``status`` "done" with ``bucket``, ``keys`` by format, ``mask_key`` (of the requested format) and ``decision``;
        with ``"return": "mask"``, ``content`` in base64, ``media_type`` and ``decision``; or "failed" with ``problem``.

    Raises:
        StoreError, ModelError: a retry may succeed.
    """
    try:
        item, request = _parse_event(event, invocation)
        return (
            _return_output(item, request, invocation)
            if event.get("return")
            else _store_outputs(item, request, invocation)
        )
    except errors.ProblemError as error:
        return {"status": "failed", "problem": error.problem()}


def _parse_event(event: dict[str, Any], invocation: Invocation) -> tuple[ImageLocation, OutputRequest]:
    bucket = event.get("bucket") or invocation.settings.images
    if not set(event) <= EVENT_MEMBERS:
        raise errors.BadParameter(f"The event has an unknown member (known: {', '.join(sorted(EVENT_MEMBERS))}).")
    try:
        item = ImageLocation.parse(bucket, event["image_key"])
    except ValueError:
        raise errors.BadParameter("image_key and bucket must be strings that can name an object.") from None
    if bucket == invocation.settings.outputs:
        raise errors.BadParameter("bucket must not be the output bucket.")
    if event.get("return") not in (None, "mask"):
        raise errors.BadParameter('return must be "mask".')
    name = event.get("format")
    if name is None:
        return item, default_request(invocation.settings)
    try:
        return item, OutputRequest(()).with_formats([find_format(name).name])
    except ValueError as error:
        raise errors.BadParameter(f"format {error}.") from None


def _store_outputs(item: ImageLocation, request: OutputRequest, invocation: Invocation) -> dict[str, Any]:
    report = invocation.process(item, request)
    if report.outcome is Outcome.GONE:
        raise errors.NoSuchImage("The object does not exist, or is a folder marker.")
    if report.problem:
        return {"status": "failed", "problem": report.problem}
    return {
        "status": "done",
        "bucket": invocation.settings.outputs,
        "keys": report.keys,
        "mask_key": OutputKeys.of(item, invocation.settings).key(request.formats[0]),
        "decision": report.decision,
    }


def _return_output(item: ImageLocation, request: OutputRequest, invocation: Invocation) -> dict[str, Any]:
    output_format = FORMATS[request.formats[0]]
    try:
        encoded = encode_image(
            invocation.store.open_object(item.bucket, item.key), OutputRequest((output_format.name,))
        )
    except ObjectMissing:
        raise errors.NoSuchImage("The object does not exist.") from None
    except ObjectArchived:
        raise errors.Archived("The image is in an archive tier.") from None
    content = base64.b64encode(encoded.contents[output_format.name]).decode()
    check_response_size(len(content))
    return {"status": "done", "media_type": output_format.media_type, "content": content, "decision": encoded.decision}
