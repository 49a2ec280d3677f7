"""Where things lie in the buckets."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from app.buckets.settings import DOCUMENT_FORMAT, BucketSettings
from lungseg.encode.formats import FORMATS
from lungseg.encode.naming import ERROR_SUFFIX, output_name

MAX_KEY_BYTES = 1024
"""Bytes of a key's UTF-8 that S3 allows (S3 user guide, "Naming Amazon S3 objects")."""

OTHER_BUCKET_PREFIX, ESCAPED_PREFIX = "bucket=", "key="
"""What the outputs' keys begin with for images of another bucket, and for images whose own keys would collide."""

JOBS_PREFIX, MARKERS_PREFIX, REPORTS_PREFIX = "jobs/", "begun/", "backfill-reports/"
"""Prefixes of the bucket of outputs with a lifecycle rule of their own in template.yaml."""

_RESERVED_PREFIXES = (OTHER_BUCKET_PREFIX, ESCAPED_PREFIX, JOBS_PREFIX, MARKERS_PREFIX, REPORTS_PREFIX)

_SHORTENED_NAME = re.compile(r"~[0-9a-f]{16}$")
"""How `naming.output_name` ends a name that it had to change."""

_JOB_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ImageLocation:
    """One image to do: the object as it is now, whichever of its versions an event spoke of."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, bucket: Any, key: Any) -> ImageLocation:
        """The object that an event names.

        Raises:
            ValueError: none can have such a name.
        """
        for name in (bucket, key):
            # A lone surrogate, which JSON can hold, has no UTF-8.
            if not isinstance(name, str) or not 0 < len(name.encode()) <= MAX_KEY_BYTES:
                raise ValueError("no object is named")
        return cls(bucket, key)


@dataclass(frozen=True)
class OutputKeys:
    """The keys that one image's outputs have, or would have, in the bucket of outputs."""

    stem: str

    @classmethod
    def of(cls, item: ImageLocation, settings: BucketSettings) -> OutputKeys:
        """Return those of an image, which no other image shares and no lifecycle rule of ours expires.

        They lie below the bucket's name for an image of another bucket. A key of the input bucket that begins like one
        of our own, or ends like a shortened one, is escaped; so is one that looks escaped.
        """
        if item.bucket != settings.images:
            return cls(f"{OTHER_BUCKET_PREFIX}{item.bucket}/{item.key}")
        reserved = item.key.startswith(_RESERVED_PREFIXES) and find_job_id(item, settings) is None
        return cls(f"{ESCAPED_PREFIX}{item.key}" if reserved or _SHORTENED_NAME.search(item.key) else item.key)

    def key(self, name: str) -> str:
        """The key of a form."""
        return output_name(self.stem, FORMATS[name].suffix, MAX_KEY_BYTES)

    @property
    def document(self) -> str:
        return self.key(DOCUMENT_FORMAT)

    @property
    def error(self) -> str:
        return output_name(self.stem, ERROR_SUFFIX, MAX_KEY_BYTES)


def is_job_id(text: str) -> bool:
    """Whether a text has the form of a job's id."""
    return _JOB_ID.fullmatch(text) is not None


def job_image_key(job: str) -> str:
    """The key of a job's image."""
    return f"{job_prefix(job)}film"


def job_request_key(job: str) -> str:
    """The key of what was asked for, in the bucket of outputs; it has no suffix, as each image's outputs have."""
    return f"{job_prefix(job)}order"


def job_prefix(job: str) -> str:
    """What the keys of a job begin with, in both buckets."""
    return f"{JOBS_PREFIX}{job}/"


def marker_key(delivery: str, item: ImageLocation) -> str:
    """Return the key of the marker that a delivery has begun an image (`app.buckets.crashes`); it names neither."""
    facts = json.dumps([delivery, item.bucket, item.key])
    return f"{MARKERS_PREFIX}{hashlib.sha256(facts.encode()).hexdigest()}"


def find_job_id(item: ImageLocation, settings: BucketSettings) -> str | None:
    """The job whose image this is."""
    job = item.key.removeprefix(JOBS_PREFIX).removesuffix("/film")
    return job if item == ImageLocation(settings.images, job_image_key(job)) and is_job_id(job) else None
