"""Batches of a Step Functions Distributed Map: the keys under a prefix, or the lines of an S3 inventory.

https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itembatcher.html
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import unquote_plus

from app.buckets.keys import ImageLocation
from app.buckets.s3 import StoreError
from app.invocation import Invocation, UnsupportedEvent

MAX_IDLE_ROUNDS = 5
"""Consecutive rounds without a finished image after which a batch fails."""


class UnfinishedBatch(Exception):
    """Some images of a batch failed in every round."""


def infer(event: dict[str, Any]) -> bool:
    """Return whether the event is a batch of an ItemBatcher, or what `handle` returned for one."""
    return isinstance(event.get("Items"), list) and isinstance(event.get("BatchInput"), dict)


def handle(event: dict[str, Any], invocation: Invocation) -> dict[str, Any]:
    """Process the batch's images.

    If an invocation is killed, the state machine splits its batch and sends each image alone with a ``delivery``, the
    name of the execution. `app.buckets.crashes` then finds the image that kills its process.

    Returns:
        The event with the remaining ``Items``, which the state machine sends again until none remain, and ``counts`` of
        the outcomes of all rounds.

    Raises:
        UnsupportedEvent: an item lacks bucket or key, or the counts of earlier rounds are invalid.
        UnfinishedBatch: no remaining image could be processed in MAX_IDLE_ROUNDS rounds.
    """
    batch_input = event["BatchInput"]
    images = [_parse_item(each, batch_input) for each in event["Items"]]
    counts, attempt, left = *_parse_counts(event), []
    delivery = _parse_delivery(event)
    for each, item in zip(event["Items"], images, strict=True):
        try:
            counts[invocation.process(item, delivery=delivery.get("delivery")).outcome] += 1
        except StoreError:
            left.append(each)
    attempt = attempt + 1 if len(left) == len(images) else 0
    if left and attempt >= MAX_IDLE_ROUNDS:
        raise UnfinishedBatch(f"{len(left)} images of a batch could not be processed; see the function's log.")
    return {"BatchInput": batch_input, "Items": left, "counts": dict(counts), "attempt": attempt} | delivery


def _parse_delivery(event: dict[str, Any]) -> dict[str, str]:
    """Return the member ``delivery``, if there is one."""
    delivery = event.get("delivery")
    if delivery is None:
        return {}
    if not isinstance(delivery, str):
        raise UnsupportedEvent("The delivery of a batch is not a string.")
    return {"delivery": delivery}


def _parse_counts(event: dict[str, Any]) -> tuple[Counter[str], int]:
    """Return the counts of earlier rounds, and the number of the latest ones without a finished image."""
    counts, attempt = event.get("counts", {}), event.get("attempt", 0)
    if not isinstance(counts, dict) or not all(isinstance(number, int) for number in (*counts.values(), attempt)):
        raise UnsupportedEvent("The counts of earlier rounds are invalid.")
    return Counter(counts), attempt


def _parse_item(each: Any, batch_input: dict[str, Any]) -> ImageLocation:
    try:
        bucket, key = each.get("Bucket") or batch_input["bucket"], each["Key"]
        # Keys in an inventory are URL-encoded; keys in a listing are not.
        key = unquote_plus(key, errors="strict") if batch_input.get("keys") == "url-encoded" else key
        return ImageLocation.parse(bucket, key)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UnsupportedEvent("An item of the batch has no bucket or no key.") from None
