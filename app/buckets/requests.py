"""What is wanted of an image: what the settings say of every image, or what a job asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from app.buckets.keys import job_order
from app.buckets.s3 import Absent, Stamp, Store
from app.buckets.settings import DOCUMENT, Settings
from lungseg import errors
from lungseg.encode.formats import FORMATS
from lungseg.pipeline.options import Options


@dataclass(frozen=True)
class Order:
    """What to make.

    Attributes:
        formats: names of FORMATS, in the order to write them; the JSON document comes last.
        options: as for any image.
    """

    formats: tuple[str, ...]
    options: Options = field(default_factory=Options)

    def with_forms(self, names: Iterable[str]) -> Order:
        """The same with more forms, the JSON document among them and last."""
        rest = (name for name in dict.fromkeys((*self.formats, *names)) if name != DOCUMENT)
        return replace(self, formats=(*rest, DOCUMENT))


def standing(settings: Settings) -> Order:
    """What is made of an image that was dropped into the bucket."""
    return Order(()).with_forms(settings.formats)


def order_of(job: str | None, store: Store, settings: Settings) -> Order:
    """A job's order; the standing one for an image of no job, or of one whose order has been deleted.

    Raises:
        StoreError.
    """
    if job is None:
        return standing(settings)
    try:
        return read_order(job, store, settings)[0]
    except Absent:
        return standing(settings)


def read_order(job: str, store: Store, settings: Settings) -> tuple[Order, datetime]:
    """What a job asked for, and until when its image may come; each format once, so no more than there are.

    Raises:
        Absent, StoreError.
        InternalError: somebody else wrote it, or another version of this program.
    """
    content = store.read(settings.outputs, job_order(job))
    try:
        told: dict[str, Any] = json.loads(content)
        formats = tuple(dict.fromkeys(told["formats"]))
        if not set(formats) <= set(FORMATS):
            raise ValueError
        return Order(formats, Options(**told["options"])), datetime.fromisoformat(told["expires"])
    except (ValueError, TypeError, KeyError):
        raise errors.InternalError("What this job asked for is not as the service wrote it.") from None


def write_order(job: str, order: Order, expires: datetime, store: Store, settings: Settings) -> None:
    """Lay down what `read_order` reads.

    Raises:
        StoreError.
    """
    content = json.dumps(asdict(order) | {"expires": expires.isoformat()}).encode()
    store.put(settings.outputs, job_order(job), content, "application/json", Stamp("none", "none", "none"))
