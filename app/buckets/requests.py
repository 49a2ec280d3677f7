"""The outputs to make of an image: those of the settings, or those of its job."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from app.buckets.keys import job_request_key
from app.buckets.s3 import ObjectMissing, ObjectStore, Stamp
from app.buckets.settings import DOCUMENT_FORMAT, BucketSettings
from lungseg import errors
from lungseg.encode.formats import FORMATS
from lungseg.pipeline.options import Options


@dataclass(frozen=True)
class OutputRequest:
    """The outputs to make.

    Attributes:
        formats: names of FORMATS in the order to write them, the JSON document last.
        options: how to make the mask.
    """

    formats: tuple[str, ...]
    options: Options = field(default_factory=Options)

    def with_formats(self, names: Iterable[str]) -> OutputRequest:
        """Return a request with more formats; the JSON document is added, and comes last."""
        rest = (name for name in dict.fromkeys((*self.formats, *names)) if name != DOCUMENT_FORMAT)
        return replace(self, formats=(*rest, DOCUMENT_FORMAT))


def default_request(settings: BucketSettings) -> OutputRequest:
    """Return the request for images that are not of a job."""
    return OutputRequest(()).with_formats(settings.formats)


def load_request(job_id: str | None, store: ObjectStore, settings: BucketSettings) -> OutputRequest:
    """Return a job's request; the default one without a job, or if the job's was deleted.

    Raises:
        StoreError.
    """
    if job_id is None:
        return default_request(settings)
    try:
        return read_job_request(job_id, store, settings)[0]
    except ObjectMissing:
        return default_request(settings)


def read_job_request(job_id: str, store: ObjectStore, settings: BucketSettings) -> tuple[OutputRequest, datetime]:
    """Return a job's request and when its upload form expires. Duplicate formats are dropped, which bounds the work.

    Raises:
        ObjectMissing, StoreError.
        InternalError: it was not written by this version of the service.
    """
    content = store.read_object(settings.outputs, job_request_key(job_id))
    try:
        document: dict[str, Any] = json.loads(content)
        formats = tuple(dict.fromkeys(document["formats"]))
        if not set(formats) <= set(FORMATS):
            raise ValueError
        return OutputRequest(formats, Options(**document["options"])), datetime.fromisoformat(document["expires"])
    except (ValueError, TypeError, KeyError):
        raise errors.InternalError("The job's request was not written by this service.") from None


def write_job_request(
    job_id: str, request: OutputRequest, expires: datetime, store: ObjectStore, settings: BucketSettings
) -> None:
    """Write what `read_job_request` reads.

    Raises:
        StoreError.
    """
    content = json.dumps(asdict(request) | {"expires": expires.isoformat()}).encode()
    store.put_object(
        settings.outputs, job_request_key(job_id), content, "application/json", Stamp("none", "none", "none")
    )
