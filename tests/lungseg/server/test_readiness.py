"""Codecs are loaded at the start, /ready names missing ones, and a shortage does not blame the image."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from fastapi.testclient import TestClient
from films import dicom, encode, tiff
from PIL import Image

from lungseg.decode import selftest
from lungseg.decode.transfer_syntaxes import TRANSFER_SYNTAXES
from lungseg.model.selfcheck import draw_phantom
from lungseg.server import api, readiness

PROGRAM = """
import pickle, sys
from lungseg.server import readiness
readiness.load_codecs()
from lungseg.decode import decode
before = set(sys.modules)
for image in pickle.load(sys.stdin.buffer):
    decode(image)
print(*sorted(set(sys.modules) - before))
"""


def test_codecs_are_imported_at_start(rg1: bytes, rg1_png: bytes) -> None:
    """Encode the images in this process: encoding would import the codecs in the other one."""
    grey = draw_phantom()
    deep = grey.astype(np.uint16) * 257
    images = [encode(Image.fromarray(grey), name) for name in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")]
    images += [tiff(deep, compression=name) for name in ("lzw", "deflate", "packbits")]
    images += [tiff(grey, compression="jpeg"), dicom(deep), rg1, rg1_png]
    images += [imagecodecs.png_encode(np.repeat(deep[..., None], 3, 2))]
    images += [selftest.dicom_file(grey, syntax) for syntax in TRANSFER_SYNTAXES]
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=pickle.dumps(images),
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[3],
    )
    assert run.stdout.split() == []


def test_ready_fails_while_a_format_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [selftest.DecoderCheck("WebP", "cannot be read"), selftest.DecoderCheck("PNG")]
    monkeypatch.setattr(readiness, "_missing", None)
    monkeypatch.setattr(selftest, "check_decoders", lambda _: iter(found))
    with TestClient(api.create_app()) as client:
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
def test_shortage_does_not_blame_the_image(
    error: Exception, expected: int, monkeypatch: pytest.MonkeyPatch, small: bytes
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(api, "segment", fail)
    answer = TestClient(api.create_app()).post("/v1/segment", content=small)
    assert answer.status_code == expected
    assert answer.json()["code"] == ("short-of-resources" if expected == 503 else "internal-error")
    assert ("retry-after" in answer.headers) == (expected == 503)
    assert "CANARY" not in answer.text
