"""What Lambda leaves in the queue of a batch that a function has answered."""

from __future__ import annotations

from typing import Any


def to_keep(response: Any, batch: list[str]) -> set[str]:
    """The messages that Lambda leaves in the queue ("Reporting batch item failures" in its guide).

    Args:
        response: the function's answer.
        batch: identifiers of the messages it was given.
    """
    failures = (response or {}).get("batchItemFailures") if isinstance(response or {}, dict) else "not an object"
    if not failures:
        return set()
    try:
        kept = {failure["itemIdentifier"] for failure in failures}
    except (TypeError, KeyError):
        return set(batch)
    # Null, empty or unknown identifiers mean that nothing is known of any message.
    return kept if kept <= set(batch) else set(batch)
