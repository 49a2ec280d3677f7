"""Segment images through both entry points, as often as requested, and measure this process."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from ledger import cases

EVENT = Path(__file__).resolve().parents[2] / "events" / "api_gateway_v2.json"

SAMPLE = cases(10, 100)
"""Images between two measurements of memory."""


@dataclass
class Measured:
    """Measurements of a block of images.

    Attributes:
        seconds: processor time of each image, over all threads of this process.
        memory: resident bytes after every SAMPLE images of this process.
        changed: how often an image's response differed from the first one.
    """

    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    changed: int = 0


def serve(line: Connection, images: list[bytes]) -> None:
    """Segment as many images as ``line`` says and send back a Measured, again and again, until it says 0.

    Each image takes both entry points in turn: `pipeline.segment` with its PNG, and an API Gateway event.
    """
    from lungseg import errors
    from lungseg.encode.png import mask_png
    from lungseg.pipeline.segment import segment
    from serverless import handler

    event = json.loads(EVENT.read_text())

    def direct(image: bytes) -> object:
        try:
            return mask_png(segment(image).mask)
        except errors.ProblemError as error:
            return error.code

    def http(image: bytes) -> object:
        answer = handler(event | {"body": base64.b64encode(image).decode(), "isBase64Encoded": True}, None)
        return answer["statusCode"], answer["body"]

    doors: tuple[Callable[[bytes], object], ...] = (direct, http)
    first: dict[tuple[int, int], str] = {}
    done = 0
    while count := line.recv():
        measured = Measured()
        for _ in range(count):
            turn, place = divmod(done, len(images))
            door = (turn + place) % len(doors)
            started = time.process_time()
            answer = doors[door](images[place])
            measured.seconds.append(time.process_time() - started)
            digest = hashlib.sha256(repr(answer).encode()).hexdigest()
            measured.changed += first.setdefault((place, door), digest) != digest
            done += 1
            if done % SAMPLE == 0:
                measured.memory.append(resident())
        line.send(measured)


def resident() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
