"""The door of everything that is not HTTP: an event's shape tells its source; each has its file in `events`."""

from __future__ import annotations

import time
from typing import Any

from app.buckets.s3 import get_store
from app.buckets.settings import read_bucket_settings
from app.events import batch_operations, direct, distributed_map, notification, queue
from app.invocation import Invocation, UnsupportedEvent

EVENT_SOURCES = (queue, notification, distributed_map, batch_operations, direct)
"""The first whose `infer` knows an event handles it."""


def handle(event: Any, context: Any) -> Any:
    """Answer one event that is not HTTP, as its source wants it.

    Raises:
        UnsupportedEvent, Misconfigured.
        StoreError, ModelError: where the source can be told of failures in no other way.
    """
    for source in EVENT_SOURCES:
        if isinstance(event, dict) and source.infer(event):
            run = Invocation(context, get_store(), read_bucket_settings())
            started = time.monotonic()
            try:
                return source.handle(event, run)
            finally:
                run.log_summary(1000 * (time.monotonic() - started))
    raise UnsupportedEvent(
        "This function serves HTTP events, S3 notifications (also inside SQS or EventBridge), Distributed Map items, "
        "S3 Batch Operations tasks, and {'image_key': ...}."
    )
