"""Fixtures of the remote client's tests: short pauses, no credentials of this machine, and images."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungseg.remote.retry import RetryPolicy
from lungseg.remote.segment import MAX_DIRECT_BYTES


@pytest.fixture(autouse=True)
def _fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between attempts, and hide this machine's own credentials."""
    monkeypatch.setattr("lungseg.remote.service.RetryPolicy", lambda: RetryPolicy(first_pause=0.01))
    for name in ("LUNG_API_KEY", "LUNG_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def image(tmp_path: Path, small: bytes) -> Path:
    """A small image."""
    path = tmp_path / "an image.png"
    path.write_bytes(small)
    return path


@pytest.fixture
def large_image(tmp_path: Path, rg1: bytes) -> Path:
    """RG1 unchanged, 7.2 MB: too large for one request."""
    path = tmp_path / "patient name.dcm"
    path.write_bytes(rg1)
    assert path.stat().st_size > MAX_DIRECT_BYTES
    return path
