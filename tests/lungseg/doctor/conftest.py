"""Fixtures of doctor's tests: short pauses, and no credentials of this machine."""

from __future__ import annotations

import pytest

from lungseg.remote.retry import RetryPolicy


@pytest.fixture(autouse=True)
def _fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lungseg.remote.service.RetryPolicy", lambda: RetryPolicy(attempts=2, first_pause=0.01))
    for name in ("LUNG_API_KEY", "LUNG_TOKEN"):
        monkeypatch.delenv(name, raising=False)
