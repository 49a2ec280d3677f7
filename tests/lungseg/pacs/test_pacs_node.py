"""A DICOM node as a process: it segments what it receives, sends the results, survives kills, and logs no UID."""

from __future__ import annotations

import io
import json
import re
import signal
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
from node_process import NodeProcess, free_port
from processes import one_line, run, wait_for
from pydicom import dcmread
from pydicom.uid import RLELossless

from lungseg.encode.formats import DICOM_FORMATS, FORMATS


@contextmanager
def running_node(folder: Path, pacs: SmallPacs, *options: str) -> Iterator[NodeProcess]:
    node = NodeProcess(folder / "queue", f"PACS@127.0.0.1:{pacs.port}", *options)
    try:
        yield node
    finally:
        node.end(signal.SIGKILL)


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
        done = run("pacs", "serve", "--to", "PACS@127.0.0.1:1", "--folder", node.folder, "--port", free_port())
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
