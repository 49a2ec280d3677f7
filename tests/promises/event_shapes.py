"""Every event that Lambda may receive: as its source sends it, and with any member missing or wrong."""

from __future__ import annotations

import base64
import copy
import functools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from buckets import eventbridge_event, inventory_event, map_event, operations_event, s3_event, sqs_event

EVENTS = Path(__file__).resolve().parents[2] / "events"

BUCKET = "lung-films-123456789012-eu-west-1-in"
"""The bucket of images in all example events."""
KEY = "in/a b.dcm"
"""The image that they name; here one that is rejected, which takes no time."""
GOOD = "in/good.png"
"""An image that is segmented."""

CANARY = "Zwiebelfisch"
"""Part of every odd text; no log may quote it."""

Path_ = tuple[str | int, ...]


class _Gone:
    def __repr__(self) -> str:
        return "missing"


GONE = _Gone()
"""Marks a member to delete."""


def _deep(depth: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]
    return nested


ODD: tuple[Any, ...] = (
    GONE,
    None,
    0,
    -1,
    1.5,
    2**70,
    float("nan"),
    True,
    False,
    "",
    CANARY,
    f"\0\r\n{CANARY}",
    f"\ud800{CANARY}",
    f"ü🫁{CANARY}",
    CANARY * 10_000,
    [],
    [None],
    [CANARY],
    [[]],
    {},
    {CANARY: 1},
    {"": None},
    _deep(500),
)
"""Wrong values of a member."""


@dataclass(frozen=True)
class Case:
    """One invocation.

    Attributes:
        name: the original event.
        change: what was changed, for people.
        event: the whole event.
        place: the path of the one changed member; None if several changed, or none.
        milliseconds: time left of the invocation.
        status, code: the expected HTTP status and error code, if known.
    """

    name: str
    change: str
    event: Any
    place: Path_ | None = None
    milliseconds: int = 60_000
    status: int | None = None
    code: str | None = None


@functools.cache
def originals() -> dict[str, dict[str, Any]]:
    """Return each source's event as it sends it; do not change them."""
    found: dict[str, dict[str, Any]] = {each.stem: json.loads(each.read_text()) for each in EVENTS.glob("*.json")}
    for name, event in found.items():
        if event.get("body") == "":
            event["body"] = base64.b64encode(b"This is no image.").decode()
        if name.startswith("sqs"):
            for number, record in enumerate(event["Records"]):
                record["messageId"] = f"message-{number}"
    balancer = found["load_balancer"]
    found["load_balancer_single"] = {
        name: value for name, value in balancer.items() if not name.startswith("multiValue")
    } | {"headers": {name: values[0] for name, values in balancer["multiValueHeaders"].items()}}
    found["batch_operations_1"] = operations_event(BUCKET, KEY)
    found["inventory"] = inventory_event(BUCKET, KEY)
    found["sqs_many"] = sqs_event(*(s3_event(BUCKET, f"in/{number}") for number in range(3)))
    found["scheduled"] = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}, "resources": ["rule"]}
    return dict(sorted(found.items()))


def is_http(name: str) -> bool:
    """Return whether a source expects an HTTP response."""
    return name.startswith(("api_", "function_", "load_"))


def places(value: Any, before: Path_ = ()) -> Iterator[Path_]:
    """Return the path of each member of an event, the event itself first; also inside the bodies of queue messages."""
    yield before
    if before[-1:] == ("body",) and isinstance(value, str) and value.startswith("{"):
        value = json.loads(value)
    if isinstance(value, dict):
        for name, member in value.items():
            yield from places(member, (*before, name))
    elif isinstance(value, list):
        for number, member in enumerate(value):
            yield from places(member, (*before, number))


