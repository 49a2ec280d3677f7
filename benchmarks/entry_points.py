"""The entry points of the service in this process: from the bytes of an image to those of its mask."""

from __future__ import annotations

import asyncio
import base64
import time
from types import TracebackType
from typing import Any

import httpx2

import serverless
from app.main import app
from lungseg.encode.png_file import bits_png
from lungseg.pipeline.segment import segment


class Pipeline:
    """`pipeline.segment`, the mask at the image's size, and its PNG.

    Attributes:
        stages: milliseconds by stage, for each call.
    """

    def __init__(self) -> None:
        self.stages: list[dict[str, float]] = []

    def __call__(self, image: bytes) -> bytes:
        started = time.perf_counter()
        result = segment(image)
        segmented = time.perf_counter()
        bits = result.bits
        upsampled = time.perf_counter()
        png = bits_png(bits, result.geometry.width)
        encoded = time.perf_counter()
        stages = result.milliseconds | {
            "back to size": 1000 * (upsampled - segmented),
            "encode": 1000 * (encoded - upsampled),
        }
        stages["everything else"] = 1000 * (encoded - started) - sum(stages.values())
        self.stages.append(stages)
        return png


def handler(event: dict[str, Any]) -> bytes:
    """Call `serverless.handler`; return the body of its response, in base64."""
    answer = serverless.handler(event, None)
    assert answer["statusCode"] == 200, answer["body"][:500]
    return answer["body"]


class App:
    """The FastAPI app, called through an HTTP client without a network."""

    def __enter__(self) -> App:
        self._loop = asyncio.new_event_loop()
        self._client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://service")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._loop.run_until_complete(self._client.aclose())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def __call__(self, image: bytes) -> bytes:
        answer = self._loop.run_until_complete(self._client.post("/v1/segment", content=image))
        assert answer.status_code == 200, answer.text[:500]
        return answer.content


def base64_round_trip(image: str, mask: bytes) -> object:
    """Decode a request and encode a response: the part of the handler that cannot be avoided."""
    return base64.b64decode(image), base64.b64encode(mask)
