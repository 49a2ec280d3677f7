"""Pass an event that is not HTTP to its source's module in `app.events`, recognised by the event's shape."""

from __future__ import annotations

import time
from typing import Any

from app.buckets.s3 import get_store
from app.buckets.settings import read_bucket_settings
from app.events import batch_operations, direct, distributed_map, notification, queue
from app.invocation import Invocation, UnsupportedEvent

EVENT_SOURCES = (queue, notification, distributed_map, batch_operations, direct)
"""The first source whose `infer` returns true handles the event."""


def handle(event: Any, context: Any) -> Any:
    """Handle one event that is not HTTP; return what its source expects.

    Raises:
        UnsupportedEvent, Misconfigured.
        StoreError, ModelError: the event source learns of failures by an exception only.
    """
    for source in EVENT_SOURCES:
        if isinstance(event, dict) and source.infer(event):
            invocation = Invocation(context, get_store(), read_bucket_settings())
            started = time.monotonic()
            try:
                return source.handle(event, invocation)
            finally:
                invocation.log_summary(1000 * (time.monotonic() - started))
    raise UnsupportedEvent(
        "This function serves HTTP events, S3 notifications (also inside SQS or EventBridge), Distributed Map items, "
        "S3 Batch Operations tasks, and {'image_key': ...}."
    )
