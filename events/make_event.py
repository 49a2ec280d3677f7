"""Put an image into one of the example events, or the name of an image in a bucket.

    python events/make_event.py events/api_gateway_v1.json chest.dcm > event.json
    python events/make_event.py events/sqs.json chest.dcm --bucket images --key 'in/a b.dcm' > event.json

An HTTP event gets the image itself, in base64. An S3 event gets the bucket, the key (by default the file's name) and
the size. Then run it: `sam local invoke ApiFunction --event event.json`.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

MAX_EVENT = 6 * 2**20
"""Lambda's limit for one synchronous event, in bytes. `sam local` truncates a longer event without an error."""


def fill_event(event: dict[str, Any], image: bytes, key: str, bucket: str | None = None) -> dict[str, Any]:
    """Return an event of events/*.json that carries or names an image.

    Args:
        event: any of them.
        image: its bytes; HTTP events hold them, S3 events only their number.
        key: not escaped; each kind of event has its own escaping.
        bucket: the image's bucket; None keeps the event's.
    """
    if "requestContext" in event:
        return event | {"body": base64.b64encode(image).decode(), "isBase64Encoded": True}
    if "image_key" in event:
        return event | {"image_key": key} | ({"bucket": bucket} if bucket else {})
    if "BatchInput" in event:
        inner = event["BatchInput"] | ({"bucket": bucket} if bucket else {})
        item = {"Key": quote_plus(key, safe="/") if inner["keys"] == "url-encoded" else key}
        # The lines of an inventory name the bucket as well.
        named = {"Bucket": inner["bucket"]} if "Bucket" in event["Items"][0] else {}
        return event | {"BatchInput": inner, "Items": [named | item]}
    if "tasks" in event:
        task = event["tasks"][0] | {"s3Key": quote_plus(key, safe="/")} | ({"s3Bucket": bucket} if bucket else {})
        return event | {"tasks": [task]}
    if event.get("source") == "aws.s3":
        where = event["detail"]["bucket"] | ({"name": bucket} if bucket else {})
        what = event["detail"]["object"] | {"key": key, "size": len(image)}
        return event | {"detail": event["detail"] | {"bucket": where, "object": what}}
    if event.get("Type") == "Notification":  # the envelope of SNS
        return event | {"Message": json.dumps(fill_event(json.loads(event["Message"]), image, key, bucket))}
    if "Records" in event:
        return event | {"Records": [_fill_record(each, image, key, bucket) for each in event["Records"]]}
    return event


def _fill_record(record: dict[str, Any], image: bytes, key: str, bucket: str | None) -> dict[str, Any]:
    """Fill a record of S3, or a message of SQS that holds any other event."""
    if record["eventSource"] == "aws:sqs":
        return record | {"body": json.dumps(fill_event(json.loads(record["body"]), image, key, bucket))}
    where = record["s3"]["bucket"] | ({"name": bucket, "arn": f"arn:aws:s3:::{bucket}"} if bucket else {})
    # The example's version and ETag belong to another object, so both are left out.
    what = {"key": quote_plus(key, safe="/"), "size": len(image), "sequencer": record["s3"]["object"]["sequencer"]}
    return record | {"s3": record["s3"] | {"bucket": where, "object": what}}


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description="Put an image into one of the example events.")
    parser.add_argument("event", type=Path, help="one of events/*.json")
    parser.add_argument("image", type=Path)
    parser.add_argument("--bucket", help="the image's bucket, for S3 events")
    parser.add_argument("--key", help="the image's key in the bucket (default: the file's name)")
    options = parser.parse_args()
    event = json.loads(options.event.read_text())
    text = json.dumps(fill_event(event, options.image.read_bytes(), options.key or options.image.name, options.bucket))
    if len(text) > MAX_EVENT:
        print(f"error: the event has {len(text):,} bytes; Lambda's limit is {MAX_EVENT:,}. Use a job.", file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
