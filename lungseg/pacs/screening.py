"""Which images a DICOM node segments, by their headers."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from lungseg.decode.bounds.png import OWN_PROGRAM
from lungseg.decode.chest_header import OTHER_BODY_PART, OTHER_VIEW, OWN_RESULT, is_other_view, may_be_chest

RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG", "RF", "OT", "SC", "XR"})
"""Modality (0008,0060) of radiographs, scanned ones and secondary captures included."""


def reason_to_leave(header: Dataset) -> str:
    """Return why an image is not segmented: a stable code; empty if it may be a frontal chest radiograph.

    Args:
        header: the image's elements; of any type and with any value.
    """
    if _text(header, "Manufacturer") == OWN_PROGRAM:
        return OWN_RESULT
    modality = _text(header, "Modality").upper()
    if modality and modality not in RADIOGRAPH_MODALITIES:
        return "other-modality"
    regions = _codes(header, "AnatomicRegionSequence")
    if not may_be_chest([_text(header, "BodyPartExamined"), *regions.values()], regions):
        return OTHER_BODY_PART
    return OTHER_VIEW if is_other_view(_text(header, "ViewPosition"), _codes(header, "ViewCodeSequence")) else ""


def _text(header: Dataset, keyword: str) -> str:
    """Return the first value of an element; empty if it is missing or unreadable."""
    try:
        value = header.get(keyword)
    except Exception:  # pydicom raises anything for what it cannot read
        return ""
    return str(value[0] if isinstance(value, MultiValue) and value else value or "").strip()


def _codes(header: Dataset, keyword: str) -> dict[str, str]:
    """Return value and meaning of the codes of a sequence."""
    try:
        return {_text(item, "CodeValue"): _text(item, "CodeMeaning") for item in header.get(keyword) or ()}
    except Exception:  # as above
        return {}
