"""Images in buckets: every event's shape, and the outputs afterwards."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from buckets import SHAPES, Buckets, Context, make, map_event, operations_event, s3_event, sqs_event
from films import RAMP16, dicom

from app import invocation
from app.buckets import process
from app.buckets.s3 import ObjectStore, StoreError
from app.buckets.settings import Misconfigured
from app.dispatch import handle
from app.events import distributed_map
from lungseg.encode.png import mask_png
from lungseg.pipeline.segment import segment


@pytest.mark.parametrize("shape", SHAPES)
def test_every_event_writes_mask_and_document(shape: str, buckets: Buckets, small: bytes) -> None:
    key = "in/a b+c%20ü/film.dcm"
    buckets.drop(key, small)
    answer = handle(SHAPES[shape](buckets.films, key), Context())
    assert buckets.written() == {f"{key}.mask.png", f"{key}.json"}
    assert buckets.get(f"{key}.mask.png") == mask_png(segment(small).mask)
    assert json.loads(buckets.get(f"{key}.json"))["verdict"]["decision"] == "accept"
    assert json.loads(json.dumps(answer)) == answer


@pytest.mark.parametrize("shape", SHAPES)
def test_every_event_of_a_bad_image_writes_a_problem(shape: str, buckets: Buckets) -> None:
    buckets.drop("text.png", b"no image")
    answer = handle(SHAPES[shape](buckets.films, "text.png"), Context())
    assert buckets.written() == {"text.png.error.json"}
    assert json.loads(buckets.get("text.png.error.json"))["code"] == "unsupported-format"
    assert "batchItemFailures" not in answer or answer["batchItemFailures"] == []


RESERVED = ("bucket=", "key=", "jobs/", "begun/", "backfill-reports/")

KEYS = [
    " ",
    "a b.png",
    "a+b.png",
    "a%2Bb.png",
    "a&b=c?d#e.png",
    "ü/日本語/🫁.png",
    "e\u0301.png",
    "dir//double/.png",
    "k" * 1024,
    "ä" * 512,
    "x.error",
    "x.rle",
    "x.mask.png",
    "bucket=other/x.png",
    "key=bucket=other/x.png",
    "jobs/x.png",
    "begun/x.png",
    "backfill-reports/x.png",
]


def test_outputs_of_odd_keys_do_not_collide(buckets: Buckets, small: bytes) -> None:
    for key in KEYS:
        buckets.drop(key, small)
    assert buckets.do(*KEYS) == {"done": len(KEYS)}
    outputs = buckets.written()
    assert len(outputs) == 2 * len(KEYS)
    assert all(len(key.encode()) <= 1024 for key in outputs)
    changed = {key for key in KEYS if len(key) > 500 or key.startswith(RESERVED)} | {"x.error", "x.rle"}
    assert {f"{key}.mask.png" for key in KEYS if key not in changed} < outputs
    # No lifecycle rule of the template is for the outputs of images: those rules name these prefixes.
    assert not [key for key in outputs if key.startswith(("jobs/", "begun/", "backfill-reports/", "bucket="))]


def test_duplicate_event_changes_nothing(buckets: Buckets, small: bytes) -> None:
    buckets.drop("a.png", small)
    buckets.do("a.png")
    before = buckets.etags()
    assert buckets.do("a.png", "a.png") == {"skipped": 2}
    assert buckets.etags() == before


def test_partial_outputs_are_completed(buckets: Buckets, small: bytes) -> None:
    """A function may crash at any point; its event is delivered again."""
    buckets.drop("a.png", small)
    buckets.do("a.png")
    buckets.client.delete_object(Bucket=buckets.outputs, Key="a.png.json")
    assert buckets.do("a.png") == {"done": 1}
    assert buckets.written() == {"a.png.mask.png", "a.png.json"}


def test_new_version_replaces_outputs(buckets: Buckets, small: bytes, rg1_png: bytes) -> None:
    for film in (rg1_png, small):
        buckets.drop("a.png", film)
        buckets.do("a.png")
        assert buckets.get("a.png.mask.png") == mask_png(segment(film).mask)
    assert buckets.do("a.png") == {"skipped": 1}


def test_image_has_either_mask_or_error(buckets: Buckets, small: bytes) -> None:
    buckets.drop("a.png", small)
    buckets.do("a.png")
    buckets.drop("a.png", small[:1000])
    assert buckets.do("a.png") == {"failed": 1}
    assert buckets.written() == {"a.png.error.json"}
    buckets.drop("a.png", small)
    assert buckets.do("a.png") == {"done": 1}
    assert buckets.written() == {"a.png.mask.png", "a.png.json"}


@pytest.mark.parametrize("suffix", [".mask.png", ".error.json"])
def test_outputs_of_a_crashed_older_worker_are_replaced(
    suffix: str, buckets: Buckets, small: bytes, rg1_png: bytes
) -> None:
    """It wrote after the worker of the newer version and crashed before it saw that; the repeated event replaces it."""
    buckets.drop("a.png", rg1_png if suffix == ".mask.png" else b"no image")
    buckets.do("a.png")
    late = buckets.client.get_object(Bucket=buckets.outputs, Key=f"a.png{suffix}")
    content, stamp = late["Body"].read(), late["Metadata"]
    buckets.drop("a.png", small)
    buckets.do("a.png")
    buckets.client.put_object(Bucket=buckets.outputs, Key=f"a.png{suffix}", Body=content, Metadata=stamp)
    assert buckets.do("a.png") == {"done": 1}
    assert buckets.written() == {"a.png.mask.png", "a.png.json"}
    assert buckets.get("a.png.mask.png") == mask_png(segment(small).mask)
    assert buckets.do("a.png") == {"skipped": 1}


@pytest.mark.parametrize("newer_is_good", [True, False])
def test_image_replaced_during_processing_is_processed_again(
    newer_is_good: bool, buckets: Buckets, small: bytes, rg1_png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = small if newer_is_good else b"no image"
    buckets.drop("a.png", rg1_png)
    original = process.segment

    def slow(data: bytes, *args: Any) -> Any:
        if data == rg1_png:
            buckets.drop("a.png", newer)
            monkeypatch.setattr(process, "segment", original)
            buckets.do("a.png")  # somebody else does the newer one meanwhile
        return original(data, *args)

    monkeypatch.setattr(process, "segment", slow)
    buckets.do("a.png")
    if newer_is_good:
        assert buckets.written() == {"a.png.mask.png", "a.png.json"}
        assert buckets.get("a.png.mask.png") == mask_png(segment(small).mask)
    else:
        assert buckets.written() == {"a.png.error.json"}


def test_eight_concurrent_workers_write_one_mask(buckets: Buckets, small: bytes) -> None:
    buckets.drop("a.png", small)
    threads = [threading.Thread(target=buckets.do, args=("a.png",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert buckets.written() == {"a.png.mask.png", "a.png.json"}
    buckets.client.put_bucket_versioning(Bucket=buckets.outputs, VersioningConfiguration={"Status": "Enabled"})
    assert buckets.do("a.png") == {"skipped": 1}


def test_objects_that_are_no_images_are_ignored(buckets: Buckets, small: bytes) -> None:
    buckets.client.put_object(Bucket=buckets.films, Key="folder/")
    buckets.client.put_object(Bucket=buckets.outputs, Key="mask.png", Body=small)
    assert handle({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": buckets.films}, Context()) == {}
    assert handle(sqs_event({"Event": "s3:TestEvent", "Service": "Amazon S3"}), Context()) == {"batchItemFailures": []}
    assert handle(s3_event(buckets.films, "a.png", name="ObjectRemoved:Delete"), Context()) == {}
    assert buckets.do("folder/", "deleted.png") == {"gone": 2}
    assert handle(s3_event(buckets.outputs, "mask.png"), Context()) == {"gone": 1}
    assert buckets.written() == {"mask.png"}


def unavailable(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    """S3 throttles some keys."""
    original = ObjectStore.open_object

    def throttled(self: ObjectStore, bucket: str, key: str) -> Any:
        if key in keys:
            raise StoreError("S3 answered SlowDown to GetObject.")
        return original(self, bucket, key)

    monkeypatch.setattr(ObjectStore, "open_object", throttled)


def test_throttling_fails_only_its_own_message(buckets: Buckets, small: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("0", "1", "2"):
        buckets.drop(key, small)
    unavailable(monkeypatch, "1")
    event = sqs_event(*(s3_event(buckets.films, key) for key in "012"), "no JSON", {"no": "notification"})
    failures = handle(event, Context())["batchItemFailures"]
    assert [each["itemIdentifier"] for each in failures] == ["1", "3", "4"]
    assert buckets.written() == {"0.mask.png", "0.json", "2.mask.png", "2.json"}


def test_throttling_is_reported_to_every_source(
    buckets: Buckets, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a", "b"):
        buckets.drop(key, small)
    unavailable(monkeypatch, "a")
    with pytest.raises(StoreError):
        buckets.do("a", "b")
    assert "b.json" in buckets.written()
    left = handle(map_event(buckets.films, "a", "b"), Context())
    assert [item["Key"] for item in left["Items"]] == ["a"]
    assert left["counts"] == {"skipped": 1}
    (result,) = handle(operations_event(buckets.films, "a"), Context())["results"]
    assert result["resultCode"] == "TemporaryFailure"
    with pytest.raises(StoreError):
        handle({"image_key": "a"}, Context())
    with pytest.raises(distributed_map.UnfinishedBatch):
        for _ in range(distributed_map.MAX_IDLE_ROUNDS):
            left = handle(left, Context())


def test_map_completes_after_throttling(buckets: Buckets, small: bytes) -> None:
    buckets.drop("a", small)
    buckets.drop("b", b"no image")
    late = handle(map_event(buckets.films, "a", "b"), Context(invocation.MIN_REMAINING_MS - 1))
    assert [item["Key"] for item in late["Items"]] == ["a", "b"]
    assert buckets.written() == set()
    end = handle(late, Context())
    assert end["Items"] == []
    assert end["counts"] == {"done": 1, "failed": 1}


def test_images_without_time_left_are_returned(buckets: Buckets, small: bytes) -> None:
    buckets.drop("a", small)
    event = sqs_event(s3_event(buckets.films, "a"))
    assert handle(event, Context(invocation.MIN_REMAINING_MS - 1))["batchItemFailures"] == [{"itemIdentifier": "0"}]
    assert handle(event, Context())["batchItemFailures"] == []


def test_formats_of_the_settings_are_written(buckets: Buckets, rg1: bytes, small: bytes, monkeypatch: Any) -> None:
    monkeypatch.setenv("LUNG_FORMATS", "labels dicom-seg json")
    buckets.drop("a.dcm", rg1)
    buckets.drop("b.png", small)
    assert buckets.do("a.dcm", "b.png") == {"done": 2}
    seg = {"a.dcm.labels.png", "a.dcm.seg.dcm", "a.dcm.json"}
    assert buckets.written() == seg | {"b.png.labels.png", "b.png.json"}


def test_images_of_another_bucket_have_separate_outputs(buckets: Buckets, small: bytes) -> None:
    other = f"other-{buckets.films}"[:63].strip("-")
    buckets.client.create_bucket(Bucket=other, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    buckets.client.put_object(Bucket=other, Key="a.png", Body=small)
    handle(s3_event(other, "a.png"), Context())
    assert buckets.written() == {f"bucket={other}/a.png.mask.png", f"bucket={other}/a.png.json"}


def test_keys_are_not_logged(
    buckets: Buckets, small: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("INFO")  # of all loggers, boto3's too
    for name, film in (("CANARY-good", small), ("CANARY-bad", b"CANARY"), ("CANARY-dicom", dicom_with_canary())):
        buckets.drop(name, film)
        for shape in SHAPES.values():
            handle(shape(buckets.films, name), Context())
    told = caplog.text + "".join(capfd.readouterr())
    assert "images: 1 done" in told
    assert "ImagesDone" in told
    assert "CANARY" not in told
    for key in buckets.written():
        head = buckets.client.head_object(Bucket=buckets.outputs, Key=key)
        assert "CANARY" not in str(head["Metadata"])
        assert b"CANARY" not in buckets.get(key)


def dicom_with_canary() -> bytes:
    return dicom(RAMP16, PatientName="CANARY", PatientID="CANARY", StudyDescription="CANARY")


@pytest.mark.parametrize(
    "wrong",
    [
        {"LUNG_OUTPUT_BUCKET": ""},
        {"LUNG_INPUT_BUCKET": "same", "LUNG_OUTPUT_BUCKET": "same"},
        {"LUNG_FORMATS": "mask nothing"},
        {"LUNG_UPLOAD_SECONDS": "soon"},
    ],
)
def test_invalid_settings_raise_an_error(
    wrong: dict[str, str], buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured, match="LUNG_"):
        buckets.do("a.png")


def test_oversized_image_is_rejected_unread(buckets: Buckets, small: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lungseg.limits.MAX_BYTES", len(small) - 1)
    buckets.drop("a", small)
    assert buckets.do("a") == {"failed": 1}
    assert json.loads(buckets.get("a.error.json"))["code"] == "too-large"


def test_unversioned_bucket_works(s3: str, monkeypatch: pytest.MonkeyPatch, small: bytes) -> None:
    buckets = make(s3, monkeypatch, versioned=False)
    buckets.drop("a", small)
    assert buckets.do("a", "a") == {"done": 1, "skipped": 1}
    buckets.drop("a", b"no image")
    assert buckets.do("a") == {"failed": 1}
