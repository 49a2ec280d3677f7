"""Every response to any request is declared in the OpenAPI document (schemathesis).

`LUNG_CASES=500 python -m pytest tests/lungseg/server/test_openapi.py` sends 500 requests to each route (`make
fuzz-api`).
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator

import pytest
import schemathesis
from buckets import forget, make
from films import dicom, encode, packaged
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.checks import CHECKS, load_all_checks

from app.main import app
from lungseg.decode import decode

CASES = int(os.environ.get("LUNG_CASES", "20"))
"""Requests per route."""

load_all_checks()
LEFT_OUT = CHECKS.get_by_names(["positive_data_acceptance"])
"""It expects success for any bytes, since a schema cannot describe a valid image."""


def _films() -> dict[str, bytes]:
    """Return RG1 at a sixth of its size, by media type."""
    pixels = decode(packaged("RG1_UNCR.dcm").read_bytes()).pixels[::6, ::6]
    image = Image.fromarray((pixels >> 8).astype("uint8"))
    formats = {"image/png": "PNG", "image/jpeg": "JPEG", "image/tiff": "TIFF", "image/bmp": "BMP", "image/webp": "WEBP"}
    return {media: encode(image, name) for media, name in formats.items()} | {"application/dicom": dicom(pixels.copy())}


@st.composite
def _damaged(draw: st.DrawFn, film: bytes) -> bytes:
    """Return an image with some bytes changed, or truncated."""
    data = io.BytesIO(film)
    for place in draw(st.lists(st.integers(0, len(film) - 1), max_size=5)):
        data.seek(place)
        data.write(draw(st.binary(min_size=1, max_size=4)))
    return data.getvalue()[: draw(st.integers(0, len(film)))]


for media_type, whole in _films().items():
    schemathesis.openapi.media_type(media_type, st.one_of(st.just(whole), _damaged(whole), st.binary(max_size=200)))

schema = schemathesis.openapi.from_asgi("/openapi.json", app)
segment_statuses: Counter[int] = Counter()
"""How often `POST /v1/segment` answered with each status."""


@pytest.fixture(scope="module", autouse=True)
def jobs(s3: str) -> Iterator[None]:
    """Create buckets for jobs; without them, every response would be the same 501."""
    with pytest.MonkeyPatch.context() as patch:
        make(s3, patch, versioned=True)
        yield
    forget()


@pytest.fixture(scope="module", autouse=True)
def whole_and_damaged_images() -> Iterator[None]:
    """Fail if the requests to `/v1/segment` never held a readable image, or never an unreadable one.

    This runs after the last test of this module, so that the order of the tests does not matter.
    """
    segment_statuses.clear()
    yield
    if segment_statuses:
        assert segment_statuses[200] > 0, segment_statuses
        assert segment_statuses[415] + segment_statuses[422] > 0, segment_statuses


@schema.parametrize()
@settings(max_examples=CASES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_every_response_is_declared(case: schemathesis.Case) -> None:
    response = case.call_and_validate(excluded_checks=LEFT_OUT)
    assert response.status_code < 500
    if case.operation.label == "POST /v1/segment":
        segment_statuses[response.status_code] += 1
