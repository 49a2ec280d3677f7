"""Signals that stop a run."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from lungseg.batch import stop as stop_module
from lungseg.batch.stop import StopSignal


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_requests_a_stop_and_second_interrupts(kind: signal.Signals) -> None:
    before = signal.getsignal(kind)
    with StopSignal() as stop:
        assert not stop.is_requested
        os.kill(os.getpid(), kind)
        assert stop.is_requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), kind)
    assert signal.getsignal(kind) is before


def test_stop_request_ends_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = StopSignal()
    threading.Timer(0.3, lambda: setattr(stop, "is_requested", True)).start()
    started = time.monotonic()
    stop.sleep(60)
    assert 0.2 < time.monotonic() - started < 5
    stop.sleep(60)
    assert time.monotonic() - started < 5
    stop.is_requested = False
    naps: list[float] = []
    clock = [100.0]

    def nap(seconds: float) -> None:
        naps.append(seconds)
        clock[0] += seconds

    monkeypatch.setattr(stop_module, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=nap))
    stop.sleep(0.5)
    assert naps == pytest.approx([0.2, 0.2, 0.1])
    stop.sleep(0)
    assert len(naps) == 3
