"""The functions' settings of buckets, from environment variables."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from lungseg import settings as variables
from lungseg.encode.formats import FORMATS
from lungseg.errors import ModelError

DOCUMENT_FORMAT = "json"
"""The format that every image gets, and that is written last: if it exists, so do the others."""


class Misconfigured(Exception):
    """An environment variable is missing or invalid. Only the operator can fix it."""


@dataclass(frozen=True)
class BucketSettings:
    """The validated settings.

    Attributes:
        images: the input bucket.
        outputs: the output bucket; never the same one, or each mask would be processed as an image.
        formats: names of FORMATS to write for each image besides the JSON document.
        url_seconds: how long presigned URLs are valid.
    """

    images: str
    outputs: str
    formats: tuple[str, ...]
    url_seconds: int


def has_buckets() -> bool:
    """Return whether buckets are configured at all."""
    return bool(variables.INPUT_BUCKET.read("") or variables.OUTPUT_BUCKET.read(""))


@functools.cache
def read_bucket_settings() -> BucketSettings:
    """Read LUNG_INPUT_BUCKET, LUNG_OUTPUT_BUCKET, LUNG_FORMATS ("mask") and LUNG_UPLOAD_SECONDS ("900").

    Raises:
        Misconfigured.
    """
    images, outputs = variables.INPUT_BUCKET.read(""), variables.OUTPUT_BUCKET.read("")
    if not images or not outputs:
        raise Misconfigured("LUNG_INPUT_BUCKET and LUNG_OUTPUT_BUCKET must name the input and the output bucket.")
    if images == outputs:
        raise Misconfigured(
            "LUNG_INPUT_BUCKET and LUNG_OUTPUT_BUCKET must differ, or masks would be processed as images."
        )
    formats = variables.BUCKET_FORMATS.read(["mask"])
    if not set(formats) <= set(FORMATS):
        raise Misconfigured(f"LUNG_FORMATS may name {', '.join(FORMATS)}, separated by spaces.")
    try:
        seconds = variables.UPLOAD_SECONDS.read(900)
    except ModelError as error:
        raise Misconfigured(str(error)) from None
    return BucketSettings(images, outputs, tuple(name for name in formats if name != DOCUMENT_FORMAT), seconds)
