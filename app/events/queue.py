"""SQS messages that carry S3 notifications; each succeeds or is returned to the queue on its own.

https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
"""

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
    """Return whether the event has records of SQS."""
    records = event.get("Records")
    if not isinstance(records, list) or not records:
        return False
    return all(isinstance(record, dict) and _is_message(record) for record in records)


def _is_message(record: dict[str, Any]) -> bool:
    """Return whether a record is a message with an id; without one, it could not be returned to the queue."""
    return record.get("eventSource") == "aws:sqs" and isinstance(record.get("messageId"), str)


def handle(event: dict[str, Any], invocation: Invocation) -> Any:
    """Process the images of every message.

    Returns:
        ``batchItemFailures``: the messages to deliver again. A message that is not a notification is among them each
        time, so that it ends up in the dead-letter queue, where an operator sees it.
    """

    records = event["Records"]
    # The process of a repeated message may have been killed, and by any image of its batch.
    is_repeated = any(_was_received_before(record) for record in records)
    if is_repeated:
        records = sorted(records, key=lambda record: _is_suspect(record, invocation))

    def handle_message(record: SQSRecord) -> None:
        for item in _parse_message(record.get("body")):
            invocation.process(item, delivery=record.message_id if is_repeated else None)

    # No exception if all messages fail: it would add nothing to the list, and look like a crash.
    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event | {"Records": records}, handle_message, processor)


def _was_received_before(record: dict[str, Any]) -> bool:
    """Return whether a message was received before, even if the invocation was only throttled."""
    attributes = record.get("attributes")
    count = attributes.get("ApproximateReceiveCount") if isinstance(attributes, dict) else None
    return isinstance(count, str) and count.isdecimal() and int(count) > 1


def _is_suspect(record: dict[str, Any], invocation: Invocation) -> bool:
    """Return whether one of the message's images killed a process; such a message is processed last."""
    try:
        found = parse_notification(json.loads(record["body"]))
        return any(has_marker(item, record["messageId"], invocation.store, invocation.settings) for item in found)
    except (KeyError, TypeError, ValueError, RecursionError, UnsupportedEvent, StoreError):
        return False


def _parse_message(body: Any) -> list[ImageLocation]:
    try:
        return parse_notification(json.loads(body))
    except (TypeError, ValueError, RecursionError, UnsupportedEvent):
        log.error("a message in the queue is not a notification of S3")
        raise UnsupportedEvent("The message is not a notification of S3.") from None
