"""Check the output bucket and the logs after all messages were processed."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

from batch_functions import INPUTS, OUTPUTS
from objects import NAME, Object

from app.buckets.keys import MARKERS_PREFIX
from lungseg.encode.naming import output_name
from lungseg.encode.png import mask_png
from lungseg.pipeline.segment import segment


@dataclass(frozen=True)
class Output:
    """An object of the output bucket.

    Attributes:
        versions: how often it was written.
    """

    body: bytes
    media_type: str
    metadata: dict[str, str]
    versions: int


def read_outputs(s3: Any) -> dict[str, Output]:
    """Return all outputs by key, without the markers of killed calls."""
    written = Counter(
        version["Key"]
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=OUTPUTS)
        for version in page.get("Versions", [])
    )

    def fetch(key: str) -> Output:
        answer = s3.get_object(Bucket=OUTPUTS, Key=key)
        count = written[key]
        if count == 0:
            # SeaweedFS omits keys from the second page of its list of versions.
            versions = s3.list_object_versions(Bucket=OUTPUTS, Prefix=key)["Versions"]
            count = sum(version["Key"] == key for version in versions)
        return Output(answer["Body"].read(), answer["ContentType"], answer["Metadata"], count)

    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=OUTPUTS)
    keys = [each["Key"] for page in pages for each in page.get("Contents", [])]
    keys = [key for key in keys if not key.startswith(MARKERS_PREFIX)]
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(keys, pool.map(fetch, keys), strict=True))


def output_key(key: str, suffix: str) -> str:
    """Return the S3 key of an output."""
    return output_name(key, suffix, 1024)


def check_outputs(s3: Any, objects: list[Object], found: dict[str, Output]) -> None:
    """Assert that valid images have mask and JSON, rejected ones a problem document, and nothing else exists."""
    expected: set[str] = set()
    masks = {body: mask_png(segment(body).mask) for body in {each.body for each in objects if each.code is None}}
    for each in objects:
        mask, document, error = (output_key(each.key, suffix) for suffix in (".mask.png", ".json", ".error.json"))
        version = s3.head_object(Bucket=INPUTS, Key=each.key)["VersionId"]
        expected |= {mask, document} if each.code is None else {error}
        if each.code is None:
            assert found[mask].body == masks[each.body]
            assert found[mask].media_type == "image/png"
            assert found[mask].metadata["film-version"] == found[document].metadata["film-version"] == version
            assert found[document].media_type == "application/json"
            assert json.loads(found[document].body)["verdict"]
        else:
            assert json.loads(found[error].body)["code"] == each.code
            assert found[error].media_type == "application/problem+json"
            assert found[error].metadata["film-version"] == version
    assert set(found) == expected


def check_written_once(found: dict[str, Output], objects: list[Object], replaced: set[str]) -> None:
    """Assert that only outputs of replaced images were written more than once."""
    suffixes = (".mask.png", ".json", ".error.json")
    free = {output_key(each.key, suffix) for each in objects if each.key in replaced for suffix in suffixes}
    assert {key for key, output in found.items() if output.versions != 1} <= free


def check_logs(logs: Iterable[Path], objects: list[Object]) -> None:
    """Assert that the logs contain every batch, and no key in any encoding."""
    text = "\n".join(log.read_text(errors="replace") for log in logs)
    assert text.count("REPORT RequestId") > 10
    assert NAME.lower() not in text.lower()
    spellings: list[Callable[[str], str]] = [
        str,
        quote,
        quote_plus,
        json.dumps,
        ascii,
        lambda key: base64.b64encode(key.encode()).decode(),
    ]
    assert not [each.key for each in objects if any(spell(each.key) in text for spell in spellings)]
