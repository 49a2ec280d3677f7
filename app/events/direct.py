"""A direct invocation, ``{"image_key": "path/film.jpg"}``: segment that object and tell where its mask lies.

Members besides ``image_key``: ``bucket`` (that of images), ``format`` (the settings' own), and ``"return": "mask"``,
which writes nothing and returns the form itself.
"""

from __future__ import annotations

import base64
from typing import Any

from app.buckets.keys import Item, Outputs
from app.buckets.process import Outcome, make
from app.buckets.requests import Order, standing
from app.buckets.s3 import Absent
from app.buckets.s3 import Archived as InArchive
from app.invocation import Run
from app.response_limit import check_response_size
from lungseg import errors
from lungseg.encode.formats import FORMATS

MEMBERS = {"image_key", "bucket", "format", "return"}


def infer(event: dict[str, Any]) -> bool:
    """It names a key."""
    return "image_key" in event


def handle(event: dict[str, Any], run: Run) -> dict[str, Any]:
    """Do one image.

    Returns:
        ``status`` "done" with ``bucket``, ``keys`` by form, ``mask_key`` (of the form asked for) and ``decision``; or,
        if it was asked for, with ``content`` in base64, ``media_type`` and ``decision``; or "failed" with ``problem``.

    Raises:
        StoreError, ModelError: it may succeed when it is tried again.
    """
    try:
        item, order = _asked(event, run)
        return _content(item, order, run) if event.get("return") else _written(item, order, run)
    except errors.ProblemError as error:
        return {"status": "failed", "problem": error.problem()}


def _asked(event: dict[str, Any], run: Run) -> tuple[Item, Order]:
    bucket = event.get("bucket") or run.settings.films
    if not set(event) <= MEMBERS:
        raise errors.BadParameter(f"There is a member that is none of {', '.join(sorted(MEMBERS))}.")
    try:
        item = Item.named(bucket, event["image_key"])
    except ValueError:
        raise errors.BadParameter("image_key and bucket must be texts that can name an object.") from None
    if bucket == run.settings.outputs:
        raise errors.BadParameter("The bucket of masks holds no images.")
    if event.get("return") not in (None, "mask"):
        raise errors.BadParameter('return may be "mask" alone.')
    form = event.get("format")
    if form is not None and (not isinstance(form, str) or form not in FORMATS):
        raise errors.BadParameter(f"format must be one of {', '.join(FORMATS)}.")
    order = standing(run.settings) if form is None else Order(()).with_forms([form])
    return item, order


def _written(item: Item, order: Order, run: Run) -> dict[str, Any]:
    report = run(item, order)
    if report.outcome is Outcome.GONE:
        raise errors.NoSuchImage("There is no such object, or it is a folder's marker.")
    if report.problem:
        return {"status": "failed", "problem": report.problem}
    return {
        "status": "done",
        "bucket": run.settings.outputs,
        "keys": report.keys,
        "mask_key": Outputs.of(item, run.settings).key(order.formats[0]),
        "decision": report.decision,
    }


def _content(item: Item, order: Order, run: Run) -> dict[str, Any]:
    form = FORMATS[order.formats[0]]
    try:
        made = make(run.store.open(item.bucket, item.key), Order((form.name,)))
    except Absent:
        raise errors.NoSuchImage("There is no such object.") from None
    except InArchive:
        raise errors.Archived("The image lies in an archive tier.") from None
    content = base64.b64encode(made.contents[form.name]).decode()
    check_response_size(len(content))
    return {"status": "done", "media_type": form.media_type, "content": content, "decision": made.decision}
