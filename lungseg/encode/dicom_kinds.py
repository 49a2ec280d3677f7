"""The DICOM objects that an image gets."""

from __future__ import annotations

from lungseg.encode.dicom_capture import dicom_capture
from lungseg.encode.dicom_presentation import dicom_presentation
from lungseg.encode.dicom_report import dicom_report
from lungseg.encode.dicom_seg import dicom_seg

DICOM_ENCODERS = {
    "dicom-seg": dicom_seg,
    "dicom-sc": dicom_capture,
    "dicom-gsps": dicom_presentation,
    "dicom-sr": dicom_report,
}
"""By output format."""
