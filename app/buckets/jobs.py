"""Jobs: images that are too large for one request. They are uploaded to the input bucket and processed like all others.

A job stores no state: its state follows from which of its objects exist.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.buckets.keys import ImageLocation, OutputKeys, is_job_id, job_image_key, job_prefix, job_request_key
from app.buckets.requests import OutputRequest, read_job_request, write_job_request
from app.buckets.s3 import ObjectStore
from app.buckets.settings import BucketSettings
from lungseg import errors, limits
from lungseg.encode.formats import FORMATS
from lungseg.pipeline.options import Options

UPLOAD_MEDIA_TYPE = "application/octet-stream"
"""The only media type that an upload may declare, so that no browser ever renders the object as a page."""


@dataclass(frozen=True)
class JobState:
    """The state of a job.

    Attributes:
        id: 32 random hex digits. It cannot be guessed, and gives access to the results.
        status: "waiting" for its image, "running", "done", "failed", or "expired" if no image came in time.
        expires: when the upload form expires.
        upload: URL and fields of the upload form; new jobs only.
        results: presigned URLs by format; finished jobs only.
        problem: the problem document; failed jobs only.
    """

    id: str
    status: str
    expires: datetime
    upload: dict[str, Any] | None = None
    results: dict[str, dict[str, str]] | None = None
    problem: dict[str, Any] | None = None


def create_job(formats: tuple[str, ...], options: Options, store: ObjectStore, settings: BucketSettings) -> JobState:
    """Create a job and its upload form.

    Args:
        formats: names of FORMATS; the JSON document is always added.

    Raises:
        StoreError.
    """
    job_id = secrets.token_hex(16)
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=settings.url_seconds)
    request = OutputRequest((), options).with_formats(formats)
    write_job_request(job_id, request, expires, store, settings)
    form = store.presign_upload(
        settings.images, job_image_key(job_id), UPLOAD_MEDIA_TYPE, limits.MAX_BYTES, settings.url_seconds
    )
    upload = {"method": "POST", "max_bytes": limits.MAX_BYTES} | form
    return JobState(job_id, "waiting", expires, upload)


def find_job(job_id: str, store: ObjectStore, settings: BucketSettings) -> JobState:
    """Return the state of a job.

    Raises:
        NoSuchJob: it never existed, or was deleted.
        StoreError.
    """
    # List, not read: S3 answers 403, not 404, for a missing object to a role that may list nothing but `jobs/`.
    existing = store.list_keys(settings.outputs, job_prefix(job_id)) if is_job_id(job_id) else set()
    if job_request_key(job_id) not in existing:
        raise errors.NoSuchJob("No job has this id.")
    request, expires = read_job_request(job_id, store, settings)
    outputs = OutputKeys.of(ImageLocation(settings.images, job_image_key(job_id)), settings)
    if outputs.error in existing:
        return JobState(
            job_id, "failed", expires, problem=json.loads(store.read_object(settings.outputs, outputs.error))
        )
    if outputs.document in existing:
        results = {
            name: {
                "url": store.presign_download(settings.outputs, outputs.key(name), settings.url_seconds),
                "media_type": FORMATS[name].media_type,
            }
            for name in request.formats
            if outputs.key(name) in existing
        }
        return JobState(job_id, "done", expires, results=results)
    if job_image_key(job_id) in store.list_keys(settings.images, job_prefix(job_id)):
        return JobState(job_id, "running", expires)
    return JobState(job_id, "expired" if datetime.now(UTC) > expires else "waiting", expires)
