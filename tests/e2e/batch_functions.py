"""The batch path as on AWS: two buckets, a queue with dead letters, and functions that serve it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from event_source_mapping import EventSourceMapping, queue_depth
from failing_proxy import FailingProxy, failing_proxy
from objects import Object
from runtime import Runtime, runtime
from servers import REGION, Server, environment

INPUTS, OUTPUTS = "films-of-a-hospital", "masks-of-a-hospital"


@dataclass(frozen=True)
class Queues:
    """URLs of a queue and its dead-letter queue."""

    url: str
    dead: str


@dataclass(frozen=True)
class Worker:
    """A function, its proxy to S3, and its event source mapping."""

    function: Runtime
    proxy: FailingProxy
    mapping: EventSourceMapping


def make_buckets(s3: Any) -> None:
    """Make both buckets, versioned, so that the writes of each output can be counted."""
    for bucket in (INPUTS, OUTPUTS):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def make_queues(sqs: Any, visibility: int, receives: int) -> Queues:
    """Make a queue that moves messages to a dead-letter queue after ``receives`` receives."""
    dead = sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
    found = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    redrive = json.dumps({"deadLetterTargetArn": found["Attributes"]["QueueArn"], "maxReceiveCount": receives})
    attributes = {"VisibilityTimeout": str(visibility), "RedrivePolicy": redrive}
    return Queues(sqs.create_queue(QueueName="films", Attributes=attributes)["QueueUrl"], dead)


def upload_objects(s3: Any, objects: Iterable[Object]) -> None:
    """Upload all objects."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: s3.put_object(Bucket=INPUTS, Key=each.key, Body=each.body), objects))


def s3_message(key: str, bucket: str = INPUTS) -> str:
    """Return a notification as S3 sends it; the key is form-encoded."""
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


def eventbridge_message(key: str) -> str:
    """Return the same from EventBridge, where the key is not encoded."""
    detail = {"version": "0", "bucket": {"name": INPUTS}, "object": {"key": key, "size": 1}, "reason": "PutObject"}
    return json.dumps({"source": "aws.s3", "detail-type": "Object Created", "region": REGION, "detail": detail})


@contextlib.contextmanager
def start_functions(
    count: int, folder: Path, s3: Server, sqs: Server, queues: Queues, lost: float = 0.01
) -> Iterator[list[Worker]]:
    """Start functions that serve a queue in parallel, each behind a proxy that makes S3 fail.

    Args:
        folder: for their logs.
        lost: see `failing_proxy`.
    """
    outages: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        workers = []
        for number in range(count):
            proxy = stack.enter_context(failing_proxy(s3.url, seed=number, lost=lost))
            proxy.outages = outages
            settings = {
                "AWS_ENDPOINT_URL_S3": proxy.url,
                "LUNG_INPUT_BUCKET": INPUTS,
                "LUNG_OUTPUT_BUCKET": OUTPUTS,
                "LUNG_DOOR": "records",
                "LUNG_THREADS": "1",
                "POWERTOOLS_SERVICE_NAME": "batch",
                "POWERTOOLS_METRICS_NAMESPACE": "LungSegmentation",
            }
            log = folder / f"function{number}.log"
            function = stack.enter_context(runtime(log, environment(s3.url) | settings))
            workers.append(Worker(function, proxy, EventSourceMapping(sqs.client("sqs"), queues.url, function.invoke)))
        yield workers


@contextlib.contextmanager
def serving_queue(workers: list[Worker]) -> Iterator[None]:
    """Serve the queue during the ``with`` block, and then until it is empty; raise the first failure."""
    with ThreadPoolExecutor(len(workers)) as pool:
        runs = []
        try:
            runs += [pool.submit(worker.mapping.serve) for worker in workers]
            yield
        finally:
            for worker in workers:
                worker.mapping.finish()
        for run in runs:
            run.result()


def total_counts(workers: list[Worker]) -> Counter[str]:
    """Return the sum of the counts of all mappings and proxies."""
    return sum((worker.mapping.counts + worker.proxy.counts for worker in workers), Counter())


def take_dead_letters(sqs: Any, queues: Queues) -> list[str]:
    """Remove all dead letters; return their bodies."""
    found: list[str] = []
    while queue_depth(sqs, queues.dead):
        for message in sqs.receive_message(QueueUrl=queues.dead, MaxNumberOfMessages=10).get("Messages", []):
            found.append(message["Body"])
            sqs.delete_message(QueueUrl=queues.dead, ReceiptHandle=message["ReceiptHandle"])
    return found
