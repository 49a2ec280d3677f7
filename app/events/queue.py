"""SQS messages that carry S3's notifications: each is done, or handed back, by itself."""

from __future__ import annotations

import json
import logging
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from app.buckets.crashes import has_marker
from app.buckets.keys import ImageLocation
from app.buckets.s3 import StoreError
from app.events.notification import parse_notification
from app.invocation import Invocation, UnsupportedEvent

log = logging.getLogger(__name__)


def infer(event: dict[str, Any]) -> bool:
    """Records of SQS."""
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        return False
    return all(isinstance(record, dict) and _is_message(record) for record in records)


def _is_message(record: dict[str, Any]) -> bool:
    """One that cannot be named cannot be handed back."""
    return record.get("eventSource") == "aws:sqs" and isinstance(record.get("messageId"), str)


def handle(event: dict[str, Any], run: Invocation) -> Any:
    """Do every message's images.

    Returns:
        ``batchItemFailures``: the messages to send again. One that is no notification is among them, each time, so that
        it ends in the dead-letter queue, where somebody sees it.
    """

    records = event["Records"]
    # Where one has come before, the process that had it may have been killed, and by any of those it was with.
    careful = any(_came_before(record) for record in records)
    if careful:
        records = sorted(records, key=lambda record: _is_suspect(record, run))

    def handle_message(record: SQSRecord) -> None:
        for item in _parse_message(record.get("body")):
            run(item, delivery=record.message_id if careful else None)

    # No exception where all have failed: it would say no more than the list, and look like a crash.
    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event | {"Records": records}, handle_message, processor)


def _came_before(record: dict[str, Any]) -> bool:
    """Return whether a message was received before, if only to be throttled."""
    attributes = record.get("attributes")
    count = attributes.get("ApproximateReceiveCount") if isinstance(attributes, dict) else None
    return isinstance(count, str) and count.isdecimal() and int(count) > 1


def _is_suspect(record: dict[str, Any], run: Invocation) -> bool:
    """Return whether a process was killed over one of the message's images: such a message comes last."""
    try:
        found = parse_notification(json.loads(record["body"]))
        return any(has_marker(item, record["messageId"], run.store, run.settings) for item in found)
    except (KeyError, TypeError, ValueError, RecursionError, UnsupportedEvent, StoreError):
        return False


def _parse_message(body: Any) -> list[ImageLocation]:
    try:
        return parse_notification(json.loads(body))
    except (TypeError, ValueError, RecursionError, UnsupportedEvent):
        log.error("a message of the queue is no notification of S3")
        raise UnsupportedEvent("The message is no notification of S3.") from None
