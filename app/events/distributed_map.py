"""Batches of a Step Functions Distributed Map: the keys of a prefix, or the lines of an S3 inventory."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import unquote_plus

from app.buckets.keys import ImageLocation
from app.buckets.s3 import StoreError
from app.invocation import Invocation, UnsupportedEvent

MAX_IDLE_ROUNDS = 5
"""Rounds without a single image done, after which a batch fails."""


class UnfinishedBatch(Exception):
    """Some images of a batch could not be done however often it was tried."""


def infer(event: dict[str, Any]) -> bool:
    """A batch that an ItemBatcher made, or what `handle` left of it."""
    return isinstance(event.get("Items"), list) and isinstance(event.get("BatchInput"), dict)


def handle(event: dict[str, Any], run: Invocation) -> dict[str, Any]:
    """Do the batch's images.

    A batch whose call was killed is split by the state machine, and each of its images comes alone with a ``delivery``,
    the name of the execution: `app.buckets.crashes` then finds the one that kills its process.

    Returns:
        The event again with the ``Items`` that are left, for the state machine to send once more until there are none,
        and ``counts``, what became of those that were done in all rounds.

    Raises:
        UnsupportedEvent: an item lacks bucket or key, or what an earlier round counted is no count.
        Unfinished: round after round none of what is left could be done.
    """
    batch_input = event["BatchInput"]
    films = [_parse_item(each, batch_input) for each in event["Items"]]
    counts, attempt, left = *_parse_counts(event), []
    delivery = _parse_delivery(event)
    for each, item in zip(event["Items"], films, strict=True):
        try:
            counts[run(item, delivery=delivery.get("delivery")).outcome] += 1
        except StoreError:
            left.append(each)
    attempt = attempt + 1 if len(left) == len(films) else 0
    if left and attempt >= MAX_IDLE_ROUNDS:
        raise UnfinishedBatch(f"{len(left)} images of a batch could not be done; the function's log says why.")
    return {"BatchInput": batch_input, "Items": left, "counts": dict(counts), "attempt": attempt} | delivery


def _parse_delivery(event: dict[str, Any]) -> dict[str, str]:
    """Return the member ``delivery`` if there is one."""
    delivery = event.get("delivery")
    if delivery is None:
        return {}
    if not isinstance(delivery, str):
        raise UnsupportedEvent("The delivery of a batch is not named by a text.")
    return {"delivery": delivery}


def _parse_counts(event: dict[str, Any]) -> tuple[Counter[str], int]:
    """The counts of earlier rounds, and how many of them did nothing."""
    counts, attempt = event.get("counts", {}), event.get("attempt", 0)
    if not isinstance(counts, dict) or not all(isinstance(number, int) for number in (*counts.values(), attempt)):
        raise UnsupportedEvent("The counts of earlier rounds are none.")
    return Counter(counts), attempt


def _parse_item(each: Any, batch_input: dict[str, Any]) -> ImageLocation:
    try:
        bucket, key = each.get("Bucket") or batch_input["bucket"], each["Key"]
        # An inventory's keys are encoded as in a form, a listing's are not.
        key = unquote_plus(key, errors="strict") if batch_input.get("keys") == "url-encoded" else key
        return ImageLocation.parse(bucket, key)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UnsupportedEvent("An item of the batch has no bucket or no key.") from None
