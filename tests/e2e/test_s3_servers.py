"""The S3 conditions that the batch path relies on, checked on both servers that other tests use."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from batch_functions import OUTPUTS, make_buckets
from botocore.exceptions import ClientError
from servers import moto, seaweed

RIVALS = 8


@pytest.fixture(scope="module", params=[moto, seaweed], ids=["moto", "seaweed"])
def s3(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield a client of each server."""
    with request.param(tmp_path_factory.mktemp("s3")) as server:
        client = server.client("s3", retries={"total_max_attempts": 1})
        make_buckets(client)
        yield client


def put(s3: Any, key: str, body: bytes = b"", **condition: str) -> int:
    """Write an object; return the status."""
    return status(lambda: s3.put_object(Bucket=OUTPUTS, Key=key, Body=body, **condition))


def status(call: Any) -> int:
    """Return the status of a call."""
    try:
        answer = call()
    except ClientError as error:
        answer = error.response
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def test_first_write_wins_and_keeps_its_metadata(s3: Any) -> None:
    first = s3.put_object(Bucket=OUTPUTS, Key="one", Body=b"first", IfNoneMatch="*", Metadata={"film-version": "v1"})
    assert put(s3, "one", b"second", IfNoneMatch="*") == 412
    found = s3.get_object(Bucket=OUTPUTS, Key="one")
    assert (found["Body"].read(), found["Metadata"]) == (b"first", {"film-version": "v1"})
    assert found["ETag"] == first["ETag"]
    assert found["VersionId"] == first["VersionId"]


def test_replacement_needs_the_current_etag(s3: Any) -> None:
    etag = s3.put_object(Bucket=OUTPUTS, Key="two", Body=b"first")["ETag"]
    assert put(s3, "two", b"second", IfMatch=etag) == 200
    assert put(s3, "two", b"third", IfMatch=etag) == 412
    # AWS and moto say 404, SeaweedFS 412.
    assert put(s3, "two's absence", IfMatch=etag) in (404, 412)


def test_removal_may_need_the_current_etag(s3: Any) -> None:
    old = s3.put_object(Bucket=OUTPUTS, Key="three", Body=b"first")["ETag"]
    new = s3.put_object(Bucket=OUTPUTS, Key="three", Body=b"second")["ETag"]
    assert status(lambda: s3.delete_object(Bucket=OUTPUTS, Key="three", IfMatch=old)) == 412
    assert status(lambda: s3.head_object(Bucket=OUTPUTS, Key="three")) == 200
    assert status(lambda: s3.delete_object(Bucket=OUTPUTS, Key="three", IfMatch=new)) == 204
    assert status(lambda: s3.head_object(Bucket=OUTPUTS, Key="three")) == 404
    # After a removal, the first write wins again.
    assert put(s3, "three", IfNoneMatch="*") == 200


@pytest.mark.parametrize("kind", ["first", "replacement"])
def test_one_of_many_concurrent_writes_wins(s3: Any, kind: str) -> None:
    for number in range(10):
        key, condition = f"{kind}{number}", {"IfNoneMatch": "*"}
        if kind == "replacement":
            condition = {"IfMatch": s3.put_object(Bucket=OUTPUTS, Key=key, Body=b"start")["ETag"]}
        with ThreadPoolExecutor(RIVALS) as pool:
            runs = [pool.submit(put, s3, key, str(rival).encode(), **condition) for rival in range(RIVALS)]
        answers = [run.result() for run in runs]
        assert sorted(answers) == [200] + [412] * (RIVALS - 1)
        assert s3.get_object(Bucket=OUTPUTS, Key=key)["Body"].read() == str(answers.index(200)).encode()
