"""An image as API Gateway hands it to the function."""

from __future__ import annotations

import base64
import json
from typing import Any

from benchmarks.machine import ROOT

LARGEST_EVENT = 6 * 2**20
"""Bytes of an event that AWS Lambda takes for a synchronous invocation (Lambda quotas: 6 MB)."""

EVENT = json.loads((ROOT / "events" / "api_gateway_v1.json").read_text())


def event_of(film: bytes) -> dict[str, Any]:
    """The event that API Gateway would make of an image."""
    return EVENT | {"body": base64.b64encode(film).decode(), "isBase64Encoded": True}


def fits(event: dict[str, Any]) -> bool:
    """Whether Lambda takes an event of this size."""
    return len(json.dumps(event)) <= LARGEST_EVENT
