"""The batch path under fire: duplicates, poison, a killed function, a failing S3, images replaced while in work.

S3 and SQS are moto's, the function is the real one behind Lambda's real runtime interface, and what can go wrong does.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import pytest
from crew import FILMS, Worker, crew, dead_letters, make_buckets, make_queues, notify, put, total, working
from mapping import depth
from objects import Object, ward
from outcome import check_logs, check_outputs, check_written_once, outputs
from processes import wait_for
from servers import moto

OBJECTS, WORKERS = 500, 4
COPIES = 0.2
KILLS = {".mask.png": 40, ".json": 60}
"""By suffix: after which of its outputs a function dies, one function for each. A document follows its mask."""


def test_every_film_has_its_mask_whatever_happens(
    tmp_path: Path, rg1_png: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = ward(rg1_png, OBJECTS)
    dice = random.Random(5)
    with moto(tmp_path) as aws:
        s3, sqs = aws.client("s3"), aws.client("sqs")
        make_buckets(s3)
        queues = make_queues(sqs, visibility=20, receives=5)
        notify(s3, queues)
        put(s3, objects)
        # Two that give nothing: a folder, as the console makes them, and an image that is gone before its turn.
        put(s3, [Object("in/folder/", b""), Object("in/gone.png", objects[0].body)])
        s3.delete_object(Bucket=FILMS, Key="in/gone.png")
        with crew(WORKERS, tmp_path, aws, aws, queues, lambda: dice.random() < COPIES) as workers:
            kills = [kill_after(worker, *each) for worker, each in zip(workers, KILLS.items(), strict=False)]
            afflicted = [each.key for each in objects if each.code is None][20:80:20]
            workers[0].faults.outages.update({f"/{FILMS}/{key}": 6 for key in afflicted})
            started = time.monotonic()
            with working(workers):
                objects, replaced = replace_some(s3, objects, workers)
            seconds = time.monotonic() - started
            counts = total(workers)

        assert depth(sqs, queues.url) == 0
        assert dead_letters(sqs, queues) == []
        found = outputs(s3)
        check_outputs(s3, objects, found)
        check_written_once(found, objects, replaced)
        check_logs(tmp_path.glob("function*.log"), objects)

    with capsys.disabled():
        print(
            f"\n{OBJECTS} objects, {len(replaced)} of them replaced while in work: {counts['deliveries']} deliveries, "
            f"{counts['copies']} duplicates, {counts['slow_downs']} of {counts['requests']} requests answered 503, "
            f"{counts['lost']} answers lost, {len(kills)} kills, {counts['returned']} messages handed back: "
            f"{sum(each.code is None for each in objects)} masks, {sum(each.code is not None for each in objects)} "
            f"problem documents, 0 dead letters; {seconds:.1f} s with {WORKERS} functions"
        )
    assert kills == [[1], [1]]
    assert counts["crashes"] == 2
    assert counts["returned"] >= 1
    assert counts["slow_downs"] > 0.03 * counts["requests"]
    assert 0.15 * OBJECTS < counts["copies"] < 0.25 * OBJECTS


def kill_after(worker: Worker, suffix: str, number: int) -> list[int]:
    """Kill a worker's function when it has written so many outputs of a kind; the list tells when it was done."""
    kills: list[int] = []
    count = 0

    def after(method: str, path: str, status: int) -> None:
        nonlocal count
        count += method == "PUT" and status == 200 and path.endswith(suffix) and not path.endswith(".error.json")
        if count == number and not kills:
            kills.append(worker.function.kill())

    worker.faults.after = after
    return kills


def replace_some(s3: Any, objects: list[Object], workers: list[Worker]) -> tuple[list[Object], set[str]]:
    """Put other images in the place of some while the crew is at work: good for good, good for bad, bad for good.

    Returns:
        The objects as they are now, and the keys of those replaced.
    """
    good = [number for number, each in enumerate(objects) if each.code is None]
    bad = [number for number, each in enumerate(objects) if each.code is not None]
    pairs = [(good[n], good[n + 1]) for n in (5, 60, 150, 210, 300)]
    for one, other in zip((100, 200, 350), bad[1:4], strict=True):
        pairs += [(good[one], other), (other, good[one])]
    now = list(objects)
    for step, (old, new) in enumerate(pairs):
        wait_for(lambda enough=30 * step: total(workers)["deliveries"] > enough, 120)
        now[old] = Object(objects[old].key, objects[new].body, objects[new].code)
        put(s3, [now[old]])
    return now, {objects[old].key for old, _ in pairs}
