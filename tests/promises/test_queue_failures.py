"""The queue under failures: whatever S3, the queue and the processes do, each image has its outputs exactly once.

Four functions take random turns: between any two requests of one, the others may run, and images may be replaced or
deleted. The first two receives of a message meet failures and kills; later ones are spared, because a message has only
five. The function is the real handler; only segmentation results are cached, because the same few images come again.
"""

from __future__ import annotations

import functools
import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest
from buckets import Buckets, Context, forget, make, s3_event, sqs_event
from cloudformation import deployed
from failing_s3 import KILLED_AFTER, KILLED_BEFORE, FailingS3, Killed
from ledger import WHOLE, Ledger, cases
from message_queue import Message, MessageQueue
from moto import mock_aws
from objects import films as make_films
from objects import odd_keys, poison
from processes import smaller
from redelivery import to_keep
from template_triggers import fires, triggers
from turns import Turns

import serverless
from app.buckets import jobs, process, s3
from app.buckets.keys import MARKERS_PREFIX, ImageLocation, OutputKeys, job_image_key
from app.buckets.settings import read_bucket_settings as read_settings
from lungseg.encode.formats import FORMATS
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment

WORKERS = 4
DELIVERIES, COPIES = cases(150, 10_000), 0.2
EVENTS = round(DELIVERIES / (1 + COPIES))
RATE = 0.06 if WHOLE else 0.12
"""The fraction of requests that fail, or whose sender is killed."""

STEPS = 15
"""Turns that others may get while an image is segmented."""

SPARED = 2
"""Receives after which a message is spared."""


@dataclass(frozen=True)
class BucketImage:
    """An object in the input bucket, and its expected outputs.

    Attributes:
        outputs: content by format name; empty for an image that is rejected.
        code: the error code.
    """

    body: bytes
    outputs: dict[str, bytes]
    code: str | None = None


@pytest.fixture
def buckets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Buckets]:
    """Yield both buckets, in this process."""
    with mock_aws():
        yield make(None, monkeypatch, versioned=True)
    forget()


