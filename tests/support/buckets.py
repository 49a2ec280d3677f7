"""The two buckets on a local S3 server, and all shapes of their events."""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, quote_plus

import boto3
import pytest

from app.buckets import s3, settings
from app.dispatch import handle


class Context:
    """Lambda's context object, with the time left that a test sets."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self, milliseconds: int = 60_000) -> None:
        self.milliseconds = milliseconds

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


@dataclass(frozen=True)
class Buckets:
    """An input and an output bucket, both versioned or neither."""

    client: Any
    films: str
    outputs: str

    def drop(self, key: str, film: bytes) -> None:
        """Upload an image."""
        self.client.put_object(Bucket=self.films, Key=key, Body=film)

    def get(self, key: str) -> bytes:
        """Return an output."""
        return self.client.get_object(Bucket=self.outputs, Key=key)["Body"].read()

    def written(self) -> set[str]:
        """Return the keys of all outputs."""
        return {each["Key"] for each in self.client.list_objects_v2(Bucket=self.outputs).get("Contents", [])}

    def etags(self) -> dict[str, str]:
        """Return the time and ETag of each output."""
        listed = self.client.list_objects_v2(Bucket=self.outputs).get("Contents", [])
        return {each["Key"]: f"{each['ETag']} {each['LastModified']}" for each in listed}

    def do(self, *keys: str, context: Context | None = None) -> Any:
        """Call the function with S3's notification of some images."""
        return handle(s3_event(self.films, *keys), context or Context())


@contextmanager
def s3_server() -> Iterator[str]:
    """Start moto's server; yield its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    # Moto's log names every object; it is not the service's log.
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def make(address: str | None, monkeypatch: pytest.MonkeyPatch, versioned: bool) -> Buckets:
    """Make buckets and set the environment variables that name them; without an address they are AWS's, or mocked."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    if address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    client = boto3.client("s3")
    names = {}
    for name in ("INPUT", "OUTPUT"):
        bucket = names[name] = f"{name.lower()}-{uuid.uuid4().hex}"
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        monkeypatch.setenv(f"LUNG_{name}_BUCKET", bucket)
    if versioned:
        client.put_bucket_versioning(Bucket=names["INPUT"], VersioningConfiguration={"Status": "Enabled"})
    forget()
    return Buckets(client, names["INPUT"], names["OUTPUT"])


def forget() -> None:
    """Clear cached clients and settings, so that the next test starts fresh."""
    settings.read_bucket_settings.cache_clear()
    s3.get_store.cache_clear()


def s3_event(bucket: str, *keys: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    """Return S3's notification; keys are form-encoded."""
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "eu-west-1",
                "eventName": name,
                "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key), "sequencer": "0061D7A4"}},
            }
            for key in keys
        ]
    }


def sqs_event(*bodies: object) -> dict[str, Any]:
    """Return SQS messages with identifiers 0, 1, 2 ..."""
    return {
        "Records": [
            {
                "messageId": str(number),
                "receiptHandle": "handle",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:films",
                "awsRegion": "eu-west-1",
            }
            for number, body in enumerate(bodies)
        ]
    }


def eventbridge_event(bucket: str, key: str) -> dict[str, Any]:
    """Return EventBridge's event; the key is not encoded."""
    return {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "region": "eu-west-1",
        "detail": {"bucket": {"name": bucket}, "object": {"key": key, "version-id": "1"}, "reason": "PutObject"},
    }


def sns_message(event: object) -> dict[str, Any]:
    """Return an event in the envelope of an SNS topic."""
    arn = "arn:aws:sns:eu-west-1:123456789012:films"
    return {"Type": "Notification", "MessageId": "0", "TopicArn": arn, "Message": json.dumps(event)}


def map_event(bucket: str, *keys: str) -> dict[str, Any]:
    """Return a batch of a Distributed Map over a listing."""
    items = [{"Key": key, "Size": 1, "Etag": '"0"', "StorageClass": "STANDARD"} for key in keys]
    return {"BatchInput": {"bucket": bucket, "keys": "literal"}, "Items": items}


def inventory_event(bucket: str, key: str) -> dict[str, Any]:
    """Return a batch of a Distributed Map over an S3 inventory; its keys are encoded."""
    return {"BatchInput": {"keys": "url-encoded"}, "Items": [{"Bucket": bucket, "Key": quote(key), "VersionId": "1"}]}


def operations_event(bucket: str, key: str, version: str = "1.0") -> dict[str, Any]:
    """Return one task of S3 Batch Operations."""
    place = {"s3BucketArn": f"arn:aws:s3:::{bucket}"} if version == "1.0" else {"s3Bucket": bucket}
    task = {"taskId": "dGFzaw", "s3Key": quote_plus(key), "s3VersionId": None} | place
    return {"invocationSchemaVersion": version, "invocationId": "invocation", "job": {"id": "job"}, "tasks": [task]}


SHAPES: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "s3": s3_event,
    "sqs": lambda bucket, key: sqs_event(s3_event(bucket, key)),
    "eventbridge": eventbridge_event,
    "sqs of sns": lambda bucket, key: sqs_event(sns_message(s3_event(bucket, key))),
    "sqs of sns of eventbridge": lambda bucket, key: sqs_event(sns_message(eventbridge_event(bucket, key))),
    "sqs of eventbridge": lambda bucket, key: sqs_event(eventbridge_event(bucket, key)),
    "map": map_event,
    "inventory": inventory_event,
    "batch operations 1.0": operations_event,
    "batch operations 2.0": lambda bucket, key: operations_event(bucket, key, "2.0"),
    "direct": lambda bucket, key: {"image_key": key},
    "direct with a bucket": lambda bucket, key: {"image_key": key, "bucket": bucket},
}
"""All events that name an image."""
