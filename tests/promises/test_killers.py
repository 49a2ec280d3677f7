"""Images that kill the batch function are given up; all other images of their batches are done.

The kills are real, of a process that runs the real handler against an S3 server; only the redelivery by Lambda, SQS and
Step Functions is simulated.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from buckets import Buckets, map_event, s3_event, sqs_event
from cloudformation import deployed
from killable import KILL, MEMORY, Function
from ledger import WHOLE, Ledger, cases
from message_queue import Message, MessageQueue
from processes import smaller
from redelivery import to_keep
from state_machine import batch_states, walk

PROMISE = "An image that kills its call is the only one given up; no other image of its batch is lost"

BATCH = 10


@pytest.fixture
def function(buckets: Buckets) -> Iterator[Function]:
    """Yield the batch function, in the environment that ``buckets`` has set."""
    found = Function()
    yield found
    found.close()


def put(buckets: Buckets, image: bytes, count: int, killers: list[int], end: bytes = KILL) -> list[str]:
    """Upload ``count`` images, of which those at the indexes ``killers`` kill; return their keys."""
    keys = [f"in/{number:03}.png" for number in range(count)]
    for number, key in enumerate(keys):
        buckets.drop(key, image + (end if number in killers else b""))
    return keys


def check(buckets: Buckets, keys: list[str], killers: list[int]) -> None:
    """Assert that valid images have their outputs, each killer its problem document, and that no marker is left."""
    expected: set[str] = set()
    for number, key in enumerate(keys):
        expected |= {f"{key}.error.json"} if number in killers else {f"{key}.mask.png", f"{key}.json"}
    pages = buckets.client.get_paginator("list_objects_v2").paginate(Bucket=buckets.outputs)
    found = {each["Key"] for page in pages for each in page.get("Contents", [])}
    # The marker of an image that was given up stays until its lifecycle rule deletes it.
    markers = {key for key in found if key.startswith("begun/")}
    assert found - markers == expected
    assert len(markers) == len(killers)
    for number in killers:
        problem = json.loads(buckets.get(f"{keys[number]}.error.json"))
        assert (problem["code"], "was killed" in problem["detail"]) == ("internal-error", True)


def test_only_the_killer_in_a_backfill_is_given_up(
    buckets: Buckets, function: Function, rg1_png: bytes, ledger: Ledger
) -> None:
    count = cases(6, 40)
    killers = [min(5, count - 2)]
    keys = put(buckets, smaller(rg1_png, 128), count, killers)
    event = map_event(buckets.films, *keys)
    counts = walk(batch_states(), event, function, "execution 1")
    kills = function.kills
    again = walk(batch_states(), event, function, "execution 2")
    ledger.enter(
        17,
        PROMISE,
        f"one killer in a batch of {count} images of a backfill",
        f"{kills} kills, {function.kills - kills} in the next backfill; {function.calls} calls",
    )
    assert counts == again == {"skipped": count - 1, "failed": 1}
    check(buckets, keys, killers)
    assert (kills, function.kills) == (3, 3), "a killer that is known is not begun again"


@pytest.mark.parametrize("together", [False, True] if WHOLE else [True])
def test_only_the_killers_in_the_queue_are_given_up(
    together: bool, buckets: Buckets, function: Function, rg1_png: bytes, ledger: Ledger
) -> None:
    """Together: in one batch, whose messages are always redelivered together, as in an otherwise empty queue."""
    count, number = cases(12, 200), cases(1 + together, 3)
    dice = random.Random(17)
    killers = sorted(dice.sample(range(BATCH if together else count), number))
    keys = put(buckets, smaller(rg1_png, 128), count, killers)
    redrive = deployed()["Resources"]["FilmQueue"]["Properties"]["RedrivePolicy"]
    groups = [keys[at : at + BATCH] for at in range(0, count, BATCH)] if together else [keys]
    dead: list[Message] = []
    for group in groups:
        queue = MessageQueue(dice, redrive["maxReceiveCount"])
        for key in group:
            queue.send(json.dumps(s3_event(buckets.films, key)))
        drain(queue, function)
        dead += queue.dead
    ledger.enter(
        17,
        PROMISE,
        f"{number} killers in {count} messages of the queue, {'in one batch' if together else 'anywhere'}",
        f"{function.kills} kills in {function.calls} calls, {len(dead)} dead letters",
    )
    assert dead == []
    check(buckets, keys, killers)


def drain(queue: MessageQueue, function: Function) -> None:
    """Process the queue; a batch whose process was killed is redelivered as a whole."""
    while queue.waiting:
        batch = queue.receive(BATCH)
        event = sqs_event(*(message.body for message in batch))
        for message, record in zip(batch, event["Records"], strict=True):
            record["messageId"] = str(message.number)
            record["attributes"]["ApproximateReceiveCount"] = str(message.receives)
        names = [record["messageId"] for record in event["Records"]]
        answer = function(event)
        kept = set(names) if answer is None else to_keep(answer, names)
        queue.settle(batch, {names.index(name) for name in kept})


def test_only_the_image_that_exhausts_memory_fails(buckets: Buckets, function: Function, rg1_png: bytes) -> None:
    keys = put(buckets, smaller(rg1_png, 128), 3, [1], MEMORY)
    assert function(map_event(buckets.films, *keys))["counts"] == {"done": 2, "failed": 1}
    problem = json.loads(buckets.get(f"{keys[1]}.error.json"))
    assert problem["code"] == "internal-error"
    assert "memory" in problem["detail"]
    assert function.kills == 0
