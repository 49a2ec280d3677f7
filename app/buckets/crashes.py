"""Find images that kill the function's process, by a marker that each start leaves, and give them up.

A killed process reports nothing: neither which image it was processing, nor that it ran out of memory or time. Its
batch is simply delivered again, so one such image would starve all others. Therefore, a repeated delivery is processed
with care: each image gets a marker, an object in the output bucket, before its bytes are read. The marker is deleted
when the outputs are written, or when processing fails in any other way. A marker that still exists has outlived its
process.
Images with a marker come last in their batch. An image that was started MAX_STARTS times is given up: its problem
document says so, and it is not started again until the image, the model, the formats or the function's memory change.

Each delivery (a queue message, a batch of a backfill) counts its own starts. Its source repeats it only after the
earlier process has ended. So a marker never belongs to a running process, and two deliveries of one image do not count
each other's starts. A lifecycle rule deletes markers that are left over.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from app.buckets.keys import ImageLocation, marker_key
from app.buckets.s3 import ObjectStore, Stamp, StoreError
from app.buckets.settings import BucketSettings

MAX_STARTS = 2
"""A single kill may be a fault of the machine."""

CRASH_DETAIL = (
    f"The function was killed each of the {MAX_STARTS} times that it processed this image, which needs more memory or "
    "time than the function has."
)


class RepeatedCrash(Exception):
    """The image killed its process MAX_STARTS times."""


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
    """Mark an image as started while the block runs; do nothing without a delivery.

    Raises:
        RepeatedCrash: it was started too often.
        StoreError: also if a duplicate of the delivery marked it at the same moment.
    """
    if delivery is None:
        yield
        return
    key = marker_key(delivery, item)
    existing = store.find_output(settings.outputs, key)
    starts = int(existing.stamp.starts) if existing and existing.stamp.version == version else 0
    if starts >= MAX_STARTS:
        raise RepeatedCrash
    stamp = Stamp(version, "", "", str(starts + 1))
    if not store.put_object(
        settings.outputs, key, b"", "application/octet-stream", stamp, existing.etag if existing else None
    ):
        raise StoreError("Another delivery of the same message has just started this image.")
    try:
        yield
    except Exception:
        _remove_marker(key, store, settings)
        raise
    _remove_marker(key, store, settings)


def give_up_stamp(version: str, recipe: str, formats: str) -> Stamp:
    """Return the stamp of the problem document of an image that is given up."""
    memory = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return Stamp(version, f"{recipe} {memory}".strip(), formats, str(MAX_STARTS))


def _remove_marker(key: str, store: ObjectStore, settings: BucketSettings) -> None:
    # A marker that stays counts only if this same delivery is repeated. That is not worth failing a finished image.
    with contextlib.suppress(StoreError):
        store.delete_objects(settings.outputs, [key])
