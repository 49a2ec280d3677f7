"""`lungseg dicomweb` while it watches a server, and when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dicomweb_server import Answer, Server, radiograph
from processes import command, wait_for

from lungseg.batch.stop import StopSignal


@contextmanager
def meanwhile(steps: Callable[[], None]) -> Iterator[None]:
    """Run ``steps`` in a thread during the block, then send SIGTERM to this process."""

    def run_steps() -> None:
        try:
            steps()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=run_steps)
    thread.start()
    yield
    thread.join()


@pytest.fixture
def short_naps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time between two searches."""
    monkeypatch.setattr(StopSignal, "sleep", lambda self, seconds: time.sleep(min(seconds, 0.05)))


@pytest.mark.usefixtures("short_naps")
def test_watch_segments_what_arrives(
    server: Server, chest: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.store.add(radiograph(chest, 1), radiograph(chest, 2, BodyPartExamined="HAND"))

    def arrive() -> None:
        wait_for(lambda: len(server.store.results()) == 1)
        server.store.add(radiograph(chest, 1), radiograph(chest, 3))
        wait_for(lambda: len(server.store.results()) == 3)
        # A study that got a result is looked at once more, one that needs nothing is not.
        search_again(8)
        looked = server.store.count("GET", "/metadata")
        search_again(8)
        assert server.store.count("GET", "/metadata") == looked

    def search_again(times: int) -> None:
        before = server.store.count("GET", r"/studies\?")
        wait_for(lambda: server.store.count("GET", r"/studies\?") > before + times)

    with meanwhile(arrive):
        assert server.run("--all", "--watch", "--every", "1", "--report", tmp_path / "run.json") == 0
    counts = json.loads((tmp_path / "run.json").read_text())["counts"]
    assert (counts["studies"], counts["segmented"], counts["failed"]) == (3, 3, 0)
    assert "3 studies: 3 images segmented, 0 rejected" in capsys.readouterr().err


@pytest.mark.usefixtures("short_naps")
def test_watch_outlasts_an_outage(server: Server, chest: bytes, no_pauses: list[float]) -> None:
    server.store.add(radiograph(chest))
    outage = iter(range(12))
    server.store.spoil = lambda method, path: None if next(outage, None) is None else Answer(503)
    with meanwhile(lambda: wait_for(server.store.results)):
        assert server.run("--all", "--watch", "--every", "1") == 0


def test_first_signal_finishes_the_images_under_way(
    server: Server, chest: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    server.store.add(*(radiograph(chest, number) for number in range(12)))
    with meanwhile(lambda: wait_for(server.store.results)):
        assert server.run("--all", "--workers", "1") == 130
    stored = len(server.store.results())
    assert 1 <= stored < 12
    assert server.store.count("POST", "") == stored
    assert "interrupted; run the same command again to continue" in capsys.readouterr().err
    assert server.run("--all") == 0
    assert len(server.store.results()) == 12
    assert server.store.count("POST", "") == 12


def test_second_signal_ends_at_once(server: Server, chest: bytes) -> None:
    server.store.add(radiograph(chest))
    server.store.spoil = lambda method, path: Answer(delay=60) if "/instances/" in path else None
    process = subprocess.Popen(command("dicomweb", server.url, "--all"), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: server.store.count("GET", "/instances/"))
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "error: interrupted"
