"""Studies of each kind of image, and whether OHIF shows their lungs in colour."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from films import SHARED, dicom
from numpy.typing import NDArray
from ohif import OhifDriver, fit_labels
from pydicom.uid import DigitalXRayImageStorageForPresentation, SecondaryCaptureImageStorage, generate_uid

from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.result import Result

MIN_HUE = 30
"""Difference of red and blue that counts as a colour; an image has none."""

MIN_SHOWN, MAX_SPILLED = 0.95, 0.02
"""Share of a lung that must have its colour, and of the rest of the image that may have one."""

SHOW_SECONDS = 60


def study_images(rg1: bytes, rg1_pixels: NDArray[np.uint16]) -> dict[str, bytes]:
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


def shares(picture: NDArray[np.int16], shown: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Return the share of the right lung that is blue, of the left that is orange, and of the rest with a colour."""
    hue = picture[..., 2] - picture[..., 0]
    right, left, rest = shown == RIGHT, shown == LEFT, shown == 0
    return (
        float((hue[right] > MIN_HUE).mean()),
        float((hue[left] < -MIN_HUE).mean()),
        float((np.abs(hue[rest]) > MIN_HUE).mean()),
    )


def show_segmentation(driver: OhifDriver, result: Result) -> tuple[float, float, float]:
    """Load an image's segmentation, and wait until the viewport shows both lungs in colour; return the last shares."""
    confirm = driver.page.get_by_role("button", name="Yes")
    driver.show_series("Lung segmentation", confirm)
    confirm.click()
    measured = result.radiograph.spacing
    spacing = (1.0, 1.0) if measured is None else (measured.row, measured.column)
    end = time.monotonic() + SHOW_SECONDS
    while True:
        picture = driver.picture()
        found = shares(picture, fit_labels(result.labels, spacing, picture.shape))
        if min(found[:2]) >= MIN_SHOWN or time.monotonic() > end:
            return found
        time.sleep(0.5)
