"""Process one image of a bucket, from its object to its outputs.

An event may arrive twice, late, out of order, or while another worker processes the same image. So an event only says
where to look. A worker always processes the current version of the object, and starts again if that has changed when it
is done. Each write is conditional on what its writer read before, and each output is stamped with the version it was
made of. Whatever happens in between, the worker that finishes last leaves the outputs of the latest version.
"""

from __future__ import annotations

import json
import logging
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.buckets import crashes
from app.buckets.keys import ImageLocation, OutputKeys, find_job_id
from app.buckets.requests import OutputRequest, load_request
from app.buckets.s3 import ImageObject, ObjectArchived, ObjectMissing, ObjectStore, Stamp, StoreError
from app.buckets.settings import DOCUMENT_FORMAT, BucketSettings
from app.buckets.settle import ImageChanged, is_consistent, write_outputs
from lungseg import errors, limits
from lungseg.encode.formats import FORMATS, encode_each
from lungseg.model.models import load_models
from lungseg.pipeline.recipe import Recipe
from lungseg.pipeline.segment import segment

log = logging.getLogger(__name__)

MAX_ROUNDS = 5
"""An image that changes more often while it is in work is left to the event source's next try."""


class Outcome(StrEnum):
    """What became of an image."""

    DONE = "done"
    SKIPPED = "skipped"
    """Its outputs were there already."""
    FAILED = "failed"
    """It can never succeed; a problem document says why."""
    GONE = "gone"
    """It is not there (any more), or is no image but a folder's marker."""


@dataclass(frozen=True)
class ImageReport:
    """What is told of one image.

    Attributes:
        outcome: what became of it.
        decision: the verdict's; of an image that was done.
        problem: the problem document; of an image that failed.
        keys: of the outputs now there, by form; "error" for the problem document.
    """

    outcome: Outcome
    decision: str | None = None
    problem: dict[str, Any] | None = None
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EncodedImage:
    """What was made of an image.

    Attributes:
        contents: each form's bytes by its name, in the order to write them.
        decision: the verdict's.
    """

    contents: dict[str, bytes]
    decision: str


def process_image(
    item: ImageLocation,
    store: ObjectStore,
    settings: BucketSettings,
    order: OutputRequest | None = None,
    delivery: str | None = None,
) -> ImageReport:
    """Do one image, unless its outputs are there already.

    Args:
        order: what to make; None is what the image's job asked for, or what the settings say.
        delivery: identifies a delivery that has come before, whose process may have been killed
            (`app.buckets.crashes`).

    Raises:
        StoreError: it may succeed when it is tried again.
        ModelError: it cannot succeed before the operator acts.
    """
    job = find_job_id(item, settings) if order is None else None
    for _ in range(MAX_ROUNDS):
        try:
            try:
                wanted = order or load_request(job, store, settings)
            except errors.ProblemError as error:
                stamp = Stamp(store.get_version(item.bucket, item.key), "none", "none")
                return _write_problem(item, OutputKeys.of(item, settings), error, stamp, store, settings)
            return _process_current(item, store, settings, wanted, delivery, once=job is not None)
        except ImageChanged:
            continue
        except ObjectMissing:
            return ImageReport(Outcome.GONE)
    raise StoreError("The image changed each time that it was segmented.")


def encode_image(film: ImageObject, order: OutputRequest) -> EncodedImage:
    """Segment an image.

    Raises:
        ProblemError: also if none of the forms can be made of this image, or the memory is too little for it.
        StoreError, ModelError.
    """
    with closing(film.body):  # one that is refused unread leaves no connection behind
        limits.check_bytes(film.size)
        data = film.read()
    try:
        result = segment(data, order.options)
        made, refusals = encode_each(result, order.formats)
    except (errors.ProblemError, errors.ModelError):
        raise
    except MemoryError:
        raise errors.InternalError("The function has too little memory for this image.") from None
    except Exception as error:  # decoders raise anything, and its text may quote the image
        log.error("internal error: %s in %s", type(error).__name__, errors.raised_at(error))
        raise errors.InternalError(f"An unexpected {type(error).__name__} stopped it.") from None
    if refusals and set(made) <= {DOCUMENT_FORMAT}:
        raise next(iter(refusals.values()))
    return EncodedImage(made, str(result.verdict.decision))


