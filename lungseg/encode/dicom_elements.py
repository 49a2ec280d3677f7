"""The elements that a DICOM object copies from its image: patient, study, date and time."""

from __future__ import annotations

import re

from pydicom import Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM, validate_value

TYPE_2_KEYWORDS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Elements of patient and study, empty if the image lacks them (type 2 in the standard)."""

OPTIONAL_KEYWORDS = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "TimezoneOffsetFromUTC",
)
"""Elements of patient and study that are copied if the image has them."""

IMAGE_KEYWORDS = (
    "BodyPartExamined",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""Elements that only objects with pixels copy, if the image has them."""

TEXT_VRS = ("LO", "PN", "SH")
UID_PATTERN = re.compile(r"(?=.{1,64}$)\d+(\.\d+)+")
"""Leading zeros in a component violate the standard, but archives use such UIDs."""

UNKNOWN_MOMENT = ("19000101", "000000")
"""Content date and time for images without any, because they are required."""


def patient_elements(header: Dataset) -> Dataset:
    """Return the elements of patient and study that every object copies from its image."""
    kept = Dataset()
    for keyword in (*TYPE_2_KEYWORDS, *OPTIONAL_KEYWORDS):
        values = read_values(header, keyword)
        if values or keyword in TYPE_2_KEYWORDS:
            setattr(kept, keyword, values)
    return kept


def image_elements(header: Dataset) -> Dataset:
    """Return the elements that an object with pixels copies too, with the image's date and time."""
    kept = Dataset()
    for keyword in IMAGE_KEYWORDS:
        values = read_values(header, keyword)
        if values:
            setattr(kept, keyword, values)
    kept.PatientOrientation = read_values(header, "PatientOrientation")
    kept.ContentDate, kept.ContentTime = read_moment(header)
    return kept


def read_uid(header: Dataset, keyword: str) -> str:
    """Return a UID of the image; empty if there is none."""
    values = read_values(header, keyword)
    return values[0] if len(values) == 1 else ""


def read_moment(header: Dataset) -> tuple[str, str]:
    """Return the image's date and time: of its content, acquisition or study, in this order."""
    for event in ("Content", "Acquisition", "Study"):
        date, time = read_values(header, f"{event}Date"), read_values(header, f"{event}Time")
        if len(date) == 1:
            return date[0], time[0] if len(time) == 1 else UNKNOWN_MOMENT[1]
    return UNKNOWN_MOMENT


def read_values(header: Dataset, keyword: str) -> list[str]:
    """Return the values of an element; none if one of them is unreadable or invalid.

    Texts are copied as they are, even if too long: archives identify the patient by them.
    """
    kind = dictionary_VR(keyword)
    try:
        element = header[keyword]
        if kind != element.VR or element.is_empty:
            return []
        values = [str(each) for each in (element.value if isinstance(element.value, MultiValue) else [element.value])]
        for value in values:
            if kind == "UI" and not UID_PATTERN.fullmatch(value):
                return []
            if kind not in ("UI", *TEXT_VRS):
                validate_value(kind, value, RAISE)
            {"DA": DA, "TM": TM}.get(kind, str)(value)
    # pydicom raises exceptions of any type for invalid values, with texts that quote them.
    except Exception:
        return []
    return values