def changed(event: Any, place: Path_, value: Any) -> Any:
    """Return an event with another value at one path, or without it for GONE; a missing path changes nothing."""
    if not place:
        return value
    first, *rest = place
    if first == "body" and rest:
        try:
            return {**event, "body": json.dumps(changed(json.loads(event["body"]), tuple(rest), value))}
        except (TypeError, ValueError, KeyError):
            return event
    whole = copy.copy(event)
    try:
        if rest:
            whole[first] = changed(event[first], tuple(rest), value)
        elif value is GONE:
            del whole[first]
        else:
            whole[first] = value
    except (TypeError, LookupError):
        pass
    return whole


def each_member_wrong() -> Iterator[Case]:
    """Yield each event with each member missing and of every wrong type."""
    for name, event in originals().items():
        yield Case(name, "as it is", event)
        for place in places(event):
            for value in ODD:
                if place or value is not GONE:
                    yield Case(name, f"{place} is {value!r:.20}", changed(event, place, value), place)


def several_wrong(seed: int) -> Iterator[Case]:
    """Yield events with two to five wrong members, or members of other events, without end."""
    drawn = random.Random(seed)
    events = originals()
    names = list(events)
    while True:
        name = drawn.choice(names)
        event, changes = events[name], []
        for _ in range(drawn.randint(2, 5)):
            place = drawn.choice(list(places(event))[1:] or [()])
            value = drawn.choice(ODD)
            if drawn.random() < 0.2:
                other = events[drawn.choice(names)]
                place = (drawn.choice(list(other)),)
                value = other[place[0]]
            if place:
                event = changed(event, place, value)
                changes.append(f"{place} is {value!r:.20}")
        yield Case(name, "; ".join(changes), event)


def bodies(image: bytes) -> Iterator[Case]:
    """Yield bodies from every source: images and other bytes, in valid and invalid base64, isBase64Encoded on and off.

    Args:
        image: a valid one that is segmented quickly.
    """
    for name, event in originals().items():
        if not is_http(name) or event["body"] in (None, "") or event["body"].startswith("{"):
            continue
        for data, status, code in ((image, 200, None), (b"This is no image", 415, "unsupported-format")):
            text = base64.b64encode(data).decode()
            good = (text, "\n".join(text[start : start + 76] for start in range(0, len(text), 76)) + "\r\n")
            bad = (
                text + "=",
                text + "====",
                text[:-1],
                text[:-2],
                text[:-3],
                "=" + text,
                text[:8] + "=" + text[8:],
                text[:8] + "*" + text[8:],
                text[:8] + " " + text[8:],
                text[:8] + "-_" + text[10:],
                text[:8] + "ü" + text[8:],
                text[:8] + "\ud800" + text[8:],
                text[:8] + "\0" + text[8:],
            )
            for flag in (True, 1, "true"):
                for body in good:
                    yield Case(
                        name, "base64", event | {"body": body, "isBase64Encoded": flag}, status=status, code=code
                    )
                for body in bad:
                    yield Case(
                        name,
                        "bad base64",
                        event | {"body": body, "isBase64Encoded": flag},
                        status=400,
                        code="bad-base64",
                    )
            for flag in (False, None, 0, ""):
                yield Case(
                    name,
                    "text",
                    event | {"body": text, "isBase64Encoded": flag},
                    status=415,
                    code="unsupported-format",
                )
                mangled = {"body": data.decode("utf-8", "replace"), "isBase64Encoded": flag}
                expected = (400, "mangled-body") if data == image else (415, "unsupported-format")
                yield Case(name, "bytes as text", event | mangled, status=expected[0], code=expected[1])
        yield Case(name, "no body", event | {"body": None}, status=400, code="empty-body")
        yield Case(
            name,
            "half a character",
            event | {"body": "\ud800", "isBase64Encoded": False},
            status=400,
            code="mangled-body",
        )