@pytest.fixture(scope="module")
def films(rg1_png: bytes) -> list[BucketImage]:
    """Return valid images in all formats; a quarter of all are other files."""
    good = []
    for body in make_films(rg1_png)[: cases(6, 24)]:
        result = segment(body)
        good.append(BucketImage(body, {name: FORMATS[name].encode(result) for name in ("mask", "labels")}))
    bad = [BucketImage(body, {}, code) for body, code in poison(smaller(rg1_png, 128))]
    return [*good, *bad[: len(good) // 3]]


class Hospital:
    """Uploads images, replaces and deletes some, and sends a notification for each upload.

    Attributes:
        truth: the current image of each key; None if it was deleted.
        jobs: keys of images uploaded for a job.
        replaced: keys that have had more than one image.
        versions: all uploaded images, by version.
        lost: messages that can never succeed.
        triggers: buckets and prefixes that notify the queue.
    """

    def __init__(
        self, buckets: Buckets, films: list[BucketImage], queue: MessageQueue, faulty_s3: FailingS3, turns: Turns
    ) -> None:
        self._client, self._bucket, self._films, self._queue = buckets.client, buckets.films, films, queue
        self._faulty_s3, self._turns, self._dice, self._keys = faulty_s3, turns, random.Random(2), odd_keys()
        self._clean = s3.ObjectStore(buckets.client)
        self.triggers = triggers(buckets)
        self._copies = set(random.Random(3).sample(range(EVENTS), DELIVERIES - EVENTS))
        self._told: dict[str, str] = {}
        self.truth: dict[str, BucketImage | None] = {}
        self.jobs: set[str] = set()
        self.replaced: set[str] = set()
        self.versions: dict[str, BucketImage] = {}
        self.lost: Counter[str] = Counter()
        self.open = True

    def work(self) -> None:
        """Send all events; wait while the queue is so full that no image in progress would be replaced."""
        for number in range(EVENTS):
            while len(self._queue.waiting) > 8:
                self._turns.pass_on()
            self._turns.pass_on()
            self._put(self._key(number), self._dice.choice(self._films), number in self._copies)
            if self._dice.random() < 0.02:
                self._delete()
            if number % 100 == 50:
                self._send(self._dice.choice(["no JSON", '{"no": "notification"}', "[]"]), False, lost=True)
        self.open = False

    def _key(self, number: int) -> str:
        """Return a new key, or one whose image is in progress."""
        if self._dice.random() < 0.35 and (there := self._in_work()):
            return self._dice.choice(there)
        if number % 10 == 5:
            forms = ("labels",)
            job = jobs.create_job(forms, Options(), self._clean, read_settings())
            self.jobs.add(job_image_key(job.id))
            return job_image_key(job.id)
        key = next(self._keys)
        (self._faulty_s3.denied if number % 97 == 33 else self._faulty_s3.archived if number % 97 == 66 else set()).add(
            key
        )
        return key

    def _put(self, key: str, image: BucketImage, twice: bool) -> None:
        put = self._client.put_object(Bucket=self._bucket, Key=key, Body=image.body)
        self.versions[put["VersionId"]] = image
        if key in self.truth:
            self.replaced.add(key)
        # The S3 console makes such empty objects for folders.
        self.truth[key] = None if key.endswith("/") and not image.body else image
        assert fires(self.triggers, self._bucket, key)
        body = json.dumps(s3_event(self._bucket, key))
        self._told[body] = key
        self._send(body, twice, lost=key in self._faulty_s3.denied)

    def _delete(self) -> None:
        for key in self._in_work()[:1]:
            self._client.delete_object(Bucket=self._bucket, Key=key)
            self.truth[key] = None
            self.replaced.add(key)

    def _in_work(self) -> list[str]:
        return [self._told[each.body] for each in self._queue.in_flight if each.body in self._told]

    def _send(self, body: str, twice: bool, lost: bool) -> None:
        for _ in range(1 + twice):
            self._queue.send(body)
            self.lost[body] += lost


class Function:
    """Serves the queue as Lambda does, until the hospital is closed and no message is left.

    Attributes:
        kills: how often it was killed.
    """

    def __init__(
        self, hospital: Hospital, queue: MessageQueue, faulty_s3: FailingS3, turns: Turns, number: int
    ) -> None:
        self._hospital, self._queue, self._faulty_s3, self._turns = hospital, queue, faulty_s3, turns
        self._dice = random.Random(10 + number)
        self.kills = 0

    def work(self) -> None:
        """Receive and handle batches."""
        while self._hospital.open or self._queue.waiting or self._queue.in_flight:
            self._turns.pass_on()
            batch = self._queue.receive(self._dice.randint(1, 4))
            if batch:
                self._do(batch)

    def _do(self, batch: list[Message]) -> None:
        self._faulty_s3.spare(any(message.receives > SPARED for message in batch))
        names = [str(message.number) for message in batch]
        try:
            answer = serverless.handler(self._event(batch), Context(900_000))
        except Killed:
            self.kills += 1
            kept = set(names)
        else:
            kept = to_keep(answer, names)
        self._queue.settle(batch, {names.index(name) for name in kept})

    def _event(self, batch: list[Message]) -> dict[str, Any]:
        event = sqs_event(*(message.body for message in batch))
        for message, record in zip(batch, event["Records"], strict=True):
            record["messageId"] = str(message.number)
            record["attributes"]["ApproximateReceiveCount"] = str(message.receives)
        return event


def test_every_image_version_has_its_outputs_once(
    buckets: Buckets, films: list[BucketImage], monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    turns = Turns(random.Random(1))
    redrive = deployed()["Resources"]["FilmQueue"]["Properties"]["RedrivePolicy"]
    queue = MessageQueue(random.Random(4), redrive["maxReceiveCount"])
    faulty_s3 = FailingS3(turns, random.Random(5), RATE, buckets.films, buckets.outputs)
    faulty_s3.reach(s3.get_store()._client)
    hospital = Hospital(buckets, films, queue, faulty_s3, turns)
    functions = [Function(hospital, queue, faulty_s3, turns, number) for number in range(WORKERS)]
    remembered = functools.cache(segment)

    def slow(*image: Any) -> Any:
        """Segment an image while others take STEPS turns."""
        for _ in range(STEPS):
            turns.pass_on()
        return remembered(*image)

    monkeypatch.setattr(process, "segment", slow)
    # boto3 waits up to 20 s between retries; here the others take a turn instead.
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: turns.pass_on())
    with redirect_stdout(io.StringIO()):  # a line of metrics for each batch
        turns.run(hospital.work, *(function.work for function in functions))

    wrong = check(buckets, hospital, faulty_s3)
    dead = Counter(message.body for message in queue.dead)
    kills = sum(function.kills for function in functions)
    faults = sum(faulty_s3.counts.values())
    unseen = [
        (kind, step) for step in steps(buckets) for kind in faulty_s3.kinds(step) if not faulty_s3.counts[kind, step]
    ]
    seen_at_all = {kind for kind, _ in faulty_s3.counts}
    ledger.enter(
        7,
        "Every image's last version has its outputs, once, whatever fails",
        f"{DELIVERIES:,} deliveries of {len(hospital.truth):,} images, {DELIVERIES - EVENTS:,} of them duplicates, and "
        f"{queue.deliveries - DELIVERIES:,} more after failures; {len(hospital.replaced):,} images replaced or deleted",
        f"{faults:,} of {faulty_s3.requests:,} requests failed in {len(faulty_s3.counts)} ways, {kills:,} kills; "
        f"{len(wrong)} images with other outputs than theirs, {sum((dead - hospital.lost).values())} lost messages, "
        f"{sum(dead.values())} rightly given up",
    )
    assert wrong == []
    assert dead == hospital.lost
    assert not any(fires(hospital.triggers, bucket, key) for bucket, key, _ in faulty_s3.writes)
    assert kills == sum(count for (kind, _), count in faulty_s3.counts.items() if kind in (KILLED_BEFORE, KILLED_AFTER))
    assert {kind for kind, _ in unseen} <= (set() if WHOLE else seen_at_all)
    assert len(hospital.replaced) > 0.1 * EVENTS


def steps(buckets: Buckets) -> list[tuple[str, str]]:
    """Return every kind of request that the batch function sends, by operation and bucket."""
    return [
        ("HeadObject", buckets.films),
        ("GetObject", buckets.films),
        ("HeadObject", buckets.outputs),
        ("GetObject", buckets.outputs),
        ("PutObject", buckets.outputs),
        ("DeleteObjects", buckets.outputs),
    ]


def check(buckets: Buckets, hospital: Hospital, faulty_s3: FailingS3) -> list[str]:
    """Return what is wrong with the output bucket, by key."""
    client, names = buckets.client, read_settings()
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=buckets.outputs)
    left = {each["Key"] for page in pages for each in page.get("Contents", [])}
    wrong = []
    for key, there_now in hospital.truth.items():
        image = there_now
        outputs = OutputKeys.of(ImageLocation(buckets.films, key), names)
        every = {outputs.error, *(outputs.key(name) for name in FORMATS)}
        there = left & every
        left -= every
        if image is None:  # outputs of a deleted image may stay
            continue
        version = client.head_object(Bucket=buckets.films, Key=key)["VersionId"]
        if key in hospital.jobs and there:
            # A job is done once, with the image that was there then.
            head = client.head_object(Bucket=buckets.outputs, Key=min(there))
            version = head["Metadata"]["film-version"]
            image = hospital.versions[version]
        form = "labels" if key in hospital.jobs else "mask"
        code = "archived" if key in faulty_s3.archived else image.code
        expected = {outputs.error} if code else {outputs.key(form), outputs.document}
        expected = set() if key in faulty_s3.denied else expected
        if there != expected:
            wrong.append(f"{key!r}: {sorted(there)} instead of {sorted(expected)}")
            continue
        for name in there:
            answer = client.get_object(Bucket=buckets.outputs, Key=name)
            content = answer["Body"].read()
            if answer["Metadata"]["film-version"] != version:
                wrong.append(f"{name!r} is of another version")
            elif name == outputs.error and json.loads(content)["code"] != code:
                wrong.append(f"{name!r} has another code")
            elif name == outputs.key(form) and content != image.outputs[form]:
                wrong.append(f"{name!r} is another image's")
            elif key not in hospital.replaced and faulty_s3.writes[buckets.outputs, name, version] != 1:
                wrong.append(f"{name!r} was written more than once")
    orders = {key.removesuffix("film") + "order" for key in hospital.jobs}
    markers = {
        key for key in left if key.startswith(MARKERS_PREFIX)
    }  # kills leave these; a lifecycle rule deletes them
    return wrong + [f"{key!r} belongs to no image" for key in left - orders - markers]
