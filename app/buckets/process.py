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
"""An image that changes more often during processing is left to the event source's next retry."""


class Outcome(StrEnum):
    """What happened to an image."""

    DONE = "done"
    SKIPPED = "skipped"
    """Its outputs existed already."""
    FAILED = "failed"
    """It can never succeed; a problem document tells why."""
    GONE = "gone"
    """The object does not exist (any more), or is a folder marker."""


@dataclass(frozen=True)
class ImageReport:
    """The outcome of one image.

    Attributes:
        outcome: what happened to it.
        decision: of the verdict; images that are done only.
        problem: the problem document; failed images only.
        keys: keys of its outputs by format; "error" for the problem document.
    """

    outcome: Outcome
    decision: str | None = None
    problem: dict[str, Any] | None = None
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EncodedImage:
    """The outputs of one image.

    Attributes:
        contents: bytes by format name, in the order to write them.
        decision: of the verdict.
    """

    contents: dict[str, bytes]
    decision: str


def process_image(
    item: ImageLocation,
    store: ObjectStore,
    settings: BucketSettings,
    request: OutputRequest | None = None,
    delivery: str | None = None,
) -> ImageReport:
    """Process one image, unless its outputs exist already.

    Args:
        request: the outputs to make; None for those of the image's job, or else of the settings.
        delivery: identifies a repeated delivery, whose earlier process may have been killed (`app.buckets.crashes`).

    Raises:
        StoreError: a retry may succeed.
        ModelError: it cannot succeed before the operator acts.
    """
    job_id = find_job_id(item, settings) if request is None else None
    for _ in range(MAX_ROUNDS):
        try:
            try:
                wanted = request or load_request(job_id, store, settings)
            except errors.ProblemError as error:
                stamp = Stamp(store.get_version(item.bucket, item.key), "none", "none")
                return _write_problem(item, OutputKeys.of(item, settings), error, stamp, store, settings)
            return _process_current(item, store, settings, wanted, delivery, once=job_id is not None)
        except ImageChanged:
            continue
        except ObjectMissing:
            return ImageReport(Outcome.GONE)
    raise StoreError("The image changed each time it was segmented.")


def encode_image(image: ImageObject, request: OutputRequest) -> EncodedImage:
    """Segment an image and encode the outputs.

    Raises:
        ProblemError: also if no requested format can be made, or the memory does not suffice.
        StoreError, ModelError.
    """
    with closing(image.body):  # an image that is rejected unread must not leak its connection
        limits.check_bytes(image.size)
        data = image.read()
    try:
        result = segment(data, request.options)
        contents, problems = encode_each(result, request.formats)
    except (errors.ProblemError, errors.ModelError):
        raise
    except MemoryError:
        raise errors.InternalError("The function has too little memory for this image.") from None
    except Exception as error:  # decoders raise anything; the text may quote the image
        log.error("internal error: %s in %s", type(error).__name__, errors.raised_at(error))
        raise errors.InternalError(f"An unexpected {type(error).__name__} stopped it.") from None
    if problems and set(contents) <= {DOCUMENT_FORMAT}:
        raise next(iter(problems.values()))
    return EncodedImage(contents, str(result.verdict.decision))


def _process_current(
    item: ImageLocation,
    store: ObjectStore,
    settings: BucketSettings,
    request: OutputRequest,
    delivery: str | None,
    *,
    once: bool,
) -> ImageReport:
    """Process the current version of the image.

    Args:
        once: keep existing outputs even if the image was replaced since (a job is done once).

    Raises:
        ImageChanged, ObjectMissing, StoreError, ModelError.
    """
    outputs = OutputKeys.of(item, settings)
    # The opacity always counts: else a request for an overlay would have another recipe than one for a mask.
    recipe = Recipe(request.options, load_models().digests).digest(request.options.opacity)
    existing = store.find_output(settings.outputs, outputs.document)
    if existing and (
        once or (existing.stamp.version, existing.stamp.recipe) == (store.get_version(item.bucket, item.key), recipe)
    ):
        before = existing.stamp.formats.split()
        if set(request.formats) <= set(before) and is_consistent(outputs, existing.stamp, store, settings):
            return ImageReport(Outcome.SKIPPED, keys={name: outputs.key(name) for name in request.formats})
        # A request for another format must not remove existing ones.
        request = request.with_formats(before)
    formats = " ".join(sorted(request.formats))
    refused = store.find_output(settings.outputs, outputs.error)
    if refused and once and not existing:
        return ImageReport(Outcome.SKIPPED, keys={"error": outputs.error})
    if refused and refused.stamp.starts:
        version = store.get_version(item.bucket, item.key)
        if refused.stamp == crashes.give_up_stamp(version, recipe, formats):
            return _failure_report(errors.InternalError(crashes.CRASH_DETAIL), outputs)

    try:
        image = store.open_object(item.bucket, item.key)
    except ObjectArchived:
        stamp = Stamp(store.get_version(item.bucket, item.key), recipe, formats)
        return _write_problem(
            item, outputs, errors.Archived("The image is in an archive tier."), stamp, store, settings
        )
    if image.size == 0 and item.key.endswith("/"):
        image.body.close()
        return ImageReport(Outcome.GONE)
    stamp = Stamp(image.version, recipe, formats)
    with closing(image.body):
        try:
            with crashes.crash_marker(item, image.version, delivery, store, settings):
                return _write_image(item, image, request, outputs, stamp, store, settings)
        except crashes.RepeatedCrash:
            log.error("an image was given up: it killed the function each time")
            stamp = crashes.give_up_stamp(image.version, recipe, formats)
            return _write_problem(item, outputs, errors.InternalError(crashes.CRASH_DETAIL), stamp, store, settings)


def _write_image(
    item: ImageLocation,
    image: ImageObject,
    request: OutputRequest,
    outputs: OutputKeys,
    stamp: Stamp,
    store: ObjectStore,
    settings: BucketSettings,
) -> ImageReport:
    """Write the outputs of an open image, or its problem document.

    Raises:
        ImageChanged, ObjectMissing, StoreError, ModelError.
    """
    try:
        encoded = encode_image(image, request)
    except errors.ProblemError as error:
        return _write_problem(item, outputs, error, stamp, store, settings)
    files = {outputs.key(name): (content, FORMATS[name].media_type) for name, content in encoded.contents.items()}
    # Includes formats that this version cannot have, but an older one had.
    stale = [outputs.error, *(outputs.key(name) for name in FORMATS if name not in encoded.contents)]
    write_outputs(item, stamp, files, stale, store, settings)
    return ImageReport(Outcome.DONE, encoded.decision, keys={name: outputs.key(name) for name in encoded.contents})


def _write_problem(
    item: ImageLocation,
    outputs: OutputKeys,
    error: errors.ProblemError,
    stamp: Stamp,
    store: ObjectStore,
    settings: BucketSettings,
) -> ImageReport:
    """Write a problem document and delete all outputs.

    Raises:
        ImageChanged, ObjectMissing, StoreError.
    """
    files = {outputs.error: (json.dumps(error.problem()).encode(), errors.PROBLEM_MEDIA_TYPE)}
    write_outputs(item, stamp, files, [outputs.key(name) for name in FORMATS], store, settings)
    return _failure_report(error, outputs)


def _failure_report(error: errors.ProblemError, outputs: OutputKeys) -> ImageReport:
    return ImageReport(Outcome.FAILED, problem=error.problem(), keys={"error": outputs.error})
