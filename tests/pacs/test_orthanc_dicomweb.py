"""`lungseg dicomweb` against a real Orthanc: 200 studies with kills, an outage, and a password."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom
import pytest
from dicomweb_server import radiograph
from films import SHARED, dicom
from numpy.typing import NDArray
from orthanc import Orthanc
from processes import command, run

from lungseg.decode import decode
from lungseg.encode.formats import FORMATS
from lungseg.pipeline.segment import segment

STUDIES = 200
KILLS = 10
SINCE = ("--since", "2026-01-01")

OTHERS: tuple[dict[str, object], ...] = (
    {"BodyPartExamined": "HAND"},
    {"ViewPosition": "LL"},
    {"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"},
    {"StudyDate": "20251231"},
)
"""Elements of studies that must be left alone."""


def images(rg1_pixels: NDArray[np.uint16]) -> list[NDArray[Any]]:
    """Return the pixels of radiographs: public ones if they are beside the checkout, else RG1 at several sizes."""
    folder = SHARED / "input" / "pulmonary-chest-xray-abnormalities"
    files = sorted(folder.rglob("CHNCXR_*.png"))[:STUDIES]
    if files:
        return [decode(file.read_bytes()).pixels for file in files]
    return [np.ascontiguousarray(rg1_pixels[::step, ::step]) for step in (2, 3, 4)]


def fill(orthanc: Orthanc, pixels: list[NDArray[Any]], count: int) -> dict[str, bytes]:
    """Store ``count`` studies of one radiograph; return the files by SOP Instance UID."""
    found = {}
    for number in range(count):
        modality = ("CR", "DX")[number % 2]
        content = radiograph(dicom(pixels[number % len(pixels)], BodyPartExamined="CHEST"), number, Modality=modality)
        found[str(pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID)] = content
        orthanc.add(content)
    return found


def sources(orthanc: Orthanc) -> list[str]:
    """Return, for each segmentation on the server, the image that it refers to."""
    found = []
    for series in orthanc.get("/series?expand"):
        if series["MainDicomTags"].get("Modality") == "SEG":
            for instance in series["Instances"]:
                header = orthanc.get(f"/instances/{instance}/tags?simplify")
                found.append(header["ReferencedSeriesSequence"][0]["ReferencedInstanceSequence"][0])
    return [each["ReferencedSOPInstanceUID"] for each in found]


def report(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_every_image_of_200_studies_gets_one_result(
    orthanc: Orthanc, rg1_pixels: NDArray[np.uint16], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = images(rg1_pixels)
    expected = fill(orthanc, pixels, STUDIES)
    for number, elements in enumerate(OTHERS):
        orthanc.add(radiograph(dicom(pixels[0]), 1000 + number, **elements))
    line = command("dicomweb", orthanc.dicomweb, *SINCE, "--report", tmp_path / "run.json")
    kills, peak, started = 0, 0, time.monotonic()
    dice = random.Random(25)
    while True:
        with (tmp_path / "stderr").open("wb") as said:
            process = subprocess.Popen(line, stderr=said)
        # At any speed of the machine, the last kill comes before the last image.
        end = orthanc.count_objects() + (dice.randint(3, 15) if kills < KILLS else STUDIES)
        while process.poll() is None and orthanc.count_objects() < end:
            peak = max(peak, psutil.Process(process.pid).memory_info().rss)
            time.sleep(0.05)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
    seconds = time.monotonic() - started
    assert process.returncode == 0, (tmp_path / "stderr").read_text()
    assert kills == KILLS

    found = Counter(sources(orthanc))
    assert set(found.values()) == {1}
    rejected = report(tmp_path / "run.json")["counts"]["rejected"]
    assert set(found) <= set(expected)
    assert len(found) == len(expected) - rejected
    before = orthanc.count_objects()
    again = run("dicomweb", orthanc.dicomweb, *SINCE, "--report", tmp_path / "again.json")
    assert again.returncode == 0, again.stderr
    counts = report(tmp_path / "again.json")["counts"]
    assert (counts["segmented"], counts["done_before"], counts["failed"]) == (0, len(found), 0)
    assert orthanc.count_objects() == before
    with capsys.disabled():
        print(
            f"\n{orthanc.version()}: {len(expected)} studies, {kills} kills, {len(found)} results, none twice, "
            f"{rejected} rejected, in {seconds:.0f} s; at most {peak / 2**20:.0f} MB; second run "
            f"{report(tmp_path / 'again.json')['seconds']} s, nothing stored"
        )


def test_stored_objects_are_those_of_a_file(
    orthanc: Orthanc, rg1_pixels: NDArray[np.uint16], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = fill(orthanc, images(rg1_pixels), 40)
    names = [each.name for each in FORMATS.values() if each.sop_class]
    options = [option for name in names for option in ("--format", name)]
    for name in ("first", "second"):
        done = run("dicomweb", orthanc.dicomweb, *SINCE, *options, "--report", tmp_path / name)
        assert done.returncode == 0, done.stderr
    first = report(tmp_path / "first")
    assert report(tmp_path / "second")["counts"]["segmented"] == 0
    rejected = first["counts"]["rejected"]
    assert first["counts"]["segmented"] == len(expected) - rejected
    stored = {}
    for instance in orthanc.get("/instances"):
        content = orthanc.read(f"/instances/{instance}/file")
        stored[str(pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID)] = content
    assert len(stored) == len(expected) + len(names) * (len(expected) - rejected)
    image = next(iter(expected.values()))
    result = segment(image)
    for name in names:
        made = FORMATS[name].encode(result)
        assert stored[str(pydicom.dcmread(io.BytesIO(made)).SOPInstanceUID)] == made
    with capsys.disabled():
        rate = first["images_per_second"]
        print(f"\n{orthanc.version()}: {len(expected)} images with {', '.join(names)}: {rate} images/s")


def test_outage_ends_the_run_and_the_next_one_continues(
    orthanc: Orthanc, rg1_pixels: NDArray[np.uint16], tmp_path: Path
) -> None:
    expected = fill(orthanc, images(rg1_pixels), 30)
    line = command("dicomweb", orthanc.dicomweb, *SINCE, "--workers", 2)
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    while len(orthanc.get("/series")) < len(expected) + 5:
        time.sleep(0.05)
    orthanc.stop(signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("error: server-unreachable: ")
    orthanc.start()
    done = run("dicomweb", orthanc.dicomweb, *SINCE, "--report", tmp_path / "run.json")
    assert done.returncode == 0, done.stderr
    found = Counter(sources(orthanc))
    assert set(found.values()) == {1}
    assert len(found) + report(tmp_path / "run.json")["counts"]["rejected"] == len(expected)


def test_password_is_needed_and_sent(rg1_pixels: NDArray[np.uint16], tmp_path: Path, orthanc: Orthanc) -> None:
    with Orthanc(tmp_path / "closed", RegisteredUsers={"lungs": "secret"}) as closed:
        expected = fill(closed, images(rg1_pixels)[:1], 2)
        refused = run("dicomweb", closed.dicomweb, *SINCE)
        assert refused.returncode == 2
        assert b"error: access-denied: It returned 401." in refused.stderr
        login = {"LUNG_DICOMWEB_USER": "lungs", "LUNG_DICOMWEB_PASSWORD": "secret"}
        done = run("dicomweb", closed.dicomweb, *SINCE, **login)
        assert done.returncode == 0, done.stderr
        assert set(sources(closed)) == set(expected)
