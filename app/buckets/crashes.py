"""Images that kill the function's process: found by the marker that each start leaves, and given up.

A killed process reports nothing: not which image it was working on, nor that it ran out of memory or time. Its batch
simply comes again, so that one such image would starve all others of the batch. Therefore a batch that has come before
is processed carefully: each image gets a marker, an object of the bucket of outputs, before its bytes are read, and
loses it when its outputs are there or its worker has failed in any other way. A marker that is found has outlived its
process. Images with a marker come last in their batch, and one that was begun MAX_STARTS times is given up: its problem
document says so, and it is not begun again before it, the model, the formats or the function's memory change.

Each delivery (a message of the queue, a batch of a backfill) counts its own starts. Its source hands it out again only
when the earlier process has ended, so that a marker never belongs to a process that is still working: two deliveries of
one image do not count each other's. Markers that nobody removed expire by a lifecycle rule.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from app.buckets.keys import ImageLocation, marker_key
from app.buckets.s3 import ObjectStore, Stamp, StoreError
from app.buckets.settings import BucketSettings

MAX_STARTS = 2
"""One kill may be an accident of the machine."""

CRASH_DETAIL = (
    f"The function was killed each of the {MAX_STARTS} times that it began this image, which needs more memory or time "
    "than the function has."
)


class RepeatedCrash(Exception):
    """The image has killed its process MAX_STARTS times."""


def has_marker(item: ImageLocation, delivery: str, store: ObjectStore, settings: BucketSettings) -> bool:
    """Return whether an earlier process of this delivery was killed over the image.

    Raises:
        StoreError.
    """
    return store.find_output(settings.outputs, marker_key(delivery, item)) is not None


@contextlib.contextmanager
def crash_marker(
    item: ImageLocation, version: str, delivery: str | None, store: ObjectStore, settings: BucketSettings
) -> Iterator[None]:
    """Mark an image as begun for as long as the block runs; without a delivery do nothing.

    Raises:
        Killer: it was begun too often.
        StoreError: also if a duplicate of the delivery marked it at the same moment.
    """
    if delivery is None:
        yield
        return
    key = marker_key(delivery, item)
    there = store.find_output(settings.outputs, key)
    starts = int(there.stamp.starts) if there and there.stamp.version == version else 0
    if starts >= MAX_STARTS:
        raise RepeatedCrash
    stamp = Stamp(version, "", "", str(starts + 1))
    if not store.put_object(
        settings.outputs, key, b"", "application/octet-stream", stamp, there.etag if there else None
    ):
        raise StoreError("Another delivery of the same message has just begun this image.")
    try:
        yield
    except Exception:
        _remove_marker(key, store, settings)
        raise
    _remove_marker(key, store, settings)


def give_up_stamp(version: str, recipe: str, forms: str) -> Stamp:
    """Return the stamp of a given-up image's problem document."""
    memory = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return Stamp(version, f"{recipe} {memory}".strip(), forms, str(MAX_STARTS))


def _remove_marker(key: str, store: ObjectStore, settings: BucketSettings) -> None:
    # One that stays counts only if this very delivery comes again; it is not worth failing an image that is done.
    with contextlib.suppress(StoreError):
        store.delete_objects(settings.outputs, [key])
