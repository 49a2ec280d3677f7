"""Which messages of a batch Lambda keeps in the queue after a function's response."""

from __future__ import annotations

from typing import Any


def to_keep(response: Any, batch: list[str]) -> set[str]:
    """Return the messages that Lambda keeps in the queue.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html

    Args:
        response: the function's response.
        batch: identifiers of the messages in its event.
    """
    failures = (response or {}).get("batchItemFailures") if isinstance(response or {}, dict) else "not an object"
    if not failures:
        return set()
    try:
        kept = {failure["itemIdentifier"] for failure in failures}
    except (TypeError, KeyError):
        return set(batch)
    # Lambda treats null, empty or unknown identifiers as a failure of the whole batch.
    return kept if kept <= set(batch) else set(batch)
