"""Write one of events/*.json again so that it carries, or names, an image of yours.

    python tests/tools/make_event.py events/api_gateway_v1.json film.dcm > event.json
    python tests/tools/make_event.py events/sqs.json film.dcm --bucket images --key 'in/a b.dcm' > event.json

An HTTP event gets the image itself, in base64; an event of S3 its bucket, its key (by default the file's name) and its
size. `sam local invoke ApiFunction --event event.json` then segments it.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

LARGEST = 6 * 2**20
"""Lambda's limit for one synchronous event, in bytes. The emulator cuts a longer one short without a word."""


def filled(event: dict[str, Any], film: bytes, key: str, bucket: str | None = None) -> dict[str, Any]:
    """An event of events/*.json with an image.

    Args:
        event: any of them.
        image: its bytes; an HTTP event holds them, the others their number.
        key: as it is, not escaped; each event escapes it in its own way.
        bucket: that it lies in; None leaves the event's.
    """
    if "requestContext" in event:
        return event | {"body": base64.b64encode(film).decode(), "isBase64Encoded": True}
    if "image_key" in event:
        return event | {"image_key": key} | ({"bucket": bucket} if bucket else {})
    if "BatchInput" in event:
        inner = event["BatchInput"] | ({"bucket": bucket} if bucket else {})
        item = {"Key": quote_plus(key, safe="/") if inner["keys"] == "url-encoded" else key}
        # An inventory's lines name the bucket as well.
        named = {"Bucket": inner["bucket"]} if "Bucket" in event["Items"][0] else {}
        return event | {"BatchInput": inner, "Items": [named | item]}
    if "tasks" in event:
        task = event["tasks"][0] | {"s3Key": quote_plus(key, safe="/")} | ({"s3Bucket": bucket} if bucket else {})
        return event | {"tasks": [task]}
    if event.get("source") == "aws.s3":
        where = event["detail"]["bucket"] | ({"name": bucket} if bucket else {})
        what = event["detail"]["object"] | {"key": key, "size": len(film)}
        return event | {"detail": event["detail"] | {"bucket": where, "object": what}}
    if event.get("Type") == "Notification":  # SNS's envelope
        return event | {"Message": json.dumps(filled(json.loads(event["Message"]), film, key, bucket))}
    if "Records" in event:
        return event | {"Records": [_record(each, film, key, bucket) for each in event["Records"]]}
    return event


def _record(record: dict[str, Any], film: bytes, key: str, bucket: str | None) -> dict[str, Any]:
    """A record of S3, or a message of SQS that holds any event."""
    if record["eventSource"] == "aws:sqs":
        return record | {"body": json.dumps(filled(json.loads(record["body"]), film, key, bucket))}
    where = record["s3"]["bucket"] | ({"name": bucket, "arn": f"arn:aws:s3:::{bucket}"} if bucket else {})
    # Of another object: neither the version nor the ETag of the example is its own.
    what = {"key": quote_plus(key, safe="/"), "size": len(film), "sequencer": record["s3"]["object"]["sequencer"]}
    return record | {"s3": record["s3"] | {"bucket": where, "object": what}}


def main() -> int:
    """Read the command line, write the event to standard output."""
    parser = argparse.ArgumentParser(description="Write one of events/*.json with an image of yours.")
    parser.add_argument("event", type=Path, help="one of events/*.json")
    parser.add_argument("film", type=Path)
    parser.add_argument("--bucket", help="bucket of the image; for events of S3")
    parser.add_argument("--key", help="its key there (the file's name)")
    options = parser.parse_args()
    event = json.loads(options.event.read_text())
    text = json.dumps(filled(event, options.film.read_bytes(), options.key or options.film.name, options.bucket))
    if len(text) > LARGEST:
        print(f"error: the event has {len(text):,} bytes, and Lambda takes {LARGEST:,}; use a job", file=sys.stderr)
        return 1
    print(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
