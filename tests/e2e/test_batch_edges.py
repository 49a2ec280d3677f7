"""The batch path at its edges, one event at a time: replaced images, a throttle, time that runs out, the log."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from crew import FILMS, MASKS, make_buckets
from faults import Faults, faults
from films import dicom
from objects import pixels_of
from processes import smaller
from runtime import FunctionError, Runtime, runtime
from servers import Server, moto
from test_batch_seaweed import from_s3

from app.invocation import MIN_REMAINING_MS

TRIES = 5
"""How often a request is sent before it counts as failed."""


BUCKETS = {"LUNG_INPUT_BUCKET": FILMS, "LUNG_OUTPUT_BUCKET": MASKS, "LUNG_FORMATS": "mask dicom-seg"}


@dataclass(frozen=True)
class Bench:
    """A function, and the buckets that it works on through a proxy which does nothing by itself."""

    server: Server
    function: Runtime
    proxy: Faults
    s3: Any
    settings: dict[str, str]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    with moto(folder) as server, faults(server.url, seed=0, slow_downs=0) as proxy:
        s3 = server.client("s3")
        make_buckets(s3)
        settings = server.environment() | BUCKETS | {"AWS_ENDPOINT_URL_S3": proxy.url}
        with runtime(folder / "function.log", settings) as function:
            yield Bench(server, function, proxy, s3, settings)


def deliver(function: Runtime, *keys: str) -> list[int]:
    """A batch of SQS messages; the places of those handed back."""
    messages = [
        {"messageId": str(place), "body": from_s3(key), "eventSource": "aws:sqs", "eventSourceARN": "arn:aws:sqs:::q"}
        for place, key in enumerate(keys)
    ]
    answer = function.invoke({"Records": messages})
    return [int(each["itemIdentifier"]) for each in answer["batchItemFailures"]]


def there(bench: Bench, prefix: str) -> set[str]:
    """What follows a prefix in the names of the outputs."""
    found = bench.s3.list_objects_v2(Bucket=MASKS, Prefix=prefix).get("Contents", [])
    return {each["Key"].removeprefix(prefix) for each in found}


@pytest.mark.parametrize("failing", ["removal", "nothing"])
def test_a_problem_goes_when_a_good_film_takes_its_place(bench: Bench, rg1_png: bytes, failing: str) -> None:
    key = f"problem/{failing}"
    bench.s3.put_object(Bucket=FILMS, Key=key, Body=b"Dear colleague, " * 100)
    assert deliver(bench.function, key) == []
    assert there(bench, key) == {".error.json"}
    bench.s3.put_object(Bucket=FILMS, Key=key, Body=smaller(rg1_png))
    if failing == "removal":
        # A request that deletes objects has the bucket as its path, and one that lists them.
        bench.proxy.outages[f"/{MASKS}"] = TRIES
        assert deliver(bench.function, key) == [0]
    assert deliver(bench.function, key) == []
    assert there(bench, key) == {".mask.png", ".json"}


def test_no_form_of_an_older_film_stays_beside_a_new_one(bench: Bench, rg1_png: bytes) -> None:
    png = smaller(rg1_png)
    bench.s3.put_object(Bucket=FILMS, Key="forms/a", Body=dicom(pixels_of(png)))
    assert deliver(bench.function, "forms/a") == []
    assert there(bench, "forms/a") == {".mask.png", ".seg.dcm", ".json"}
    # Of a PNG no DICOM object can be made: the one that is there is of another image.
    bench.s3.put_object(Bucket=FILMS, Key="forms/a", Body=png)
    assert deliver(bench.function, "forms/a") == []
    assert there(bench, "forms/a") == {".mask.png", ".json"}


def test_outputs_go_when_a_bad_film_takes_their_place(bench: Bench, rg1_png: bytes) -> None:
    bench.s3.put_object(Bucket=FILMS, Key="bad/a", Body=dicom(pixels_of(smaller(rg1_png))))
    assert deliver(bench.function, "bad/a") == []
    bench.s3.put_object(Bucket=FILMS, Key="bad/a", Body=rg1_png[:2000])
    # Late, and twice.
    assert deliver(bench.function, "bad/a", "bad/a") == []
    assert there(bench, "bad/a") == {".error.json"}


@pytest.mark.parametrize("kinds", ["bad good", "good bad", "good good", "bad bad"])
def test_who_read_the_older_film_does_not_win_by_ending_last(
    bench: Bench, rg1_png: bytes, tmp_path: Path, kinds: str
) -> None:
    key = f"race/{kinds}"
    old, new = two_films(rg1_png, kinds)
    bench.s3.put_object(Bucket=FILMS, Key=key, Body=old)

    # The other function reaches the buckets without the proxy.
    with runtime(tmp_path / "other.log", bench.server.environment() | BUCKETS) as other:

        def overtake(method: str, path: str, status: int) -> None:
            """The older image's bytes are on their way to the reader: meanwhile all is done for a newer one."""
            if (method, path) == ("GET", f"/{FILMS}/{key}"):
                bench.proxy.after = unmoved
                bench.s3.put_object(Bucket=FILMS, Key=key, Body=new)
                assert deliver(other, key) == []

        unmoved, bench.proxy.after = bench.proxy.after, overtake
        assert deliver(bench.function, key) == []
    assert bench.proxy.after is unmoved
    check(bench, key, kinds)


