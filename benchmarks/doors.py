"""The ways through the service, from an image's bytes to those of its mask, in this process."""

from __future__ import annotations

import asyncio
import base64
import time
from types import TracebackType
from typing import Any

import httpx2

import serverless
from app.main import app
from lungseg.encode.png import bits_png
from lungseg.pipeline.segment import segment


class Pipeline:
    """`pipeline.segment`, the mask at the image's size, and its PNG.

    Attributes:
        stages: milliseconds of each stage in each call.
    """

    def __init__(self) -> None:
        self.stages: list[dict[str, float]] = []

    def __call__(self, film: bytes) -> bytes:
        started = time.perf_counter()
        result = segment(film)
        segmented = time.perf_counter()
        bits = result.bits
        enlarged = time.perf_counter()
        png = bits_png(bits, result.geometry.width)
        encoded = time.perf_counter()
        stages = result.milliseconds | {
            "back to size": 1000 * (enlarged - segmented),
            "encode": 1000 * (encoded - enlarged),
        }
        stages["everything else"] = 1000 * (encoded - started) - sum(stages.values())
        self.stages.append(stages)
        return png


def handler(event: dict[str, Any]) -> bytes:
    """`serverless.handler`; the answer's body as it is, base64."""
    answer = serverless.handler(event, None)
    assert answer["statusCode"] == 200, answer["body"][:500]
    return answer["body"]


class App:
    """The FastAPI app, as an HTTP client sees it, without a network between."""

    def __enter__(self) -> App:
        self._loop = asyncio.new_event_loop()
        self._client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://service")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def __call__(self, film: bytes) -> bytes:
        answer = self._loop.run_until_complete(self._client.post("/v1/segment", content=film))
        assert answer.status_code == 200, answer.text[:500]
        return answer.content


def both_ways(film: str, mask: bytes) -> object:
    """The base64 of a request and its answer alone: what no handler gets around."""
    return base64.b64decode(film), base64.b64encode(mask)
