"""The handler accepts the example events of events/."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from buckets import Context
from films import read_mask

import serverless
from app import dispatch

ROOT = Path(__file__).resolve().parents[2]

EVENTS = sorted(each.stem for each in (ROOT / "events").glob("*.json"))


@pytest.mark.parametrize("name", [each for each in EVENTS if each.startswith(("api_", "function_", "load_"))])
def test_example_requests_are_answered(name: str, rg1_png: bytes) -> None:
    event = json.loads((ROOT / "events" / f"{name}.json").read_text())
    assert not event["body"] or event["body"].startswith("{"), "no image is committed"
    if event["body"] == "":
        event["body"] = base64.b64encode(rg1_png).decode()
    answer = serverless.handler(event, Context())
    assert answer["statusCode"] == (501 if "job" in name else 200), answer
    if event["isBase64Encoded"]:
        assert read_mask(base64.b64decode(answer["body"])).shape == (1955, 1841)


@pytest.mark.parametrize("name", [each for each in EVENTS if not each.startswith(("api_", "function_", "load_"))])
def test_example_events_are_recognised(name: str) -> None:
    event = json.loads((ROOT / "events" / f"{name}.json").read_text())
    assert [source for source in dispatch.EVENT_SOURCES if source.infer(event)], name