HEADERS: tuple[tuple[str, str], ...] = (
    ("accept", f"application/x-{CANARY};q=0.1, " * 30_000),
    ("accept", "*/*;q=" + "1" * 100_000),
    ("accept", "/"),
    ("accept", ";;;,,,"),
    ("content-type", "multipart/form-data"),
    ("content-type", f"multipart/form-data; boundary={CANARY * 10_000}"),
    ("content-type", "multipart/form-data; boundary="),
    ("content-type", 'multipart/form-data; boundary="'),
    ("content-type", "multipart/form-data; charset=\ufffd; boundary=a"),
    ("content-type", f"multipart/form-data; charset={CANARY}; boundary=a"),
    ("content-length", "-1"),
    ("content-length", "9" * 5000),
    ("if-none-match", f'W/"{CANARY}", ' * 30_000),
    ("host", "[::1]:8000"),
    ("host", "a:b:c"),
    ("host", ""),
    ("x-forwarded-port", ""),
    ("x-forwarded-port", "443, 8443"),
    ("x-forwarded-for", f"{CANARY}, " * 30_000),
    ("x-forwarded-proto", CANARY),
    ("expect", "100-continue"),
    ("transfer-encoding", "chunked"),
    ("upgrade", "websocket"),
    ("range", f"bytes={CANARY}"),
    ("cookie", f"{CANARY}=" * 30_000),
    ("\u0130", "upper case that is longer in lower case"),
    ("", CANARY),
    (f"x-{CANARY}: \r\nx", f"{CANARY}\r\nset-cookie: {CANARY}"),
)


def headers() -> Iterator[Case]:
    """Yield events with huge headers, malformed headers, thousands of headers."""
    thousands = {f"x-{CANARY}-{number}": CANARY for number in range(10_000)}
    for name, event in originals().items():
        if not is_http(name):
            continue
        for added in (*({key: value} for key, value in HEADERS), thousands):
            for members in (("headers",), ("multiValueHeaders",), ("headers", "multiValueHeaders")):
                if not any(member in event for member in members):
                    continue
                whole = dict(event)
                for member in members:
                    values = {key: [value] for key, value in added.items()} if member != "headers" else added
                    whole[member] = (event.get(member) or {}) | values
                yield Case(name, f"headers {next(iter(added))!r:.20}", whole)
                yield Case(name, f"headers {next(iter(added))!r:.20} alone", whole | dict.fromkeys(members, values))


def many_and_mixed() -> Iterator[Case]:
    """Yield events with many records, records of several kinds, and too little time for any."""
    events = originals()
    records = {name: event["Records"] for name, event in events.items() if "Records" in event}
    image: Callable[[int], str] = "in/{}".format
    yield Case("s3", "200 records", s3_event(BUCKET, *map(image, range(200))))
    yield Case("sqs", "200 records", sqs_event(*(s3_event(BUCKET, image(number)) for number in range(200))))
    yield Case("sqs", "a message of 200 records", sqs_event(s3_event(BUCKET, *map(image, range(200)))))
    yield Case("distributed_map", "200 items", map_event(BUCKET, *map(image, range(200))))
    yield Case("s3", "good and bad", s3_event(BUCKET, GOOD, KEY, GOOD))
    yield Case("eventbridge", "good", eventbridge_event(BUCKET, GOOD))
    yield Case("direct", "good", {"image_key": GOOD})
    for (one, ones), (other, others) in product(records.items(), repeat=2):
        yield Case(one, f"with records of {other}", events[one] | {"Records": ones + others})
    for one, event in events.items():
        for other in events:
            yield Case(one, f"members of {other} beneath", events[other] | event)
        for milliseconds in (0, -1, 14_999):
            yield Case(one, f"{milliseconds} ms left", event, milliseconds=milliseconds)
    for attempt in range(6):
        yield Case(
            "distributed_map",
            f"no time, round {attempt}",
            map_event(BUCKET, "a") | {"attempt": attempt, "counts": {"done": 1}},
            milliseconds=0,
        )
    for odd in (*ODD[1:], "null", "[" * 100_000, '{"a":' * 100_000, "1" * 10_000, "\ufeff{}"):
        yield Case("sqs", f"a body that is {odd!r:.20}", sqs_event(s3_event(BUCKET, KEY), odd))
