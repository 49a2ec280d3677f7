"""What the functions are told by their environment."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from lungseg import settings as variables
from lungseg.encode.formats import FORMATS
from lungseg.errors import ModelError

DOCUMENT_FORMAT = "json"
"""The form that is written of every image, and last: where it lies, all the others do."""


class Misconfigured(Exception):
    """The environment lacks something or contradicts itself. Only the operator can mend it."""


@dataclass(frozen=True)
class BucketSettings:
    """The environment, read and checked.

    Attributes:
        images: the bucket that images are dropped into.
        outputs: the bucket of masks; never the same one, or each mask would be taken for the next image.
        formats: names of FORMATS to write of each image besides the JSON document.
        url_seconds: how long presigned addresses hold.
    """

    images: str
    outputs: str
    formats: tuple[str, ...]
    url_seconds: int


def has_buckets() -> bool:
    """Whether buckets are named at all: a local server has none."""
    return bool(variables.INPUT_BUCKET.read("") or variables.OUTPUT_BUCKET.read(""))


@functools.cache
def read_bucket_settings() -> BucketSettings:
    """LUNG_INPUT_BUCKET, LUNG_OUTPUT_BUCKET, LUNG_FORMATS ("mask") and LUNG_UPLOAD_SECONDS ("900").

    Raises:
        Misconfigured.
    """
    images, outputs = variables.INPUT_BUCKET.read(""), variables.OUTPUT_BUCKET.read("")
    if not images or not outputs:
        raise Misconfigured("LUNG_INPUT_BUCKET and LUNG_OUTPUT_BUCKET must name the buckets of images and of masks.")
    if images == outputs:
        raise Misconfigured("LUNG_INPUT_BUCKET and LUNG_OUTPUT_BUCKET must differ: masks would be taken for images.")
    formats = variables.BUCKET_FORMATS.read(["mask"])
    if not set(formats) <= set(FORMATS):
        raise Misconfigured(f"LUNG_FORMATS may name {', '.join(FORMATS)}, separated by spaces.")
    try:
        seconds = variables.UPLOAD_SECONDS.read(900)
    except ModelError as error:
        raise Misconfigured(str(error)) from None
    return BucketSettings(images, outputs, tuple(name for name in formats if name != DOCUMENT_FORMAT), seconds)
