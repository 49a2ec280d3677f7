"""One image of a bucket, from its object to its outputs.

An event may come twice, late, out of order, or while the same image is in work elsewhere. So an event only says where to
look: what is done is always the image that lies there now, and a worker that finds it changed at its end begins again.
Every write is conditional on what its writer knew, and every output tells which version it is of. Whoever comes last
therefore leaves the outputs of the last version, whatever happened between.
"""

from __future__ import annotations

import json
import logging
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.buckets import crashes
from app.buckets.keys import Item, Outputs, job_of
from app.buckets.requests import Order, order_of
from app.buckets.s3 import Absent, Archived, Opened, Stamp, Store, StoreError
from app.buckets.settings import DOCUMENT, Settings
from app.buckets.settle import Changed, is_consistent, settle
from lungseg import errors, limits
from lungseg.encode.formats import FORMATS, encode_each
from lungseg.model.models import load_models
from lungseg.pipeline.recipe import Recipe
from lungseg.pipeline.segment import segment

log = logging.getLogger(__name__)

ROUNDS = 5
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
class Report:
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
class Made:
    """What was made of an image.

    Attributes:
        contents: each form's bytes by its name, in the order to write them.
        decision: the verdict's.
    """

    contents: dict[str, bytes]
    decision: str


def work(
    item: Item, store: Store, settings: Settings, order: Order | None = None, delivery: str | None = None
) -> Report:
    """Do one image, unless its outputs are there already.

    Args:
        order: what to make; None is what the image's job asked for, or what the settings say.
        delivery: identifies a delivery that has come before, whose process may have been killed
            (`app.buckets.crashes`).

    Raises:
        StoreError: it may succeed when it is tried again.
        ModelError: it cannot succeed before the operator acts.
    """
    job = job_of(item, settings) if order is None else None
    for _ in range(ROUNDS):
        try:
            try:
                wanted = order or order_of(job, store, settings)
            except errors.ProblemError as error:
                stamp = Stamp(store.version(item.bucket, item.key), "none", "none")
                return _refuse(item, Outputs.of(item, settings), error, stamp, store, settings)
            return _attempt(item, store, settings, wanted, delivery, once=job is not None)
        except Changed:
            continue
        except Absent:
            return Report(Outcome.GONE)
    raise StoreError("The image changed each time that it was segmented.")


def make(film: Opened, order: Order) -> Made:
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
    if refusals and set(made) <= {DOCUMENT}:
        raise next(iter(refusals.values()))
    return Made(made, str(result.verdict.decision))


def _attempt(item: Item, store: Store, settings: Settings, order: Order, delivery: str | None, *, once: bool) -> Report:
    """Do the image that is there now.

    Args:
        once: what is done stays, even if another image has taken the place of the one that it was done of.

    Raises:
        Changed, Absent, StoreError, ModelError.
    """
    outputs = Outputs.of(item, settings)
    recipe = Recipe(order.options, load_models().digests).digest()
    there = store.written(settings.outputs, outputs.document)
    if there and (once or (there.stamp.version, there.stamp.recipe) == (store.version(item.bucket, item.key), recipe)):
        before = there.stamp.forms.split()
        if set(order.formats) <= set(before) and is_consistent(outputs, there.stamp, store, settings):
            return Report(Outcome.SKIPPED, keys={name: outputs.key(name) for name in order.formats})
        # Who asks for another form takes none away.
        order = order.with_forms(before)
    forms = " ".join(sorted(order.formats))
    refused = store.written(settings.outputs, outputs.error)
    if refused and once and not there:
        return Report(Outcome.SKIPPED, keys={"error": outputs.error})
    if refused and refused.stamp.starts:
        version = store.version(item.bucket, item.key)
        if refused.stamp == crashes.given_up(version, recipe, forms):
            return _failed(errors.InternalError(crashes.KILLED), outputs)

    try:
        film = store.open(item.bucket, item.key)
    except Archived:
        stamp = Stamp(store.version(item.bucket, item.key), recipe, forms)
        return _refuse(item, outputs, errors.Archived("The image lies in an archive tier."), stamp, store, settings)
    if film.size == 0 and item.key.endswith("/"):
        film.body.close()
        return Report(Outcome.GONE)
    stamp = Stamp(film.version, recipe, forms)
    with closing(film.body):
        try:
            with crashes.marked(item, film.version, delivery, store, settings):
                return _segment(item, film, order, outputs, stamp, store, settings)
        except crashes.Killer:
            log.error("an image was given up: the function was killed each time that it began it")
            stamp = crashes.given_up(film.version, recipe, forms)
            return _refuse(item, outputs, errors.InternalError(crashes.KILLED), stamp, store, settings)


def _segment(
    item: Item, film: Opened, order: Order, outputs: Outputs, stamp: Stamp, store: Store, settings: Settings
) -> Report:
    """Write the outputs of an open image, or the problem document of one that is refused.

    Raises:
        Changed, Absent, StoreError, ModelError.
    """
    try:
        found = make(film, order)
    except errors.ProblemError as error:
        return _refuse(item, outputs, error, stamp, store, settings)
    files = {outputs.key(name): (content, FORMATS[name].media_type) for name, content in found.contents.items()}
    # Also the forms that cannot be made of this version, but were of an older one.
    stale = [outputs.error, *(outputs.key(name) for name in FORMATS if name not in found.contents)]
    settle(item, stamp, files, stale, store, settings)
    return Report(Outcome.DONE, found.decision, keys={name: outputs.key(name) for name in found.contents})


def _refuse(
    item: Item, outputs: Outputs, error: errors.ProblemError, stamp: Stamp, store: Store, settings: Settings
) -> Report:
    """Write a problem document in the place of all outputs.

    Raises:
        Changed, Absent, StoreError.
    """
    files = {outputs.error: (json.dumps(error.problem()).encode(), errors.PROBLEM_MEDIA_TYPE)}
    settle(item, stamp, files, [outputs.key(name) for name in FORMATS], store, settings)
    return _failed(error, outputs)


def _failed(error: errors.ProblemError, outputs: Outputs) -> Report:
    return Report(Outcome.FAILED, problem=error.problem(), keys={"error": outputs.error})
