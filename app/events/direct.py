"""A direct invocation, ``{"image_key": "path/film.jpg"}``: segment that object and tell where its mask lies.

Members besides ``image_key``: ``bucket`` (that of images), ``format`` (the settings' own), and ``"return": "mask"``,
which writes nothing and returns the form itself.
"""

from __future__ import annotations

import base64
from typing import Any

from app.buckets.keys import ImageLocation, OutputKeys
from app.buckets.process import Outcome, encode_image
from app.buckets.requests import OutputRequest, default_request
from app.buckets.s3 import ObjectArchived as InArchive
from app.buckets.s3 import ObjectMissing
from app.invocation import Invocation
from app.response_limit import check_response_size
from lungseg import errors
from lungseg.encode.formats import FORMATS

EVENT_MEMBERS = {"image_key", "bucket", "format", "return"}


def infer(event: dict[str, Any]) -> bool:
    """It names a key."""
    return "image_key" in event


def handle(event: dict[str, Any], run: Invocation) -> dict[str, Any]:
    """Do one image.

    Returns:
        ``status`` "done" with ``bucket``, ``keys`` by form, ``mask_key`` (of the form asked for) and ``decision``; or,
        if it was asked for, with ``content`` in base64, ``media_type`` and ``decision``; or "failed" with ``problem``.

    Raises:
        StoreError, ModelError: it may succeed when it is tried again.
    """
    try:
        item, order = _parse_event(event, run)
        return _return_output(item, order, run) if event.get("return") else _store_outputs(item, order, run)
    except errors.ProblemError as error:
        return {"status": "failed", "problem": error.problem()}


def _parse_event(event: dict[str, Any], run: Invocation) -> tuple[ImageLocation, OutputRequest]:
    bucket = event.get("bucket") or run.settings.images
    if not set(event) <= EVENT_MEMBERS:
        raise errors.BadParameter(f"There is a member that is none of {', '.join(sorted(EVENT_MEMBERS))}.")
    try:
        item = ImageLocation.parse(bucket, event["image_key"])
    except ValueError:
        raise errors.BadParameter("image_key and bucket must be texts that can name an object.") from None
    if bucket == run.settings.outputs:
        raise errors.BadParameter("The bucket of masks holds no images.")
    if event.get("return") not in (None, "mask"):
        raise errors.BadParameter('return may be "mask" alone.')
    form = event.get("format")
    if form is not None and (not isinstance(form, str) or form not in FORMATS):
        raise errors.BadParameter(f"format must be one of {', '.join(FORMATS)}.")
    order = default_request(run.settings) if form is None else OutputRequest(()).with_formats([form])
    return item, order


def _store_outputs(item: ImageLocation, order: OutputRequest, run: Invocation) -> dict[str, Any]:
    report = run(item, order)
    if report.outcome is Outcome.GONE:
        raise errors.NoSuchImage("There is no such object, or it is a folder's marker.")
    if report.problem:
        return {"status": "failed", "problem": report.problem}
    return {
        "status": "done",
        "bucket": run.settings.outputs,
        "keys": report.keys,
        "mask_key": OutputKeys.of(item, run.settings).key(order.formats[0]),
        "decision": report.decision,
    }


def _return_output(item: ImageLocation, order: OutputRequest, run: Invocation) -> dict[str, Any]:
    form = FORMATS[order.formats[0]]
    try:
        made = encode_image(run.store.open_object(item.bucket, item.key), OutputRequest((form.name,)))
    except ObjectMissing:
        raise errors.NoSuchImage("There is no such object.") from None
    except InArchive:
        raise errors.Archived("The image lies in an archive tier.") from None
    content = base64.b64encode(made.contents[form.name]).decode()
    check_response_size(len(content))
    return {"status": "done", "media_type": form.media_type, "content": content, "decision": made.decision}
