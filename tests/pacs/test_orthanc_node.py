"""`lungseg pacs serve` and a real Orthanc: 300 images, 30 kills of the node, Orthanc down for a while."""

from __future__ import annotations

import io
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from dicom_nodes import send_images
from dicomweb_server import radiograph
from films import dicom
from node_process import NodeProcess
from numpy.typing import NDArray
from orthanc import Orthanc
from processes import wait_for
from pydicom import dcmread
from pydicom.dataset import Dataset
from test_orthanc_dicomweb import images, sources

from lungseg.encode.formats import DICOM_FORMATS, FORMATS

IMAGES, KILLS, PLAIN_IMAGES = 300, 30, 40
DOWN_SECONDS = 15

AUTO_ROUTE = Path(__file__).parents[2] / "deploy" / "pacs" / "route.lua"


def films(pixels: list[NDArray[Any]], count: int, start: int = 0) -> list[Dataset]:
    """Return radiographs of at most 1,000 pixels on a side, of different patients."""
    found = []
    for number in range(start, start + count):
        step = -(-max(pixels[number % len(pixels)].shape) // 1000)
        smaller = np.ascontiguousarray(pixels[number % len(pixels)][::step, ::step])
        modality = ("CR", "DX")[number % 2]
        content = radiograph(dicom(smaller, BodyPartExamined="CHEST"), number, Modality=modality)
        found.append(dcmread(io.BytesIO(content)))
    return found


class Modality(threading.Thread):
    """Sends images one by one, each until it is acknowledged."""

    def __init__(self, port: int, queue: list[Dataset]) -> None:
        super().__init__(daemon=True)
        self._port, self._queue = port, queue
        self.sent = 0

    def run(self) -> None:
        for each in self._queue:
            while send_images(self._port, each) != [0]:
                time.sleep(0.2)
            self.sent += 1


def peak_bytes(node: NodeProcess, peak: tuple[int, int]) -> tuple[int, int]:
    """Return the larger memory of the node, and of its process for images."""
    try:
        process = psutil.Process(node.process.pid)
        children = [each.memory_info().rss for each in process.children(recursive=True)]
        return max(peak[0], process.memory_info().rss), max([peak[1], *children])
    except psutil.Error:
        return peak


def test_every_image_of_300_gets_its_results_once(
    tmp_path: Path, rg1_pixels: NDArray[np.uint16], orthanc: Orthanc, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels, dice, peak = images(rg1_pixels), random.Random(25), (0, 0)
    formats = ("--format", "dicom-seg", "--format", "dicom-sr", "--commit")
    node = NodeProcess(tmp_path / "queue", f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", *formats)
    orthanc.configure(DicomModalities={"lungseg": ["LUNGSEG", "127.0.0.1", node.port]})
    try:
        started = time.monotonic()
        plain = Modality(node.port, films(pixels, PLAIN_IMAGES, 10_000))
        plain.start()
        while node.report().images.get("done", 0) < PLAIN_IMAGES:
            peak = peak_bytes(node, peak)
        rate = PLAIN_IMAGES / (time.monotonic() - started)

        sent = films(pixels, IMAGES)
        started = time.monotonic()
        modality = Modality(node.port, sent)
        modality.start()
        for kill in range(KILLS):
            end = time.monotonic() + dice.uniform(1, 8)
            while time.monotonic() < end:
                peak = peak_bytes(node, peak)
                time.sleep(0.2)
            if kill == KILLS // 2:
                orthanc.stop()
                time.sleep(DOWN_SECONDS)
                orthanc.start()
            node.end(signal.SIGKILL)
            node.start()
        modality.join(1800)
        wait_for(lambda: node.report().images.get("done", 0) == IMAGES + PLAIN_IMAGES, 1800)
        seconds = time.monotonic() - started
        report = node.report()
        assert node.end() == 0
    finally:
        node.end(signal.SIGKILL)

    rejected = sum(report.left_alone.values())
    assert set(report.left_alone) <= {"rejected-not-frontal", "rejected-no-lung"}
    assert report.dead_letters == []
    segmented = Counter(sources(orthanc))
    assert set(segmented.values()) == {1}
    uids = {each.SOPInstanceUID for each in sent} | {each.SOPInstanceUID for each in plain._queue}
    assert set(segmented) <= uids
    assert len(segmented) == len(uids) - rejected
    by_modality = Counter(each["MainDicomTags"]["Modality"] for each in orthanc.get("/series?expand"))
    assert by_modality == {"SEG": len(segmented), "SR": len(segmented)}
    assert orthanc.count_objects() == 2 * len(segmented)
    with capsys.disabled():
        print(
            f"\n{orthanc.version()}: {IMAGES} images, {KILLS} kills, Orthanc down for {DOWN_SECONDS} s: every result "
            f"once, 0 lost, {rejected} rejected, in {seconds:.0f} s; without kills {rate:.2f} images/s with SEG, SR "
            f"and commitment; at most {peak[0] / 2**20:.0f} MB, and {peak[1] / 2**20:.0f} MB to segment"
        )


def test_orthanc_routes_series_and_keeps_every_format(
    tmp_path: Path, rg1_pixels: NDArray[np.uint16], orthanc: Orthanc
) -> None:
    formats = [word for name in DICOM_FORMATS for word in ("--format", name)]
    node = NodeProcess(tmp_path / "queue", f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", "--commit", *formats)
    orthanc.configure(
        DicomModalities={"lungseg": ["LUNGSEG", "127.0.0.1", node.port]}, LuaScripts=[str(AUTO_ROUTE)], StableAge=1
    )
    try:
        for each in films(images(rg1_pixels), 3):
            buffer = io.BytesIO()
            each.save_as(buffer)
            orthanc.add(buffer.getvalue())
        wait_for(lambda: node.report().images == {"done": 3}, 120)
        found = Counter(each["MainDicomTags"]["Modality"] for each in orthanc.get("/series?expand"))
        time.sleep(5)  # nothing comes back to the node
        assert node.report().images == {"done": 3}
    finally:
        node.end(signal.SIGKILL)
    stored = orthanc.get("/dicom-web/instances?includefield=00080016")
    classes = Counter(each["00080016"]["Value"][0] for each in stored)
    assert all(classes[FORMATS[name].sop_class] == 3 for name in DICOM_FORMATS), found
