"""S3 event notifications: sent directly, through EventBridge, or through an SNS topic to a queue.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote_plus

from app.buckets.keys import ImageLocation
from app.buckets.s3 import StoreError
from app.invocation import Invocation, UnsupportedEvent


def infer(event: dict[str, Any]) -> bool:
    """Return whether the event has records of S3, is S3's test event, or comes from S3 through EventBridge."""
    return _is_test(event) or _is_eventbridge(event) or _are_records(event.get("Records"))


def handle(event: dict[str, Any], invocation: Invocation) -> dict[str, int]:
    """Process every image of the event, then fail if one must be retried; the retry skips the finished ones."""
    failure: StoreError | None = None
    for item in parse_notification(event):
        try:
            invocation.process(item)
        except StoreError as error:
            failure = error
    if failure:
        raise failure
    return dict(invocation.counts)


def parse_notification(event: Any) -> list[ImageLocation]:
    """Return the created images of a notification; none for S3's test event.

    Raises:
        UnsupportedEvent: it is not a notification, or a member is missing.
    """
    try:
        if _is_sns(event):
            event = json.loads(event["Message"])
        if _is_test(event):
            return []
        if _is_eventbridge(event):
            # EventBridge sends plain keys; in S3's records they are URL-encoded.
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
    raise UnsupportedEvent("This is not a notification of S3.")


def _is_sns(event: dict[str, Any]) -> bool:
    """Return whether a message is in an envelope of SNS, which subscriptions without RawMessageDelivery have (SNS
    developer guide, "Amazon SNS message and JSON formats")."""
    return event.get("Type") == "Notification" and "TopicArn" in event


def _is_test(event: dict[str, Any]) -> bool:
    return event.get("Service") == "Amazon S3" and event.get("Event") == "s3:TestEvent"


def _is_eventbridge(event: dict[str, Any]) -> bool:
    return event.get("source") == "aws.s3" and event.get("detail-type") == "Object Created"


def _are_records(records: Any) -> bool:
    if not isinstance(records, list) or not records:
        return False
    return all(isinstance(record, dict) and record.get("eventSource") == "aws:s3" for record in records)