def _process_current(
    item: ImageLocation,
    store: ObjectStore,
    settings: BucketSettings,
    order: OutputRequest,
    delivery: str | None,
    *,
    once: bool,
) -> ImageReport:
    """Do the image that is there now.

    Args:
        once: what is done stays, even if another image has taken the place of the one that it was done of.

    Raises:
        Changed, Absent, StoreError, ModelError.
    """
    outputs = OutputKeys.of(item, settings)
    recipe = Recipe(order.options, load_models().digests).digest()
    there = store.find_output(settings.outputs, outputs.document)
    if there and (
        once or (there.stamp.version, there.stamp.recipe) == (store.get_version(item.bucket, item.key), recipe)
    ):
        before = there.stamp.formats.split()
        if set(order.formats) <= set(before) and is_consistent(outputs, there.stamp, store, settings):
            return ImageReport(Outcome.SKIPPED, keys={name: outputs.key(name) for name in order.formats})
        # Who asks for another form takes none away.
        order = order.with_formats(before)
    forms = " ".join(sorted(order.formats))
    refused = store.find_output(settings.outputs, outputs.error)
    if refused and once and not there:
        return ImageReport(Outcome.SKIPPED, keys={"error": outputs.error})
    if refused and refused.stamp.starts:
        version = store.get_version(item.bucket, item.key)
        if refused.stamp == crashes.give_up_stamp(version, recipe, forms):
            return _failure_report(errors.InternalError(crashes.CRASH_DETAIL), outputs)

    try:
        film = store.open_object(item.bucket, item.key)
    except ObjectArchived:
        stamp = Stamp(store.get_version(item.bucket, item.key), recipe, forms)
        return _write_problem(
            item, outputs, errors.Archived("The image lies in an archive tier."), stamp, store, settings
        )
    if film.size == 0 and item.key.endswith("/"):
        film.body.close()
        return ImageReport(Outcome.GONE)
    stamp = Stamp(film.version, recipe, forms)
    with closing(film.body):
        try:
            with crashes.crash_marker(item, film.version, delivery, store, settings):
                return _write_image(item, film, order, outputs, stamp, store, settings)
        except crashes.RepeatedCrash:
            log.error("an image was given up: the function was killed each time that it began it")
            stamp = crashes.give_up_stamp(film.version, recipe, forms)
            return _write_problem(item, outputs, errors.InternalError(crashes.CRASH_DETAIL), stamp, store, settings)


def _write_image(
    item: ImageLocation,
    film: ImageObject,
    order: OutputRequest,
    outputs: OutputKeys,
    stamp: Stamp,
    store: ObjectStore,
    settings: BucketSettings,
) -> ImageReport:
    """Write the outputs of an open image, or the problem document of one that is refused.

    Raises:
        Changed, Absent, StoreError, ModelError.
    """
    try:
        found = encode_image(film, order)
    except errors.ProblemError as error:
        return _write_problem(item, outputs, error, stamp, store, settings)
    files = {outputs.key(name): (content, FORMATS[name].media_type) for name, content in found.contents.items()}
    # Also the forms that cannot be made of this version, but were of an older one.
    stale = [outputs.error, *(outputs.key(name) for name in FORMATS if name not in found.contents)]
    write_outputs(item, stamp, files, stale, store, settings)
    return ImageReport(Outcome.DONE, found.decision, keys={name: outputs.key(name) for name in found.contents})


def _write_problem(
    item: ImageLocation,
    outputs: OutputKeys,
    error: errors.ProblemError,
    stamp: Stamp,
    store: ObjectStore,
    settings: BucketSettings,
) -> ImageReport:
    """Write a problem document in the place of all outputs.

    Raises:
        Changed, Absent, StoreError.
    """
    files = {outputs.error: (json.dumps(error.problem()).encode(), errors.PROBLEM_MEDIA_TYPE)}
    write_outputs(item, stamp, files, [outputs.key(name) for name in FORMATS], store, settings)
    return _failure_report(error, outputs)


def _failure_report(error: errors.ProblemError, outputs: OutputKeys) -> ImageReport:
    return ImageReport(Outcome.FAILED, problem=error.problem(), keys={"error": outputs.error})
