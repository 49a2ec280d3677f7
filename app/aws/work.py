"""One film of a bucket, from its object to its outputs.

An event may come twice, late, out of order, or while the same film is in work elsewhere. So an event only says where to
look: what is done is always the film that lies there now, and a worker that finds it changed at its end begins again.
Every write is conditional on what its writer knew, and every output tells which version it is of. Whoever comes last
therefore leaves the outputs of the last version, whatever happened between.
"""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import closing
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app import __version__, errors, limits, network
from app.aws.keys import Item, Outputs, job_of
from app.aws.orders import Order, order_of
from app.aws.settings import DOCUMENT, Settings
from app.aws.store import Absent, Archived, Opened, Stamp, Store, StoreError
from app.encode.formats import FORMATS, encode_each
from app.pipeline import segment
from app.view import load_view

log = logging.getLogger(__name__)

ROUNDS = 5
"""A film that changes more often while it is in work is left to the event source's next try."""


class Outcome(StrEnum):
    """What became of a film."""

    DONE = "done"
    SKIPPED = "skipped"
    """Its outputs were there already."""
    FAILED = "failed"
    """It can never succeed; a problem document says why."""
    GONE = "gone"
    """It is not there (any more), or is no film but a folder's marker."""


@dataclass(frozen=True)
class Report:
    """What is told of one film.

    Attributes:
        outcome: what became of it.
        decision: the verdict's; of a film that was done.
        problem: the problem document; of a film that failed.
        keys: of the outputs now there, by form; "error" for the problem document.
    """

    outcome: Outcome
    decision: str | None = None
    problem: dict[str, Any] | None = None
    keys: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Made:
    """What was made of a film.

    Attributes:
        contents: each form's bytes by its name, in the order to write them.
        decision: the verdict's.
    """

    contents: dict[str, bytes]
    decision: str


def work(item: Item, store: Store, settings: Settings, order: Order | None = None) -> Report:
    """Do one film, unless its outputs are there already.

    Args:
        order: what to make; None is what the film's job asked for, or what the settings say.

    Raises:
        StoreError: it may succeed when it is tried again.
        ModelError: it cannot succeed before the operator acts.
    """
    for _ in range(ROUNDS):
        try:
            return _attempt(item, store, settings, order or order_of(job_of(item, settings), store, settings))
        except _Changed:
            continue
        except Absent:
            return Report(Outcome.GONE)
    raise StoreError("The film changed each time that it was segmented.")


def make(film: Opened, order: Order) -> Made:
    """Segment a film.

    Raises:
        FilmError: also if none of the forms can be made of this film.
        StoreError, ModelError.
        MemoryError: the function has too little for this film.
    """
    with closing(film.body):  # one that is refused unread leaves no connection behind
        limits.check_bytes(film.size)
        data = film.read()
    try:
        result = segment(data, order.options)
        made, refusals = encode_each(result, data, order.formats)
    except (errors.FilmError, errors.ModelError, MemoryError):
        raise
    except Exception as error:  # decoders raise anything, and its text may quote the film
        log.error("internal error: %s in %s", type(error).__name__, errors.place(error))
        raise errors.InternalError(f"An unexpected {type(error).__name__} stopped it.") from None
    if refusals and set(made) <= {DOCUMENT}:
        raise next(iter(refusals.values()))
    return Made(made, str(result.verdict.decision))


class _Changed(Exception):
    """A newer version of the film is there."""


def _attempt(item: Item, store: Store, settings: Settings, order: Order) -> Report:
    """Do the film that is there now.

    Raises:
        _Changed, Absent, StoreError, ModelError.
    """
    outputs = Outputs.of(item, settings)
    recipe = _recipe(order)
    there = store.written(settings.outputs, outputs.document)
    if there and (there.stamp.version, there.stamp.recipe) == (store.version(item.bucket, item.key), recipe):
        before = there.stamp.forms.split()
        if set(order.formats) <= set(before) and _alone(outputs, there.stamp, store, settings):
            return Report(Outcome.SKIPPED, keys={name: outputs.key(name) for name in order.formats})
        # Who asks for another form takes none away.
        order = order.with_forms(before)
    forms = " ".join(sorted(order.formats))

    try:
        film = store.open(item.bucket, item.key)
        version = film.version
        if film.size == 0 and item.key.endswith("/"):
            film.body.close()
            return Report(Outcome.GONE)
        found = make(film, order)
    except Archived:
        version = store.version(item.bucket, item.key)
        failure: errors.FilmError = errors.Archived("The film lies in an archive tier.")
    except errors.FilmError as error:
        failure = error
    else:
        files = {outputs.key(name): (content, FORMATS[name].media_type) for name, content in found.contents.items()}
        # Also the forms that cannot be made of this version, but were of an older one.
        stale = [outputs.error, *(outputs.key(name) for name in FORMATS if name not in found.contents)]
        _settle(item, Stamp(version, recipe, forms), files, stale, store, settings)
        return Report(Outcome.DONE, found.decision, keys={name: outputs.key(name) for name in found.contents})
    document = failure.problem()
    files = {outputs.error: (json.dumps(document).encode(), errors.MEDIA_TYPE)}
    stale = [outputs.key(name) for name in FORMATS]
    _settle(item, Stamp(version, recipe, forms), files, stale, store, settings)
    return Report(Outcome.FAILED, problem=document, keys={"error": outputs.error})


def _alone(outputs: Outputs, stamp: Stamp, store: Store, settings: Settings) -> bool:
    """Whether nothing contradicts a document: who did an older version may have written behind it, and died before he
    saw that there is a newer one.

    Raises:
        StoreError.
    """
    if store.written(settings.outputs, outputs.error):
        return False
    others = (name for name in stamp.forms.split() if name != DOCUMENT)
    found = (store.written(settings.outputs, outputs.key(name)) for name in others)
    return all(each is None or each.stamp == stamp for each in found)


def _settle(
    item: Item,
    stamp: Stamp,
    files: dict[str, tuple[bytes, str]],
    stale: list[str],
    store: Store,
    settings: Settings,
) -> None:
    """Write a version's outputs in their order, and remove what would contradict them before the last one is there.

    Args:
        files: content and media type by key.
        stale: keys of what this version has not.

    Raises:
        _Changed: the film is of another version by now.
        Absent, StoreError.
    """
    *_, last = files
    for key, (content, media_type) in files.items():
        if key == last:
            # Who finds the last one takes all for done: what is still to remove then would stay for ever.
            store.remove(settings.outputs, stale)
        over = None
        for _ in range(ROUNDS):
            if store.put(settings.outputs, key, content, media_type, stamp, over):
                break
            there = store.written(settings.outputs, key)
            if there and there.stamp == stamp:
                break
            if store.version(item.bucket, item.key) != stamp.version:
                raise _Changed
            over = there.etag if there else None
        else:
            raise StoreError("Others wrote the same output all the time.")
    if store.version(item.bucket, item.key) != stamp.version:
        raise _Changed


def _recipe(order: Order) -> str:
    """Digest of what decides the outputs' bytes besides the film and its forms."""
    models = (network.load().sha256, load_view().sha256)
    facts = [__version__, asdict(order.options), models]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
