"""The batch path as it stands in AWS: two buckets, a queue with its dead letters, and functions that serve it."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import Faults, faults
from mapping import Mapping, depth
from objects import Object
from runtime import Runtime, runtime
from servers import REGION, Server, environment

FILMS, MASKS = "films-of-a-hospital", "masks-of-a-hospital"


@dataclass(frozen=True)
class Queues:
    """A queue and its dead letters, by their URLs.

    Attributes:
        arn: of the queue.
    """

    url: str
    dead: str
    arn: str


@dataclass(frozen=True)
class Worker:
    """A function, the way by which it reaches S3, and what brings it messages."""

    function: Runtime
    faults: Faults
    mapping: Mapping


def make_buckets(s3: Any) -> None:
    """Both buckets, versioned: so that it can be counted how often each mask was written."""
    for bucket in (FILMS, MASKS):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def make_queues(sqs: Any, visibility: int, receives: int) -> Queues:
    """A queue whose messages go to another one after so many receives."""

    def arn(url: str) -> str:
        found: str = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return found

    dead = sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
    redrive = json.dumps({"deadLetterTargetArn": arn(dead), "maxReceiveCount": receives})
    attributes = {"VisibilityTimeout": str(visibility), "RedrivePolicy": redrive}
    url = sqs.create_queue(QueueName="films", Attributes=attributes)["QueueUrl"]
    return Queues(url, dead, arn(url))


def notify(s3: Any, queues: Queues) -> None:
    """Let the bucket of images tell the queue of every new object. S3 sends a test event at once."""
    s3.put_bucket_notification_configuration(
        Bucket=FILMS,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": queues.arn, "Events": ["s3:ObjectCreated:*"]}],
        },
    )


def put(s3: Any, objects: Iterable[Object]) -> None:
    """Upload all."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda each: s3.put_object(Bucket=FILMS, Key=each.key, Body=each.body), objects))


@contextlib.contextmanager
def crew(
    count: int,
    folder: Path,
    s3: Server,
    sqs: Server,
    queues: Queues,
    again: Callable[[], bool] = lambda: False,
    lost: float = 0.01,
) -> Iterator[list[Worker]]:
    """Functions that serve a queue side by side, each behind a proxy of its own that makes S3 fail.

    Args:
        folder: for their logs.
        again: see `Mapping`.
        lost: see `faults`.
    """
    outages: Counter[str] = Counter()
    with contextlib.ExitStack() as stack:
        workers = []
        for number in range(count):
            proxy = stack.enter_context(faults(s3.url, seed=number, lost=lost))
            proxy.outages = outages
            settings = {
                "AWS_ENDPOINT_URL_S3": proxy.url,
                "LUNG_INPUT_BUCKET": FILMS,
                "LUNG_OUTPUT_BUCKET": MASKS,
                "LUNG_DOOR": "records",
                "LUNG_THREADS": "1",
                "POWERTOOLS_SERVICE_NAME": "batch",
                "POWERTOOLS_METRICS_NAMESPACE": "LungSegmentation",
            }
            log = folder / f"function{number}.log"
            function = stack.enter_context(runtime(log, environment(s3.url) | settings))
            mapping = Mapping(sqs.client("sqs"), queues.url, function.invoke, again)
            workers.append(Worker(function, proxy, mapping))
        yield workers


@contextlib.contextmanager
def working(workers: list[Worker]) -> Iterator[None]:
    """The crew works while the ``with``'s body runs, and then until the queue is empty; what fails there is raised."""
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


def total(workers: list[Worker]) -> Counter[str]:
    """What all mappings and proxies counted."""
    return sum((worker.mapping.counts + worker.faults.counts for worker in workers), Counter())


def dead_letters(sqs: Any, queues: Queues) -> list[str]:
    """The bodies of the messages that were given up; they are taken out."""
    found: list[str] = []
    while depth(sqs, queues.dead):
        for message in sqs.receive_message(QueueUrl=queues.dead, MaxNumberOfMessages=10).get("Messages", []):
            found.append(message["Body"])
            sqs.delete_message(QueueUrl=queues.dead, ReceiptHandle=message["ReceiptHandle"])
    return found
