"""SQS messages that carry S3's notifications: each is done, or handed back, by itself."""

from __future__ import annotations

import json
import logging
from typing import Any

from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from app.aws.events.notification import items
from app.aws.keys import Item
from app.aws.run import Run, UnsupportedEvent

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


def handle(event: dict[str, Any], run: Run) -> Any:
    """Do every message's films.

    Returns:
        ``batchItemFailures``: the messages to send again. One that is no notification is among them, each time, so that
        it ends in the dead-letter queue, where somebody sees it.
    """

    def handle_message(record: SQSRecord) -> None:
        for item in _films(record.get("body")):
            run(item)

    # No exception where all have failed: it would say no more than the list, and look like a crash.
    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    return process_partial_response(event, handle_message, processor)


def _films(body: Any) -> list[Item]:
    try:
        return items(json.loads(body))
    except (TypeError, ValueError, RecursionError, UnsupportedEvent):
        log.error("a message of the queue is no notification of S3")
        raise UnsupportedEvent("The message is no notification of S3.") from None
