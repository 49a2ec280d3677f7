"""The queue path under failures: duplicates, rejected images, killed functions, a failing S3, replaced images.

The function is the real one behind Lambda's real runtime interface. S3 is SeaweedFS, which checks every signature and
enforces every condition. It sends no notifications, so the test sends them, as S3 and as EventBridge do, to moto's
queue. tests/promises/test_queue_failures.py covers all orders of events, in one process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_functions import (
    INPUTS,
    OUTPUTS,
    Worker,
    eventbridge_message,
    make_buckets,
    make_queues,
    s3_message,
    serving_queue,
    start_functions,
    take_dead_letters,
    total_counts,
    upload_objects,
)
from event_source_mapping import BATCH_SIZE, queue_depth
from objects import Object, odd_keys, ward
from output_checks import check_logs, check_outputs, check_written_once, read_outputs
from processes import wait_for
from servers import moto, seaweed

OBJECTS, WORKERS = 300, 4
DUPLICATES = 5
"""Every DUPLICATES-th batch of messages is sent twice in a row, so that two functions process it at the same time."""

KILLS = {".mask.png": 20, ".json": 30}
"""By suffix: the number of outputs after which a function is killed, one function each. A mask precedes its JSON."""


def test_every_image_has_its_outputs_whatever_fails(
    tmp_path: Path, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = ward(rg1_png, OBJECTS, plain_keys(odd_keys()))
    with seaweed(tmp_path) as store, moto(tmp_path) as aws:
        s3, sqs = store.client("s3"), aws.client("sqs")
        make_buckets(s3)
        queues = make_queues(sqs, visibility=20, receives=5)

        def send(*bodies: str) -> None:
            for body in bodies:
                sqs.send_message(QueueUrl=queues.url, MessageBody=body)

        # Two that give nothing: a folder marker, as the S3 console makes them, and an image deleted before its turn.
        idle = [Object("in/folder/", b""), Object("in/gone.png", objects[0].body)]
        upload_objects(s3, [*objects, *idle])
        s3.delete_object(Bucket=INPUTS, Key="in/gone.png")
        send(*messages_of([*objects, *idle]))
        with start_functions(WORKERS, tmp_path, store, aws, queues) as workers:
            kills = [kill_after(worker, *each) for worker, each in zip(workers, KILLS.items(), strict=False)]
            unlucky = [each.key for each in objects if each.code is None][20:80:20]
            workers[0].proxy.outages.update({f"/{INPUTS}/{key}": 6 for key in unlucky})
            with serving_queue(workers):
                objects, replaced = replace_some(s3, objects, workers, send)
            counts = total_counts(workers)
            assert take_dead_letters(sqs, queues) == []

            # Messages that can never succeed come back, and end in the dead-letter queue.
            sqs.set_queue_attributes(QueueUrl=queues.url, Attributes={"VisibilityTimeout": "1"})
            hopeless = [
                "not JSON",
                json.dumps({"hello": "world"}),
                s3_message("in/a.png", "a-bucket-that-is-not-there"),
            ]
            # A trigger on the output bucket must not make masks of masks.
            send(*hopeless, s3_message("in/a.png.mask.png", OUTPUTS))
            with serving_queue(workers[:1]):
                pass
            assert sorted(take_dead_letters(sqs, queues)) == sorted(hopeless)

        assert queue_depth(sqs, queues.url) == 0
        found = read_outputs(s3)
        check_outputs(s3, objects, found)
        check_written_once(found, objects, replaced)
        check_logs(tmp_path.glob("function*.log"), objects)

    with capsys.disabled():
        print(
            f"\n{OBJECTS} objects, {len(replaced)} replaced in progress: {counts['deliveries']} deliveries, "
            f"{counts['slow_downs']} of {counts['requests']} requests got 503, {counts['lost']} responses lost, "
            f"{len(kills)} kills, {counts['returned']} messages returned: {len(found)} outputs"
        )
    assert kills == [[1], [1]]
    assert counts["crashes"] == 2
    assert counts["returned"] >= 1
    assert counts["slow_downs"] > 0.03 * counts["requests"]


def plain_keys(keys: Iterator[str]) -> Iterator[str]:
    """Yield the keys that SeaweedFS keeps as they are: its keys are paths, with parts of at most 255 bytes."""
    for key in keys:
        parts = key.split("/")
        if "\\" not in key and not {"", ".", ".."} & set(parts) and all(len(part.encode()) <= 255 for part in parts):
            yield key


def messages_of(objects: list[Object]) -> Iterator[str]:
    """Yield a notification of each object, from both sources in turn, and some of them twice."""
    found = [(eventbridge_message, s3_message)[number % 2](each.key) for number, each in enumerate(objects)]
    for start in range(0, len(found), BATCH_SIZE):
        batch = found[start : start + BATCH_SIZE]
        yield from batch
        if start // BATCH_SIZE % DUPLICATES == 0:
            yield from batch


def kill_after(worker: Worker, suffix: str, number: int) -> list[int]:
    """Kill a function when it has written ``number`` outputs of a kind; the returned list records the kill."""
    kills: list[int] = []
    count = 0

    def after(method: str, path: str, status: int) -> None:
        nonlocal count
        count += method == "PUT" and status == 200 and path.endswith(suffix) and not path.endswith(".error.json")
        if count == number and not kills:
            kills.append(worker.function.kill())

    worker.proxy.after = after
    return kills


def replace_some(s3: Any, objects: list[Object], workers: list[Worker], send: Any) -> tuple[list[Object], set[str]]:
    """Replace some images while the functions run: valid by valid, valid by rejected, rejected by valid.

    Returns:
        The objects as they are now, and the keys of those replaced.
    """
    good = [number for number, each in enumerate(objects) if each.code is None]
    bad = [number for number, each in enumerate(objects) if each.code is not None]
    pairs = [(good[n], good[n + 1]) for n in (5, 60, 120, 170, 220)]
    for one, other in zip((80, 150, 250), bad[1:4], strict=True):
        pairs += [(good[one], other), (other, good[one])]
    now = list(objects)
    for step, (old, new) in enumerate(pairs):
        wait_for(lambda enough=20 * step: total_counts(workers)["deliveries"] > enough, 120)
        now[old] = Object(objects[old].key, objects[new].body, objects[new].code)
        upload_objects(s3, [now[old]])
        send(s3_message(now[old].key))
    return now, {objects[old].key for old, _ in pairs}
