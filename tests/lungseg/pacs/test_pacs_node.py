"""A DICOM node as a process: it segments what it receives, sends the results, survives kills, and logs no UID."""

from __future__ import annotations

import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_nodes import SmallPacs, chest_image, echo, send_images, send_report, small_pacs
from films import dicom, packaged
from processes import command, one_line, run, wait_for
from pydicom import dcmread
from pydicom.uid import RLELossless

from lungseg.encode.formats import DICOM_FORMATS, FORMATS
from lungseg.pacs.queue_database import QueueDatabase
from lungseg.pacs.queue_report import QueueReport, read_report


class Node:
    """`lungseg pacs serve` in its own process."""

    def __init__(self, folder: Path, pacs: SmallPacs, *options: str) -> None:
        self.folder, self._to, self._options = folder, f"PACS@127.0.0.1:{pacs.port}", options
        self.log = folder.parent / "node.log"
        self.port, self.http_port = _free_port(), _free_port()
        self._starts = 0
        self.start()

    def start(self) -> None:
        """Start it, and wait until it receives."""
        options = ["--to", self._to, "--folder", self.folder, "--port", self.port, "--http-port", self.http_port]
        self._starts += 1
        line = command("pacs", "serve", *options, "--min-free", "1", *self._options)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(line, stderr=log, env=os.environ | {"LUNG_THREADS": "1"})
        wait_for(lambda: self.log.read_text().count("receives on") == self._starts or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def end(self, kind: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(kind)
        return self.process.wait(30)

    def report(self) -> QueueReport:
        """Return the state of its queue."""
        time.sleep(0.1)  # this is asked in loops
        database = QueueDatabase(self.folder / "queue.sqlite")
        try:
            return read_report(database)
        finally:
            database.close()

    def get(self, path: str) -> bytes:
        """Return an answer of its HTTP address."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
            return bytes(answer.read())


@contextmanager
def running_node(folder: Path, pacs: SmallPacs, *options: str) -> Iterator[Node]:
    node = Node(folder / "queue", pacs, *options)
    try:
        yield node
    finally:
        node.end(signal.SIGKILL)


def _free_port() -> int:
    """Return a port that no connection of another process gets by chance."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def test_results_arrive_and_everything_else_is_counted(tmp_path: Path) -> None:
    compressed = chest_image()
    compressed.compress(RLELossless)
    noise = np.random.default_rng(0).integers(0, 4000, (400, 400), np.uint16)
    rg1 = dcmread(packaged("RG1_J2KR.dcm"))
    images = [
        chest_image(),
        compressed,
        rg1,
        chest_image(ViewPosition="LL"),
        chest_image(BodyPartExamined="HAND"),
        chest_image(Rows=10_000),
        dcmread(io.BytesIO(dicom(noise, Modality="OT"))),
    ]
    formats = [word for name in DICOM_FORMATS for word in ("--format", name)]
    with small_pacs() as pacs, running_node(tmp_path, pacs, "--commit", *formats) as node:
        pacs.report = lambda report: send_report(node.port, report)
        assert echo(node.port) == 0
        assert send_images(node.port, *images) == [0] * len(images)
        wait_for(lambda: node.report().images == {"done": len(images)}, 60)
        metrics, health = node.get("/metrics").decode(), json.loads(node.get("/health"))
        with pytest.raises(urllib.error.HTTPError, match="404"):
            node.get("/images")
        assert node.end() == 0

    assert set(pacs.received.values()) == {1}
    assert {each.StudyInstanceUID for each in pacs.stored.values()} == {each.StudyInstanceUID for each in images[:3]}
    classes = Counter(each.SOPClassUID for each in pacs.stored.values())
    assert classes == {FORMATS[name].sop_class: 3 for name in DICOM_FORMATS}
    for stored in pacs.stored.values():
        assert "PixelData" not in stored or stored.pixel_array.any()
    left_alone = {"other-view": 1, "other-body-part": 1, "damaged-film": 1, "rejected-not-frontal": 1}
    assert node.report().left_alone == left_alone
    assert list(node.folder.rglob("*.dcm")) == []
    assert health == {"status": "ok", "destination": "reachable", "queued": 0}
    assert 'lungseg_pacs_received_total{answer="queued"} 7.0' in metrics
    assert 'lungseg_pacs_sent_total{format="dicom-seg"} 3.0' in metrics
    assert 'lungseg_pacs_left_alone_total{reason="other-view"} 1.0' in metrics
    assert_no_identifiers(node.log.read_text() + metrics, images, pacs)


def test_killed_node_loses_nothing_and_sends_nothing_twice(tmp_path: Path) -> None:
    images = [chest_image() for _ in range(4)]
    with small_pacs() as pacs, running_node(tmp_path, pacs) as node:
        assert send_images(node.port, *images[:2]) == [0, 0]
        node.end(signal.SIGKILL)  # right after the answer: nothing is segmented yet
        assert sum(node.report().images.values()) == 2
        node.start()
        assert send_images(node.port, *images) == [0] * 4
        wait_for(lambda: len(pacs.stored) == 1, 60)
        node.end(signal.SIGKILL)  # some are sent, others are not
        node.start()
        wait_for(lambda: node.report().images == {"done": 4}, 60)
        assert send_images(node.port, *images) == [0] * 4
        assert node.report().images == {"done": 4}
    assert len(pacs.stored) == 4
    assert set(pacs.received.values()) == {1}
    assert {each.StudyInstanceUID for each in pacs.stored.values()} == {each.StudyInstanceUID for each in images}


def test_second_node_in_a_folder_is_refused(tmp_path: Path) -> None:
    with small_pacs() as pacs, running_node(tmp_path, pacs) as node:
        done = run("pacs", "serve", "--to", "PACS@127.0.0.1:1", "--folder", node.folder, "--port", _free_port())
        assert done.returncode == 2
        assert one_line(done) == "error: another node uses this folder; stop it, or name another one with --folder"


def test_port_in_use_is_one_line(tmp_path: Path) -> None:
    with small_pacs() as pacs:
        done = run("pacs", "serve", "--to", "PACS@127.0.0.1:1", "--folder", tmp_path / "q", "--port", pacs.port)
    assert done.returncode == 1
    assert one_line(done) == "error: the node could not start: Address already in use"


def assert_no_identifiers(text: str, images: list[Any], pacs: SmallPacs) -> None:
    """Check that a log names no patient, study or object, and has no path."""
    assert "image 1: accept, dicom-seg" in text
    secrets = {"CANARY", "Canary", "MODALITY", "queue.sqlite", ".dcm", *pacs.stored}
    for each in images:
        secrets |= {
            str(each.get(name)) for name in ("SOPInstanceUID", "StudyInstanceUID", "PatientID") if each.get(name)
        }
    assert [secret for secret in secrets if secret in text] == []
    assert not re.search(r"\b[12]\.\d+\.\d+\.\d+\.\d+\.\d+", text)
