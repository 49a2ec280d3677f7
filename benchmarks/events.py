"""An image as an event of API Gateway."""

from __future__ import annotations

import base64
import json
from typing import Any

from benchmarks.machine import ROOT

MAX_EVENT_BYTES = 6 * 2**20
"""AWS Lambda's limit for a synchronous invocation (Lambda quotas: 6 MB)."""

EVENT = json.loads((ROOT / "events" / "api_gateway_v1.json").read_text())


def make_event(image: bytes) -> dict[str, Any]:
    """Return the event of an image."""
    return EVENT | {"body": base64.b64encode(image).decode(), "isBase64Encoded": True}


def fits_event(event: dict[str, Any]) -> bool:
    """Return whether an event is within Lambda's limit."""
    return len(json.dumps(event)) <= MAX_EVENT_BYTES
