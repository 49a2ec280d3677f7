"""Which images a DICOM node segments, by their headers: frontal chest radiographs, as far as a header tells.

Headers are often incomplete, so an element that is missing or unknown speaks for the image. The verdict decides then.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from lungseg.decode.bounds.png import OWN_PROGRAM

RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG", "RF", "OT", "SC", "XR"})
"""Modality (0008,0060) of radiographs, scanned ones and secondary captures included."""

CHEST_WORDS = ("CHEST", "THORAX", "LUNG", "TORAX")
"""Body Part Examined (0018,0015) is one of these words, or contains one: "CHEST PORT", "CHESTABDOMEN"."""

CHEST_CODES = frozenset(
    {"816094009", "51185008", "T-D3000", "39607008", "T-28000", "86598002"}  # chest, thorax, lung, its apex
    | {"416550000", "416775004", "417437006", "416152001", "416319003"}  # chest with abdomen, pelvis or neck
)
"""Values of the Anatomic Region Sequence (0008,2218) of DX: SNOMED CT, or its older codes (PS3.16 CID 4009)."""

OTHER_VIEWS = frozenset({"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO"})
"""View Position (0018,5101) of lateral and oblique projections (PS3.3 section C.8.1.1)."""

OTHER_VIEW_CODES = frozenset(
    {"399067008", "R-102CD", "399173006", "R-10236", "399198007", "R-10232"}  # lateral, left, right
    | {"399135007", "399184004", "399006002", "399356000", "399236003", "399038007", "399182000"}  # oblique
)
"""Values of the View Code Sequence (0054,0220) of DX, as above (CID 4010)."""


def reason_to_leave(header: Dataset) -> str:
    """Return why an image is not segmented: a stable code; empty if it may be a frontal chest radiograph.

    Args:
        header: the image's elements; of any type and with any value.
    """
    if _text(header, "Manufacturer") == OWN_PROGRAM.upper():
        return "own-output"
    modality = _text(header, "Modality")
    if modality and modality not in RADIOGRAPH_MODALITIES:
        return "other-modality"
    part, region = _text(header, "BodyPartExamined"), _codes(header, "AnatomicRegionSequence")
    if part:
        if not any(word in part for word in CHEST_WORDS):
            return "other-body-part"
    elif region and not region & CHEST_CODES:
        return "other-body-part"
    if _text(header, "ViewPosition") in OTHER_VIEWS or _codes(header, "ViewCodeSequence") & OTHER_VIEW_CODES:
        return "other-view"
    return ""


def _text(header: Dataset, keyword: str) -> str:
    """Return a value in upper case; empty if it is missing or unreadable."""
    try:
        value = header.get(keyword)
    except Exception:  # pydicom raises anything for what it cannot read
        return ""
    return str(value[0] if isinstance(value, MultiValue) and value else value or "").strip().upper()


def _codes(header: Dataset, keyword: str) -> set[str]:
    """Return the code values of a sequence's items."""
    try:
        return {str(item.CodeValue) for item in header.get(keyword) or ()}
    except Exception:  # as above
        return set()
