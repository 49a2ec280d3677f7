"""Edge cases of the batch path, one event at a time: replaced images, throttling, lack of time, the log."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from batch_functions import INPUTS, OUTPUTS, make_buckets, s3_message
from failing_proxy import FailingProxy, failing_proxy
from films import dicom
from objects import pixels_of
from processes import smaller
from runtime import FunctionError, Runtime, runtime
from servers import Server, moto

from app.invocation import MIN_REMAINING_MS

TRIES = 5
"""Tries of a request before it fails."""


BUCKETS = {"LUNG_INPUT_BUCKET": INPUTS, "LUNG_OUTPUT_BUCKET": OUTPUTS, "LUNG_FORMATS": "mask dicom-seg"}


@dataclass(frozen=True)
class Bench:
    """A function, and its buckets behind a proxy that by itself fails nothing."""

    server: Server
    function: Runtime
    proxy: FailingProxy
    s3: Any
    settings: dict[str, str]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("bench")
    with moto(folder) as server, failing_proxy(server.url, seed=0, slow_downs=0) as proxy:
        s3 = server.client("s3")
        make_buckets(s3)
        settings = server.environment() | BUCKETS | {"AWS_ENDPOINT_URL_S3": proxy.url}
        with runtime(folder / "function.log", settings) as function:
            yield Bench(server, function, proxy, s3, settings)


def deliver(function: Runtime, *keys: str) -> list[int]:
    """Deliver a batch of SQS messages; return the indexes of failed ones."""
    messages = [
        {
            "messageId": str(place),
            "body": s3_message(key),
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:::q",
        }
        for place, key in enumerate(keys)
    ]
    answer = function.invoke({"Records": messages})
    return [int(each["itemIdentifier"]) for each in answer["batchItemFailures"]]


def there(bench: Bench, prefix: str) -> set[str]:
    """Return the outputs with a prefix, without the prefix."""
    found = bench.s3.list_objects_v2(Bucket=OUTPUTS, Prefix=prefix).get("Contents", [])
    return {each["Key"].removeprefix(prefix) for each in found}


@pytest.mark.parametrize("failing", ["removal", "nothing"])
def test_valid_replacement_removes_the_problem_document(bench: Bench, rg1_png: bytes, failing: str) -> None:
    key = f"problem/{failing}"
    bench.s3.put_object(Bucket=INPUTS, Key=key, Body=b"Dear colleague, " * 100)
    assert deliver(bench.function, key) == []
    assert there(bench, key) == {".error.json"}
    bench.s3.put_object(Bucket=INPUTS, Key=key, Body=smaller(rg1_png))
    if failing == "removal":
        # Requests that delete or list objects have the bucket as their path.
        bench.proxy.outages[f"/{OUTPUTS}"] = TRIES
        assert deliver(bench.function, key) == [0]
    assert deliver(bench.function, key) == []
    assert there(bench, key) == {".mask.png", ".json"}


def test_replacement_removes_all_outputs_of_the_older_image(bench: Bench, rg1_png: bytes) -> None:
    png = smaller(rg1_png)
    bench.s3.put_object(Bucket=INPUTS, Key="forms/a", Body=dicom(pixels_of(png)))
    assert deliver(bench.function, "forms/a") == []
    assert there(bench, "forms/a") == {".mask.png", ".seg.dcm", ".json"}
    # A PNG gives no DICOM object: an existing one belongs to another image.
    bench.s3.put_object(Bucket=INPUTS, Key="forms/a", Body=png)
    assert deliver(bench.function, "forms/a") == []
    assert there(bench, "forms/a") == {".mask.png", ".json"}


def test_rejected_replacement_removes_the_outputs(bench: Bench, rg1_png: bytes) -> None:
    bench.s3.put_object(Bucket=INPUTS, Key="bad/a", Body=dicom(pixels_of(smaller(rg1_png))))
    assert deliver(bench.function, "bad/a") == []
    bench.s3.put_object(Bucket=INPUTS, Key="bad/a", Body=rg1_png[:2000])
    # Late, and twice.
    assert deliver(bench.function, "bad/a", "bad/a") == []
    assert there(bench, "bad/a") == {".error.json"}


@pytest.mark.parametrize("kinds", ["bad good", "good bad", "good good", "bad bad"])
def test_slower_function_with_older_image_does_not_win(
    bench: Bench, rg1_png: bytes, tmp_path: Path, kinds: str
) -> None:
    key = f"race/{kinds}"
    old, new = two_films(rg1_png, kinds)
    bench.s3.put_object(Bucket=INPUTS, Key=key, Body=old)

    # The other function uses no proxy.
    with runtime(tmp_path / "other.log", bench.server.environment() | BUCKETS) as other:

        def overtake(method: str, path: str, status: int) -> None:
            """Process a newer image while the older one is being read."""
            if (method, path) == ("GET", f"/{INPUTS}/{key}"):
                bench.proxy.after = unmoved
                bench.s3.put_object(Bucket=INPUTS, Key=key, Body=new)
                assert deliver(other, key) == []

        unmoved, bench.proxy.after = bench.proxy.after, overtake
        assert deliver(bench.function, key) == []
    assert bench.proxy.after is unmoved
    check(bench, key, kinds)


@pytest.mark.parametrize("kinds", ["bad good", "good bad", "good good"])
def test_function_may_be_killed_after_any_request(bench: Bench, rg1_png: bytes, kinds: str) -> None:
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
        bench.s3.put_object(Bucket=INPUTS, Key=key, Body=old)
        assert deliver(bench.function, key) == []
        bench.s3.put_object(Bucket=INPUTS, Key=key, Body=new)
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
    """Yield an image and its replacement; each valid or rejected."""
    bodies = {"bad": [b"text" * 9, b""], "good": [smaller(rg1_png, 128), smaller(rg1_png, 140)]}
    return [bodies[kind][number] for number, kind in enumerate(kinds.split())]


def check(bench: Bench, key: str, kinds: str) -> None:
    """Assert that only the second image has outputs."""
    assert there(bench, key) == ({".error.json"} if kinds.endswith("bad") else {".mask.png", ".json"})
    version = bench.s3.head_object(Bucket=INPUTS, Key=key)["VersionId"]
    for suffix in there(bench, key):
        assert bench.s3.head_object(Bucket=OUTPUTS, Key=key + suffix)["Metadata"]["film-version"] == version


def test_images_without_time_left_are_returned(bench: Bench, rg1: bytes, tmp_path: Path) -> None:
    keys = [f"time/{number}" for number in range(10)]
    for key in keys:
        bench.s3.put_object(Bucket=INPUTS, Key=key, Body=rg1)
    # Time for the first images only, even on a busy machine: all ten take three times as long.
    with runtime(
        tmp_path / "short.log", bench.settings | {"LUNG_FORMATS": "mask all"}, timeout=MIN_REMAINING_MS // 1000 + 10
    ) as function:
        # The first event includes the cold start here.
        assert deliver(function, "time/nothing") == []
        later = deliver(function, *keys)
    assert later
    assert later == list(range(later[0], 10))
    assert later[0] > 0
    done = [each for each in there(bench, "time/") if each.endswith(".mask.png")]
    assert sorted(done) == [f"{number}.mask.png" for number in range(later[0])]


def test_throttled_image_fails_alone(bench: Bench, rg1_png: bytes) -> None:
    keys = [f"throttle/{number}" for number in range(3)]
    for key in keys:
        bench.s3.put_object(Bucket=INPUTS, Key=key, Body=smaller(rg1_png))
    bench.proxy.outages[f"/{INPUTS}/{keys[1]}"] = TRIES
    assert deliver(bench.function, *keys) == [1]
    assert deliver(bench.function, *keys) == []
    masks = bench.s3.list_object_versions(Bucket=OUTPUTS, Prefix="throttle/")["Versions"]
    assert len(masks) == 3 * len({".mask.png", ".json"})
    # The log has the reason, without a name.
    log = bench.function.log.read_text()
    assert "SlowDown" in log
    assert keys[1] not in log


def test_log_counts_images_by_outcome(bench: Bench, rg1_png: bytes) -> None:
    bench.s3.put_object(Bucket=INPUTS, Key="count/good", Body=smaller(rg1_png))
    bench.s3.put_object(Bucket=INPUTS, Key="count/bad", Body=b"")
    assert deliver(bench.function, "count/good", "count/bad", "count/gone") == []
    lines = bench.function.log.read_text().splitlines()
    metrics = [json.loads(line) for line in lines if line.startswith("{") and "_aws" in line]
    counts = {name: value for name, value in metrics[-1].items() if name.startswith("Images")}
    assert counts == {
        "ImagesDone": [1],
        "ImagesFailed": [1],
        "ImagesGone": [1],
        "ImagesSkipped": [0],
        "ImagesLater": [0],
    }
    assert metrics[-1]["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "LungSegmentation"
    assert any("1 done, 1 failed, 1 gone" in line and "empty-body 1" in line for line in lines)
