"""Jobs: images that are too large for one request, uploaded to the bucket of images and done as all others there.

A job has no state of its own: which of its objects are there says how far it is.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.buckets.keys import Item, Outputs, is_job, job_film, job_order, job_prefix
from app.buckets.requests import Order, read_order, write_order
from app.buckets.s3 import Store
from app.buckets.settings import Settings
from lungseg import errors, limits
from lungseg.encode.formats import FORMATS
from lungseg.pipeline.options import Options

UPLOAD_TYPE = "application/octet-stream"
"""The one media type that an upload may declare: whatever it holds, no browser will ever show it as a page."""


@dataclass(frozen=True)
class Job:
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


def create(formats: tuple[str, ...], options: Options, store: Store, settings: Settings) -> Job:
    """A new job, and the form by which its image may be uploaded.

    Args:
        formats: names of FORMATS; the JSON document is made besides.

    Raises:
        StoreError.
    """
    job = secrets.token_hex(16)
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=settings.url_seconds)
    order = Order((), options).with_forms(formats)
    write_order(job, order, expires, store, settings)
    form = store.upload_form(settings.films, job_film(job), UPLOAD_TYPE, limits.MAX_BYTES, settings.url_seconds)
    upload = {"method": "POST", "max_bytes": limits.MAX_BYTES} | form
    return Job(job, "waiting", expires, upload)


def look(job: str, store: Store, settings: Settings) -> Job:
    """How far a job is.

    Raises:
        NoSuchJob: there never was one, or it has been deleted.
        StoreError.
    """
    # A listing tells what is missing; reading it would be answered with 403 to a role that may list `jobs/` alone.
    there = store.keys(settings.outputs, job_prefix(job)) if is_job(job) else set()
    if job_order(job) not in there:
        raise errors.NoSuchJob("No job has this id.")
    order, expires = read_order(job, store, settings)
    outputs = Outputs.of(Item(settings.films, job_film(job)), settings)
    if outputs.error in there:
        return Job(job, "failed", expires, problem=json.loads(store.read(settings.outputs, outputs.error)))
    if outputs.document in there:
        results = {
            name: {
                "url": store.address(settings.outputs, outputs.key(name), settings.url_seconds),
                "media_type": FORMATS[name].media_type,
            }
            for name in order.formats
            if outputs.key(name) in there
        }
        return Job(job, "done", expires, results=results)
    if job_film(job) in store.keys(settings.films, job_prefix(job)):
        return Job(job, "running", expires)
    return Job(job, "expired" if datetime.now(UTC) > expires else "waiting", expires)
