"""S3's own notifications, sent straight to the function, through EventBridge, or through a topic of SNS to a queue."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote_plus

from app.buckets.keys import ImageLocation
from app.buckets.s3 import StoreError
from app.invocation import Invocation, UnsupportedEvent


def infer(event: dict[str, Any]) -> bool:
    """S3's records, the test event that S3 sends when a notification is configured, or EventBridge's of S3."""
    return _is_test(event) or _is_eventbridge(event) or _are_records(event.get("Records"))


def handle(event: dict[str, Any], run: Invocation) -> dict[str, int]:
    """Do every image of the event, and fail at the end if one of them must come again: what is done is then skipped."""
    failure: StoreError | None = None
    for item in parse_notification(event):
        try:
            run(item)
        except StoreError as error:
            failure = error
    if failure:
        raise failure
    return dict(run.counts)


def parse_notification(event: Any) -> list[ImageLocation]:
    """The images that a notification tells of; none for S3's test event, and for what is no creation.

    Raises:
        UnsupportedEvent: it is no notification, or lacks what one has.
    """
    try:
        if _is_sns(event):
            event = json.loads(event["Message"])
        if _is_test(event):
            return []
        if _is_eventbridge(event):
            # Here the key is as it is; in S3's own records it is encoded as in a form.
            detail = event["detail"]
            return [ImageLocation.parse(detail["bucket"]["name"], detail["object"]["key"])]
        if _are_records(event["Records"]):
            return [
                ImageLocation.parse(
                    record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"], errors="strict")
                )
                for record in event["Records"]
                if record["eventName"].startswith("ObjectCreated:")
            ]
    except (KeyError, TypeError, AttributeError, ValueError):
        pass
    raise UnsupportedEvent("This is no notification of S3.")


def _is_sns(event: dict[str, Any]) -> bool:
    """Return whether it is the envelope of a topic that S3 publishes to: SNS puts it around each message, unless its
    subscription says RawMessageDelivery (SNS developer guide, "Amazon SNS message and JSON formats")."""
    return event.get("Type") == "Notification" and "TopicArn" in event


def _is_test(event: dict[str, Any]) -> bool:
    return event.get("Service") == "Amazon S3" and event.get("Event") == "s3:TestEvent"


def _is_eventbridge(event: dict[str, Any]) -> bool:
    return event.get("source") == "aws.s3" and event.get("detail-type") == "Object Created"


def _are_records(records: Any) -> bool:
    if not isinstance(records, list) or not records:
        return False
    return all(isinstance(record, dict) and record.get("eventSource") == "aws:s3" for record in records)
