"""All codecs are loaded at the start, /ready says what is missing, and a shortage is no fault of the image."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app import api, doctor, readiness

PROGRAM = """
import io, sys
sys.path[:0] = ["tests"]
import numpy as np
from PIL import Image
from films import dicom, encode, tiff
from app import readiness
readiness.load()
from app.decode import decode
from app.selfcheck import drawing
import imagecodecs
grey = drawing()
deep = grey.astype(np.uint16) * 257
colour = np.repeat(deep[..., None], 3, 2)
films = [encode(Image.fromarray(grey), name) for name in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")]
films += [tiff(deep, compression=name) for name in ("lzw", "deflate", "packbits")]
films += [tiff(grey, compression="jpeg"), dicom(deep), imagecodecs.png_encode(colour)]
before = set(sys.modules)
for film in films:
    decode(film)
print(*sorted(set(sys.modules) - before))
"""


def test_no_codec_is_imported_after_the_start() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert run.stdout.split() == []


def test_ready_is_red_while_a_format_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [doctor.Check("WebP", "failed", ""), doctor.Check("PNG", "ok", "")]
    monkeypatch.setattr(readiness, "_missing", None)
    monkeypatch.setattr(doctor, "decoders", lambda: iter(found))
    with TestClient(api.app) as client:
        answer = client.get("/ready")
        assert (answer.status_code, answer.json()["code"]) == (503, "short-of-resources")
        assert "WebP" in answer.json()["detail"]
        del found[0]
        assert client.get("/ready").status_code == 200


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError("CANARY"), 503),
        (ImportError("CANARY"), 503),
        (OSError(errno.EMFILE, "CANARY"), 503),
        (OSError(errno.EIO, "CANARY"), 500),
        (RuntimeError("CANARY"), 500),
    ],
)
def test_shortage_says_that_the_image_is_not_at_fault(
    error: Exception, expected: int, monkeypatch: pytest.MonkeyPatch, small: bytes
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(api, "segment", fail)
    answer = TestClient(api.app).post("/v1/segment", content=small)
    assert answer.status_code == expected
    assert answer.json()["code"] == ("short-of-resources" if expected == 503 else "internal-error")
    assert ("retry-after" in answer.headers) == (expected == 503)
    assert "CANARY" not in answer.text
