"""Jobs: images that are too large for one request, uploaded to the bucket of images and done as all others there.

A job has no state of its own: which of its objects are there says how far it is.
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
"""The one media type that an upload may declare: whatever it holds, no browser will ever show it as a page."""


@dataclass(frozen=True)
class JobState:
    """How far a job is.

    Attributes:
        id: 32 hex digits, drawn so that none can be guessed: who knows it may have the results.
        status: "waiting" for its image, "running", "done", "failed", or "expired" if no image came in time.
        expires: when the upload's address ends to hold.
        upload: address and fields of the upload, of a new job.
        results: presigned addresses by form, of a job that is done.
        problem: the problem document of one that failed.
    """

    id: str
    status: str
    expires: datetime
    upload: dict[str, Any] | None = None
    results: dict[str, dict[str, str]] | None = None
    problem: dict[str, Any] | None = None


def create_job(formats: tuple[str, ...], options: Options, store: ObjectStore, settings: BucketSettings) -> JobState:
    """A new job, and the form by which its image may be uploaded.

    Args:
        formats: names of FORMATS; the JSON document is made besides.

    Raises:
        StoreError.
    """
    job = secrets.token_hex(16)
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=settings.url_seconds)
    order = OutputRequest((), options).with_formats(formats)
    write_job_request(job, order, expires, store, settings)
    form = store.presign_upload(
        settings.images, job_image_key(job), UPLOAD_MEDIA_TYPE, limits.MAX_BYTES, settings.url_seconds
    )
    upload = {"method": "POST", "max_bytes": limits.MAX_BYTES} | form
    return JobState(job, "waiting", expires, upload)


def find_job(job: str, store: ObjectStore, settings: BucketSettings) -> JobState:
    """How far a job is.

    Raises:
        NoSuchJob: there never was one, or it has been deleted.
        StoreError.
    """
    # A listing tells what is missing; reading it would be answered with 403 to a role that may list `jobs/` alone.
    there = store.list_keys(settings.outputs, job_prefix(job)) if is_job_id(job) else set()
    if job_request_key(job) not in there:
        raise errors.NoSuchJob("No job has this id.")
    order, expires = read_job_request(job, store, settings)
    outputs = OutputKeys.of(ImageLocation(settings.images, job_image_key(job)), settings)
    if outputs.error in there:
        return JobState(job, "failed", expires, problem=json.loads(store.read_object(settings.outputs, outputs.error)))
    if outputs.document in there:
        results = {
            name: {
                "url": store.presign_download(settings.outputs, outputs.key(name), settings.url_seconds),
                "media_type": FORMATS[name].media_type,
            }
            for name in order.formats
            if outputs.key(name) in there
        }
        return JobState(job, "done", expires, results=results)
    if job_image_key(job) in store.list_keys(settings.images, job_prefix(job)):
        return JobState(job, "running", expires)
    return JobState(job, "expired" if datetime.now(UTC) > expires else "waiting", expires)
