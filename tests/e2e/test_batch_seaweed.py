"""The batch path on a real S3 server, SeaweedFS, which checks every signature and keeps every condition.

It sends no notifications, so the test writes them, as S3 and as EventBridge write them, into moto's queue.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from crew import FILMS, MASKS, Queues, crew, dead_letters, make_buckets, make_queues, put, total, working
from mapping import BATCH
from objects import odd_keys, ward
from outcome import check_logs, check_outputs, check_written_once, outputs
from servers import REGION, moto, seaweed

OBJECTS, WORKERS = 100, 2


def test_films_on_a_server_that_checks_everything(
    tmp_path: Path, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = ward(rg1_png, OBJECTS, plain_enough(odd_keys()))
    with seaweed(tmp_path) as store, moto(tmp_path) as aws:
        s3, sqs = store.client("s3"), aws.client("sqs")
        make_buckets(s3)
        queues = make_queues(sqs, visibility=20, receives=3)
        put(s3, objects)
        messages = [(from_eventbridge, from_s3)[number % 2](each.key) for number, each in enumerate(objects)]
        for start in range(0, OBJECTS, BATCH):
            # All twice, and so that both functions have the same batch in work at the same time.
            for message in 2 * messages[start : start + BATCH]:
                send(sqs, queues, message)
        with crew(WORKERS, tmp_path, store, aws, queues) as workers:
            with working(workers):
                pass
            counts = total(workers)
            assert dead_letters(sqs, queues) == []

            # What never can succeed comes back, and ends among the dead letters.
            sqs.set_queue_attributes(QueueUrl=queues.url, Attributes={"VisibilityTimeout": "1"})
            hopeless = ["not JSON", json.dumps({"hello": "world"}), from_s3("in/a.png", "a-bucket-that-is-not-there")]
            for body in hopeless:
                send(sqs, queues, body)
            # A trigger on the wrong bucket must not make masks of masks.
            send(sqs, queues, from_s3("in/a.png.mask.png", MASKS))
            with working(workers[:1]):
                pass
            assert sorted(dead_letters(sqs, queues)) == sorted(hopeless)

        found = outputs(s3)
        check_outputs(s3, objects, found)
        check_written_once(found, objects, set())
        check_logs(tmp_path.glob("function*.log"), objects)
    with capsys.disabled():
        print(
            f"\nSeaweedFS: {OBJECTS} objects, {counts['deliveries']} deliveries, {counts['slow_downs']} of "
            f"{counts['requests']} requests answered 503, {counts['lost']} answers lost: {len(found)} outputs"
        )


def plain_enough(keys: Iterator[str]) -> Iterator[str]:
    """Those that SeaweedFS keeps as they are: its keys are paths, whose parts have at most 255 bytes."""
    for key in keys:
        parts = key.split("/")
        if "\\" not in key and not {"", ".", ".."} & set(parts) and all(len(part.encode()) <= 255 for part in parts):
            yield key


def from_s3(key: str, bucket: str = FILMS) -> str:
    """A notification as S3 sends it; the key is encoded as in a form."""
    thing = {"key": quote_plus(key), "size": 1, "eTag": "0" * 32, "versionId": "x", "sequencer": "0055AED6DCD90281E5"}
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": "2026-11-23T16:00:00.000Z",
        "eventName": "ObjectCreated:Put",
        "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"}, "object": thing},
    }
    return json.dumps({"Records": [record]})


def from_eventbridge(key: str) -> str:
    """The same from EventBridge, where the key is not encoded."""
    detail = {"version": "0", "bucket": {"name": FILMS}, "object": {"key": key, "size": 1}, "reason": "PutObject"}
    return json.dumps({"source": "aws.s3", "detail-type": "Object Created", "region": REGION, "detail": detail})


def send(sqs: Any, queues: Queues, body: str) -> None:
    """One message."""
    sqs.send_message(QueueUrl=queues.url, MessageBody=body)