@pytest.mark.parametrize("kinds", ["bad good", "good bad", "good good"])
def test_a_function_may_die_after_any_request(bench: Bench, rg1_png: bytes, kinds: str) -> None:
    old, new = two_films(rg1_png, kinds)
    requests = 0

    def die(method: str, path: str, status: int) -> None:
        nonlocal requests
        requests -= 1
        if requests == 0:
            bench.function.kill()

    unmoved = bench.proxy.after
    for number in itertools.count(1):
        key = f"death/{kinds}/{number}"
        bench.s3.put_object(Bucket=FILMS, Key=key, Body=old)
        assert deliver(bench.function, key) == []
        bench.s3.put_object(Bucket=FILMS, Key=key, Body=new)
        requests, bench.proxy.after = number, die
        with contextlib.suppress(FunctionError):
            assert deliver(bench.function, key) == []
        bench.proxy.after = unmoved
        survived = requests > 0
        assert deliver(bench.function, key) == []
        check(bench, key, kinds)
        if survived:
            break
    assert number > 5


def two_films(rg1_png: bytes, kinds: str) -> list[bytes]:
    """An image, and what takes its place; each good or bad."""
    bodies = {"bad": [b"text" * 9, b""], "good": [smaller(rg1_png, 128), smaller(rg1_png, 140)]}
    return [bodies[kind][number] for number, kind in enumerate(kinds.split())]


def check(bench: Bench, key: str, kinds: str) -> None:
    """Outputs are there of the second image alone."""
    assert there(bench, key) == ({".error.json"} if kinds.endswith("bad") else {".mask.png", ".json"})
    version = bench.s3.head_object(Bucket=FILMS, Key=key)["VersionId"]
    for suffix in there(bench, key):
        assert bench.s3.head_object(Bucket=MASKS, Key=key + suffix)["Metadata"]["film-version"] == version


def test_what_there_is_no_time_for_is_handed_back(bench: Bench, rg1: bytes, tmp_path: Path) -> None:
    keys = [f"time/{number}" for number in range(10)]
    for key in keys:
        bench.s3.put_object(Bucket=FILMS, Key=key, Body=rg1)
    # Room for the first images alone, on a busy machine too: all ten take three times as long.
    with runtime(
        tmp_path / "short.log", bench.settings | {"LUNG_FORMATS": "mask all"}, timeout=MIN_REMAINING_MS // 1000 + 10
    ) as function:
        # The time that a function takes to start counts with its first event here.
        assert deliver(function, "time/nothing") == []
        later = deliver(function, *keys)
    assert later
    assert later == list(range(later[0], 10))
    assert later[0] > 0
    done = [each for each in there(bench, "time/") if each.endswith(".mask.png")]
    assert sorted(done) == [f"{number}.mask.png" for number in range(later[0])]


def test_one_film_s_throttle_fails_that_film_alone(bench: Bench, rg1_png: bytes) -> None:
    keys = [f"throttle/{number}" for number in range(3)]
    for key in keys:
        bench.s3.put_object(Bucket=FILMS, Key=key, Body=smaller(rg1_png))
    bench.proxy.outages[f"/{FILMS}/{keys[1]}"] = TRIES
    assert deliver(bench.function, *keys) == [1]
    assert deliver(bench.function, *keys) == []
    masks = bench.s3.list_object_versions(Bucket=MASKS, Prefix="throttle/")["Versions"]
    assert len(masks) == 3 * len({".mask.png", ".json"})
    # Telling why is the log's task; without a name.
    log = bench.function.log.read_text()
    assert "SlowDown" in log
    assert keys[1] not in log


def test_the_log_counts_films_by_what_became_of_them(bench: Bench, rg1_png: bytes) -> None:
    bench.s3.put_object(Bucket=FILMS, Key="count/good", Body=smaller(rg1_png))
    bench.s3.put_object(Bucket=FILMS, Key="count/bad", Body=b"")
    assert deliver(bench.function, "count/good", "count/bad", "count/gone") == []
    lines = bench.function.log.read_text().splitlines()
    metrics = [json.loads(line) for line in lines if line.startswith("{") and "_aws" in line]
    counts = {name: value for name, value in metrics[-1].items() if name.startswith("Films")}
    assert counts == {
        "FilmsDone": [1],
        "FilmsFailed": [1],
        "FilmsGone": [1],
        "FilmsSkipped": [0],
        "FilmsLater": [0],
    }
    assert metrics[-1]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "LungSegmentation"
    assert any("1 done, 1 failed, 1 gone" in line and "empty-body 1" in line for line in lines)
