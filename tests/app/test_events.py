"""Direct invocations, and events that are malformed."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from buckets import Buckets, Context, operations_event, s3_event, sns_message, sqs_event
from films import read_mask

from app.dispatch import handle
from app.invocation import UnsupportedEvent
from lungseg.encode.png import mask_png
from lungseg.pipeline.segment import segment


def test_direct_event_returns_the_mask_key(buckets: Buckets, small: bytes) -> None:
    buckets.drop("path/image.jpg", small)
    for _ in range(2):  # the second time, it exists already
        answer = handle({"image_key": "path/image.jpg"}, Context())
        assert answer["status"] == "done"
        assert answer["bucket"] == buckets.outputs
        assert read_mask(buckets.get(answer["mask_key"])).any()


def test_direct_event_returns_the_mask_on_request(buckets: Buckets, small: bytes) -> None:
    buckets.drop("film", small)
    answer = handle({"image_key": "film", "return": "mask"}, Context())
    assert base64.b64decode(answer["content"]) == mask_png(segment(small).mask)
    assert answer["media_type"] == "image/png"
    assert answer["decision"] == "accept"
    assert buckets.written() == set()


def test_direct_event_selects_a_format(buckets: Buckets, small: bytes) -> None:
    buckets.drop("film", small)
    assert handle({"image_key": "film", "format": "labels"}, Context())["mask_key"] == "film.labels.png"
    assert handle({"image_key": "film", "format": "json", "return": "mask"}, Context())["content"]


def test_direct_event_keeps_other_formats(buckets: Buckets, small: bytes) -> None:
    buckets.drop("film", small)
    buckets.do("film")
    first = buckets.etags()["film.mask.png"]
    handle({"image_key": "film", "format": "labels"}, Context())
    assert buckets.written() == {"film.mask.png", "film.labels.png", "film.json"}
    assert buckets.etags()["film.mask.png"].split()[0] == first.split()[0]
    assert buckets.do("film") == {"skipped": 1}
    assert buckets.written() == {"film.mask.png", "film.labels.png", "film.json"}


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"image_key": "nowhere"}, "no-such-film"),
        ({"image_key": "nowhere", "return": "mask"}, "no-such-film"),
        ({"image_key": ""}, "bad-parameter"),
        ({"image_key": 7}, "bad-parameter"),
        ({"image_key": "a", "format": "gif"}, "bad-parameter"),
        ({"image_key": "a", "format": ["mask"]}, "bad-parameter"),
        ({"image_key": "a", "return": "film"}, "bad-parameter"),
        ({"image_key": "a", "colour": "red"}, "bad-parameter"),
        ({"image_key": "bad", "return": "mask"}, "unsupported-format"),
    ],
)
def test_invalid_direct_event_is_rejected(event: dict[str, Any], code: str, buckets: Buckets) -> None:
    buckets.drop("bad", b"no image")
    answer = handle(event, Context())
    assert answer["status"] == "failed"
    assert answer["problem"]["code"] == code


@pytest.mark.parametrize("key", [7, None, [], "\ud800", "", "k" * 1025])
def test_invalid_object_names_are_not_retried(key: Any, buckets: Buckets) -> None:
    """Such an event would be retried for ever."""
    (result,) = handle(operations_event(buckets.films, "a") | {"tasks": [{"taskId": "1", "s3Key": key}]}, Context())[
        "results"
    ]
    assert result["resultCode"] == "PermanentFailure"
    with pytest.raises(UnsupportedEvent):
        handle({"BatchInput": {"bucket": buckets.films}, "Items": [{"Key": key}]}, Context())
    with pytest.raises(UnsupportedEvent):
        handle({"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": key}}}, Context())
    assert handle({"image_key": key}, Context())["problem"]["code"] == "bad-parameter"


@pytest.mark.parametrize(
    "event",
    [
        {"invocationSchemaVersion": "1.0", "tasks": [None]},
        {"Items": [], "BatchInput": {}, "counts": 7},
        {"Items": [], "BatchInput": {}, "counts": {"done": None}},
        {"Items": [], "BatchInput": {}, "attempt": "1"},
        {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
        {"Records": [{"eventSource": "aws:sqs", "messageId": None, "body": "{}"}]},
    ],
)
def test_incomplete_event_is_unsupported(event: dict[str, Any], buckets: Buckets) -> None:
    with pytest.raises(UnsupportedEvent):
        handle(event, Context())


def test_malformed_messages_are_returned(buckets: Buckets, small: bytes) -> None:
    buckets.drop("a", small)
    wrapped = [sns_message("text"), sns_message({}) | {"Message": 7}, sns_message({}) | {"Message": "[" * 100_000}]
    bodies = (s3_event(buckets.films, "a"), "[" * 100_000, "null", "7", '"text"', "\ufeff{}", *wrapped)
    event = sqs_event(*bodies)
    event["Records"][3]["body"] = 7
    del event["Records"][4]["body"]
    failures = handle(event, Context())["batchItemFailures"]
    assert [each["itemIdentifier"] for each in failures] == [str(number) for number in range(1, 9)]
    assert "a.json" in buckets.written()
