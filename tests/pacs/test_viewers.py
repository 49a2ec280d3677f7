"""Our DICOM objects in OHIF, an unchanged viewer, over a real Orthanc: the lungs are shown where they are."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest
from ohif import OhifDriver, ohif_server
from orthanc import Orthanc
from pydicom import Dataset
from viewed_studies import MAX_SPILLED, MIN_SHOWN, show_segmentation

from lungseg.encode.dicom_kinds import DICOM_ENCODERS
from lungseg.pipeline.segment import segment

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def store(orthanc: Orthanc, *contents: bytes) -> Dataset:
    """Store objects over STOW-RS; return the first."""
    client = pytest.importorskip("dicomweb_client").DICOMwebClient(orthanc.dicomweb)
    datasets = [pydicom.dcmread(io.BytesIO(content)) for content in contents]
    answer = client.store_instances(datasets)
    assert len(answer.ReferencedSOPSequence) == len(contents)
    assert not answer.get("FailedSOPSequence")
    return datasets[0]


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
    name: str, studies: dict[str, bytes], orthanc: Orthanc, browser: Browser, tmp_path: Path
) -> None:
    if name not in studies:
        pytest.skip("the public images are not here (../shared/data)")
    result = segment(studies[name])
    header = store(orthanc, studies[name], *(encode(result) for encode in DICOM_ENCODERS.values()))
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(60_000)
    with ohif_server(orthanc.web) as url:
        driver = OhifDriver(context.new_page(), url)
        series = driver.open_study(header.StudyInstanceUID)
        for modality, text in (("SEG", "segmentation"), ("OT", "overlay"), ("PR", "outlines"), ("SR", "measurements")):
            assert [each for each in series if each.startswith(modality) and f"Lung {text}" in each], series

        page = driver.page
        right, left, rest = show_segmentation(driver, result)
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
