"""What is wanted of an image: what the settings say of every image, or what a job asked for."""

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
    """What to make.

    Attributes:
        formats: names of FORMATS, in the order to write them; the JSON document comes last.
        options: as for any image.
    """

    formats: tuple[str, ...]
    options: Options = field(default_factory=Options)

    def with_formats(self, names: Iterable[str]) -> OutputRequest:
        """The same with more forms, the JSON document among them and last."""
        rest = (name for name in dict.fromkeys((*self.formats, *names)) if name != DOCUMENT_FORMAT)
        return replace(self, formats=(*rest, DOCUMENT_FORMAT))


def default_request(settings: BucketSettings) -> OutputRequest:
    """What is made of an image that was dropped into the bucket."""
    return OutputRequest(()).with_formats(settings.formats)


def load_request(job: str | None, store: ObjectStore, settings: BucketSettings) -> OutputRequest:
    """A job's order; the standing one for an image of no job, or of one whose order has been deleted.

    Raises:
        StoreError.
    """
    if job is None:
        return default_request(settings)
    try:
        return read_job_request(job, store, settings)[0]
    except ObjectMissing:
        return default_request(settings)


def read_job_request(job: str, store: ObjectStore, settings: BucketSettings) -> tuple[OutputRequest, datetime]:
    """What a job asked for, and until when its image may come; each format once, so no more than there are.

    Raises:
        Absent, StoreError.
        InternalError: somebody else wrote it, or another version of this program.
    """
    content = store.read_object(settings.outputs, job_request_key(job))
    try:
        told: dict[str, Any] = json.loads(content)
        formats = tuple(dict.fromkeys(told["formats"]))
        if not set(formats) <= set(FORMATS):
            raise ValueError
        return OutputRequest(formats, Options(**told["options"])), datetime.fromisoformat(told["expires"])
    except (ValueError, TypeError, KeyError):
        raise errors.InternalError("What this job asked for is not as the service wrote it.") from None


def write_job_request(
    job: str, order: OutputRequest, expires: datetime, store: ObjectStore, settings: BucketSettings
) -> None:
    """Lay down what `read_order` reads.

    Raises:
        StoreError.
    """
    content = json.dumps(asdict(order) | {"expires": expires.isoformat()}).encode()
    store.put_object(settings.outputs, job_request_key(job), content, "application/json", Stamp("none", "none", "none"))
