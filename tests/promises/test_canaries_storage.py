"""Canaries in bucket images appear in no log, metric, problem document, output or output metadata. A key appears only
in the keys of its own outputs.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from buckets import SHAPES, Buckets, Context, sqs_event
from canaries import canary, caught
from canary_images import CARRIED, CanaryImage
from canary_requests import failures, raising
from leak_check import CHANNELS, PATIENT_FORMATS, LeakCheck, some
from ledger import WHOLE, Ledger

import serverless
from app import dispatch
from app.buckets import s3
from lungseg.encode.formats import FORMATS

KEY = f"{canary('prefix')}/{canary('folder')} ü+%20/{canary('key')}.dcm"
KEY_PLACES = frozenset({"prefix", "folder", "key"})
BESIDE = {
    "Metadata": {canary("metadataName").lower(): canary("metadata")},
    "ContentType": f"image/{canary('objectType')}",
    "ContentDisposition": f'attachment; filename="{canary("objectDisposition")}"',
    "ContentLanguage": canary("objectLanguage"),
    "Tagging": f"{canary('tagName')}={canary('tag')}",
}
"""Metadata of an image in its bucket."""


def test_bucket_image_leaks_no_canary(
    leaks: LeakCheck,
    images: list[tuple[CanaryImage, str | None]],
    buckets: Buckets,
    monkeypatch: pytest.MonkeyPatch,
    ledger: Ledger,
) -> None:
    monkeypatch.setenv("LUNG_FORMATS", "mask labels overlay cutout isolated contours preview")
    dispatch.read_bucket_settings.cache_clear()
    placed = KEY_PLACES | caught(repr(BESIDE))
    for image, code in some(images, 9, lambda each: each[1]):
        buckets.client.put_object(Bucket=buckets.films, Key=KEY, Body=image.data, **BESIDE)
        for shape, make in some(SHAPES.items(), 1):
            # The response goes to the sender of the event, who named the key.
            told = answered(make(buckets.films, KEY))
            assert "Error" not in told, told
            leaks.search(
                f"{image.name}, {shape}", placed | image.places, told, allowed=KEY_PLACES if code_free(told) else ()
            )
        stored = buckets.written()
        assert any(key.endswith(".error.json") for key in stored) == (code is not None), image.name
        for key in stored:
            head = buckets.client.head_object(Bucket=buckets.outputs, Key=key)
            head["ResponseMetadata"] = None
            tags = buckets.client.get_object_tagging(Bucket=buckets.outputs, Key=key)["TagSet"]
            leaks.search(f"{image.name}, {key[-12:]}", placed | image.places, repr((head, tags)), buckets.get(key))
            assert key.startswith(KEY)
    bodies_of_direct_calls(leaks, images, buckets)
    failures_of_storage(leaks, images[0][0], buckets, monkeypatch)
    leaks.enter(
        ledger,
        "images in buckets",
        f"{CHANNELS}, responses, errors that Lambda reports, outputs and their metadata",
    )


def code_free(told: str) -> bool:
    """Return whether a response may name the image: a problem document may not."""
    return "urn:lung-segmentation:problem" not in told


def answered(event: Any, milliseconds: int = 60_000) -> str:
    """Return the response to an event, or the error that Lambda writes to its log."""
    try:
        return json.dumps(serverless.handler(event, Context(milliseconds)))
    except Exception as error:
        return "Error: " + "".join(traceback.format_exception(error))


def bodies_of_direct_calls(leaks: LeakCheck, images: list[tuple[CanaryImage, str | None]], buckets: Buckets) -> None:
    """Call the function directly for the bytes of each output format."""
    for image, _ in images[:8] if WHOLE else images[5:6]:
        buckets.client.put_object(Bucket=buckets.films, Key=KEY, Body=image.data, **BESIDE)
        for form in FORMATS if WHOLE else PATIENT_FORMATS:
            answer = serverless.handler({"image_key": KEY, "format": form, "return": "mask"}, Context())
            content = base64.b64decode(answer.pop("content", ""))
            allowed = CARRIED if form in PATIENT_FORMATS and "dicom" in image.name.lower() else ()
            leaks.search(f"{image.name}, direct, {form}", image.places, repr(answer), content, allowed=allowed)


def failures_of_storage(
    leaks: LeakCheck, image: CanaryImage, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Send events for which S3 fails, and invalid events; every text of S3 quotes the key."""
    buckets.client.put_object(Bucket=buckets.films, Key=KEY, Body=image.data, **BESIDE)
    nowhere = f"nowhere-{canary('bucket').lower()}"
    odd = (f"\0{KEY}", KEY * 30, f"{KEY}\ud800")
    for shape, make in some(SHAPES.items(), 3):
        event = make(nowhere, KEY)
        # A direct call without a bucket means the input bucket.
        leaks.search(f"{shape}, no bucket", KEY_PLACES | {"bucket"}, only_items(answered(event)), allowed=stated(event))
        event = make(buckets.films, KEY)
        leaks.search(f"{shape}, no time", KEY_PLACES, only_items(answered(event, 0)), allowed=stated(event))
        with monkeypatch.context() as patch:
            patch.setattr("app.buckets.process.segment", raising(next(failures())))
            leaks.search(f"{shape}, internal error", KEY_PLACES, only_items(answered(event)), allowed=stated(event))
    for key in odd:
        for event in ({"image_key": key}, sqs_event(f"{{{key}"), {"Items": [{"Key": key}], "BatchInput": {key: key}}):
            leaks.search("odd key", KEY_PLACES, answered(event))
    for text in (
        {canary("unknown"): canary("event")},
        {"Records": [{"eventSource": canary("source")}]},
        canary("event"),
    ):
        leaks.search("unknown event", {"unknown", "event"}, answered(text))
    for code, status in some((("AccessDenied", 403), ("SlowDown", 503), ("InvalidObjectState", 403)), 1):
        body = f"<Error><Code>{code}</Code><Message>{KEY}</Message><Key>{KEY}</Key></Error>".encode()
        for failure in (_answering(status, body), raising(ConnectionError(KEY)), raising(OSError(5, KEY))):
            forgotten = s3.get_store()._client.meta.events
            forgotten.register("before-send.s3.GetObject", failure)
            with no_pauses():
                for event in (SHAPES["s3"](buckets.films, KEY), {"image_key": KEY, "return": "mask"}):
                    told = answered(event)
                    allowed = KEY_PLACES if code_free(told) and '"keys"' in told else ()
                    leaks.search(f"S3 {code}", KEY_PLACES, told, allowed=allowed)
            forgotten.unregister("before-send.s3.GetObject", failure)


def _answering(status: int, body: bytes) -> Callable[..., AWSResponse]:
    class Raw(io.BytesIO):
        def stream(self, **_: object) -> Iterator[bytes]:
            yield self.read()

    return lambda request, **_: AWSResponse(request.url, status, {}, Raw(body))


@contextlib.contextmanager
def no_pauses() -> Iterator[None]:
    """Make boto3 retry without waiting."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", lambda _: None)
        yield


def only_items(told: str) -> str:
    """Return a response without the items that a state machine sends again."""
    if told.startswith("{"):
        answer = json.loads(told)
        answer.pop("Items", None)
        answer.pop("BatchInput", None)
        return json.dumps(answer)
    return told


def stated(event: dict[str, Any]) -> frozenset[str]:
    """Return the canaries that the response to a direct call contains: those of its output keys."""
    return KEY_PLACES if "image_key" in event else frozenset()
