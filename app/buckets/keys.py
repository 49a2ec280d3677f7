"""Keys of all objects in the buckets."""

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
"""Prefixes of output keys: for images of another bucket, and for images whose own keys would collide with others."""

JOBS_PREFIX, MARKERS_PREFIX, REPORTS_PREFIX = "jobs/", "begun/", "backfill-reports/"
"""Prefixes of the output bucket that have their own lifecycle rule in template.yaml."""

_RESERVED_PREFIXES = (OTHER_BUCKET_PREFIX, ESCAPED_PREFIX, JOBS_PREFIX, MARKERS_PREFIX, REPORTS_PREFIX)

_SHORTENED_NAME = re.compile(r"~[0-9a-f]{16}$")
"""The end of a name that `naming.output_name` had to change."""

_JOB_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class ImageLocation:
    """Bucket and key of an image. Its current version counts, whichever version an event names."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, bucket: Any, key: Any) -> ImageLocation:
        """Return the object that an event names.

        Raises:
            ValueError: no object can have this name.
        """
        for name in (bucket, key):
            # JSON allows lone surrogates, for which encode() raises UnicodeEncodeError, a ValueError.
            if not isinstance(name, str) or not 0 < len(name.encode()) <= MAX_KEY_BYTES:
                raise ValueError("no object is named")
        return cls(bucket, key)


@dataclass(frozen=True)
class OutputKeys:
    """Keys of one image's outputs in the output bucket."""

    stem: str

    @classmethod
    def of(cls, item: ImageLocation, settings: BucketSettings) -> OutputKeys:
        """Return the keys for an image. No other image shares them, and no lifecycle rule of a prefix matches them.

        Keys for images of another bucket start with its name. A key of the input bucket is escaped if it starts with a
        reserved prefix (including the one of escaped keys), or ends like a shortened name.
        """
        if item.bucket != settings.images:
            return cls(f"{OTHER_BUCKET_PREFIX}{item.bucket}/{item.key}")
        reserved = item.key.startswith(_RESERVED_PREFIXES) and find_job_id(item, settings) is None
        return cls(f"{ESCAPED_PREFIX}{item.key}" if reserved or _SHORTENED_NAME.search(item.key) else item.key)

    def key(self, name: str) -> str:
        """Return the key of a format."""
        return output_name(self.stem, FORMATS[name].suffix, MAX_KEY_BYTES)

    @property
    def document(self) -> str:
        return self.key(DOCUMENT_FORMAT)

    @property
    def error(self) -> str:
        return output_name(self.stem, ERROR_SUFFIX, MAX_KEY_BYTES)


def is_job_id(text: str) -> bool:
    """Return whether a text is a valid job id."""
    return _JOB_ID.fullmatch(text) is not None


def job_image_key(job_id: str) -> str:
    """Return the key of a job's image in the input bucket."""
    return f"{job_prefix(job_id)}film"


def job_request_key(job_id: str) -> str:
    """Return the key of a job's request in the output bucket. Unlike outputs, it has no suffix."""
    return f"{job_prefix(job_id)}order"


def job_prefix(job_id: str) -> str:
    """Return the prefix of a job's keys in both buckets."""
    return f"{JOBS_PREFIX}{job_id}/"


def marker_key(delivery: str, item: ImageLocation) -> str:
    """Return the key of a delivery's marker for an image (`app.buckets.crashes`); a hash, so it names neither."""
    facts = json.dumps([delivery, item.bucket, item.key])
    return f"{MARKERS_PREFIX}{hashlib.sha256(facts.encode()).hexdigest()}"


def find_job_id(item: ImageLocation, settings: BucketSettings) -> str | None:
    """Return the id of the job that the image belongs to; None if it has none."""
    job_id = item.key.removeprefix(JOBS_PREFIX).removesuffix("/film")
    return job_id if item == ImageLocation(settings.images, job_image_key(job_id)) and is_job_id(job_id) else None
