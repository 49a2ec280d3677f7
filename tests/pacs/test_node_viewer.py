"""The whole way: a modality sends to the node, the results are in Orthanc, and OHIF shows each segmentation."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import highdicom
import pytest
from dicom_nodes import send_images
from node_process import NodeProcess
from ohif import OhifDriver, ohif_server
from orthanc import Orthanc
from processes import wait_for
from pydicom import dcmread
from viewed_studies import MAX_SPILLED, MIN_SHOWN, show_segmentation

from lungseg.encode.formats import FORMATS
from lungseg.pipeline.segment import segment

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("CR without spacing", "DX with the detector's spacing", "mirrored, pixels not square", "rotated")

FORMAT_NAMES = ("dicom-seg", "dicom-sc", "dicom-sr")


def test_modality_to_node_to_viewer(
    tmp_path: Path, studies: dict[str, bytes], orthanc: Orthanc, browser: Browser, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {name: dcmread(io.BytesIO(studies[name])) for name in NAMES}
    formats = [word for name in FORMAT_NAMES for word in ("--format", name)]
    node = NodeProcess(tmp_path / "queue", f"ORTHANC@127.0.0.1:{orthanc.dicom_port}", "--commit", *formats)
    orthanc.configure(DicomModalities={"lungseg": ["LUNGSEG", "127.0.0.1", node.port]})
    try:
        for each in chosen.values():
            # A modality sends to its archive and to the node.
            assert send_images(orthanc.dicom_port, each, called="ORTHANC") == [0]
            assert send_images(node.port, each) == [0]
        wait_for(lambda: node.report().images == {"done": len(chosen)}, 120)
        assert node.end() == 0
    finally:
        node.end(signal.SIGKILL)

    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    for name, header in chosen.items():
        contents = find_objects(orthanc, header.StudyInstanceUID)
        assert set(contents) == {FORMATS[each].sop_class for each in FORMAT_NAMES} | {header.SOPClassUID}
        check_objects([content for kind, content in contents.items() if kind != header.SOPClassUID], tmp_path)
        with ohif_server(orthanc.web) as url:
            driver = OhifDriver(context.new_page(), url)
            driver.open_study(header.StudyInstanceUID)
            right, left, rest = show_segmentation(driver, segment(studies[name]))
            driver.page.screenshot(path=tmp_path / f"{name}.png")
            driver.page.close()
        with capsys.disabled():
            print(f"\n{name}: right lung {right:.1%}, left lung {left:.1%}, elsewhere {rest:.2%}; {tmp_path}")
        assert min(right, left) >= MIN_SHOWN
        assert rest <= MAX_SPILLED
        assert driver.complaints == []
    context.close()


def find_objects(orthanc: Orthanc, study: str) -> dict[str, bytes]:
    """Return the objects of a study by their SOP class, found by QIDO-RS and read from Orthanc."""
    found = orthanc.get(f"/dicom-web/studies/{study}/instances?includefield=00080016")
    contents = {}
    for each in found:
        kind, uid = each["00080016"]["Value"][0], each["00080018"]["Value"][0]
        (number,) = orthanc.look_up(uid)
        assert kind not in contents
        contents[kind] = orthanc.read(f"/instances/{number}/file")
    return contents


def check_objects(contents: list[bytes], folder: Path) -> None:
    """Check results with dciodvfy, if it is installed, and read them with highdicom or pydicom."""
    validator = shutil.which("dciodvfy")
    for content in contents:
        header = dcmread(io.BytesIO(content))
        if validator is not None:
            path = folder / "object.dcm"
            path.write_bytes(content)
            report = subprocess.run([validator, path], capture_output=True, text=True, check=False).stderr
            assert "Error" not in report, report
        if header.Modality == "SEG":
            assert highdicom.seg.segread(io.BytesIO(content)).number_of_segments == 2
        elif header.Modality == "SR":
            assert highdicom.sr.srread(io.BytesIO(content)).content.get_planar_roi_measurement_groups()
        else:
            assert header.pixel_array.shape == (header.Rows, header.Columns, 3)
