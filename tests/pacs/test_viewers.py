"""Our DICOM objects in OHIF, an unchanged viewer, over a real Orthanc: the lungs are shown where they are."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from films import SHARED, dicom
from numpy.typing import NDArray
from ohif import CHROMIUM_ARGUMENTS, OHIF, OhifDriver, fit_labels, ohif_server
from orthanc import Orthanc
from page_driver import CHROMIUM
from pydicom import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage, generate_uid

from lungseg.encode.dicom_kinds import DICOM_ENCODERS
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment

if TYPE_CHECKING:
    from playwright.sync_api import Browser

MIN_HUE = 30
"""Difference of red and blue that counts as a colour; an image has none."""

MIN_SHOWN, MAX_SPILLED = 0.95, 0.02
"""Share of a lung that must have its colour, and of the rest of the image that may have one."""

SHOW_SECONDS = 60


@pytest.fixture(scope="module")
def images(rg1: bytes, rg1_pixels: NDArray[np.uint16]) -> dict[str, bytes]:
    """Return an image of each kind, by name; RG1 states no spacing."""
    half = np.ascontiguousarray(rg1_pixels[::2, ::2])
    dx, capture = DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage
    found = {
        "CR without spacing": rg1,
        "CR with spacing": study(half, PixelSpacing=[0.4, 0.4]),
        "DX with the detector's spacing": study(half, SOPClassUID=dx, Modality="DX", ImagerPixelSpacing=[0.4, 0.4]),
        "SC": study(half, SOPClassUID=capture, Modality="OT", ConversionType="DI"),
        "mirrored, pixels not square": study(
            np.ascontiguousarray(half[:, ::-1]), PatientOrientation=["R", "F"], PixelSpacing=[0.4, 0.3]
        ),
        "rotated": study(np.ascontiguousarray(np.rot90(half)), PatientOrientation=["F", "R"]),
    }
    if SHARED.is_dir():
        found["JPEG"] = (SHARED / "dicom" / "chest_pa_jpeg_baseline.dcm").read_bytes()
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install one (apt-get install chromium), or name it in the variable CHROMIUM")
    if not (OHIF / "index.html").is_file():
        pytest.skip("no OHIF: run `make viewers`, which needs npm")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -r tests/requirements.txt")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=[*CHROMIUM_ARGUMENTS])
        yield chromium
        chromium.close()


def study(pixels: NDArray[Any], **elements: object) -> bytes:
    """Return an image in a study of its own, with what a viewer needs."""
    known = {
        "PatientName": "Test^Viewer",
        "PatientID": "1",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "StudyDate": "20260101",
        "StudyTime": "120000",
        "Modality": "CR",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "PatientOrientation": ["L", "F"],
        "WindowCenter": 32768,
        "WindowWidth": 65535,
    }
    return dicom(pixels, **(known | elements))


def store(orthanc: Orthanc, *contents: bytes) -> Dataset:
    """Store objects over STOW-RS; return the first."""
    client = pytest.importorskip("dicomweb_client").DICOMwebClient(orthanc.dicomweb)
    datasets = [pydicom.dcmread(io.BytesIO(content)) for content in contents]
    answer = client.store_instances(datasets)
    assert len(answer.ReferencedSOPSequence) == len(contents)
    assert not answer.get("FailedSOPSequence")
    return datasets[0]


def shares(picture: NDArray[np.int16], shown: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return the share of the right lung that is blue, of the left that is orange, and of the rest with a colour."""
    hue = picture[..., 2] - picture[..., 0]
    right, left, rest = shown == RIGHT, shown == LEFT, shown == 0
    return (
        float((hue[right] > MIN_HUE).mean()),
        float((hue[left] < -MIN_HUE).mean()),
        float((np.abs(hue[rest]) > MIN_HUE).mean()),
    )


def wait_for_lungs(driver: OhifDriver, result: Result, spacing: tuple[float, float]) -> tuple[float, float, float]:
    """Wait until the viewport shows both lungs in colour; return the last shares."""
    end = time.monotonic() + SHOW_SECONDS
    while True:
        picture = driver.picture()
        found = shares(picture, fit_labels(result.labels, spacing, picture.shape))
        if min(found[:2]) >= MIN_SHOWN or time.monotonic() > end:
            return found
        time.sleep(0.5)


@pytest.mark.parametrize(
    "name",
    [
        "CR without spacing",
        "CR with spacing",
        "DX with the detector's spacing",
        "SC",
        "mirrored, pixels not square",
        "rotated",
        "JPEG",
    ],
)
def test_ohif_shows_every_object(
    name: str, images: dict[str, bytes], orthanc: Orthanc, browser: Browser, tmp_path: Path
) -> None:
    if name not in images:
        pytest.skip("the public images are not here (../shared/data)")
    result = segment(images[name])
    header = store(orthanc, images[name], *(encode(result) for encode in DICOM_ENCODERS.values()))
    measured = result.radiograph.spacing
    spacing = (1.0, 1.0) if measured is None else (measured.row, measured.column)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    with ohif_server(orthanc.web) as url:
        driver = OhifDriver(context.new_page(), url)
        series = driver.open_study(header.StudyInstanceUID)
        for modality, text in (("SEG", "segmentation"), ("OT", "overlay"), ("PR", "outlines"), ("SR", "measurements")):
            assert [each for each in series if each.startswith(modality) and f"Lung {text}" in each], series

        page = driver.page
        confirm = page.get_by_role("button", name="Yes")
        driver.show_series("Lung segmentation", confirm)
        confirm.click()
        right, left, rest = wait_for_lungs(driver, result, spacing)
        page.screenshot(path=tmp_path / "segmentation.png")
        print(f"{name}: right lung {right:.1%}, left lung {left:.1%}, elsewhere {rest:.2%}; {tmp_path}")
        assert min(right, left) >= MIN_SHOWN
        assert rest <= MAX_SPILLED

        driver.show_series("Lung overlay", page.get_by_text("Lung overlay").nth(1))
        page.screenshot(path=tmp_path / "overlay.png")

        driver.show_series("Lung measurements", page.get_by_text("Area:").nth(1))
        page.screenshot(path=tmp_path / "measurements.png")
    context.close()
    assert driver.complaints == []
