"""What a DICOM header says against a frontal chest radiograph, for those who choose images before they read pixels.

Headers are often incomplete or wrong, so what is missing or unknown speaks for the image. The verdict decides then.
"""

from __future__ import annotations

from collections.abc import Collection

CHEST_WORDS = ("CHEST", "THORAX", "TORAX", "LUNG", "PULM")
"""Parts of Body Part Examined (0018,0015). The standard's term is CHEST (PS3.16 annex L), devices also write their own,
such as "CHEST PORT"."""

CHEST_CODES = frozenset(
    {"816094009", "51185008", "T-D3000", "39607008", "T-28000", "86598002"}  # chest, thorax, lung, its apex
    | {"416550000", "416775004", "417437006", "416152001", "416319003"}  # chest with abdomen, pelvis or neck
)
"""Codes of the Anatomic Region Sequence (0008,2218): SNOMED CT, and its older SRT (PS3.16 CID 4009)."""

OTHER_VIEWS = frozenset({"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO"})
"""View Position (0018,5101) of lateral and oblique views (PS3.3 section C.8.11.5.1.1). LLD and RLD are frontal."""

OTHER_VIEW_CODES = frozenset(
    {"399067008", "R-102CD", "399173006", "R-10236", "399198007", "R-10232"}  # lateral, left, right
    | {"399135007", "399184004", "399006002", "399356000", "399236003", "399038007", "399182000"}  # oblique
)
"""Codes of the View Code Sequence (0054,0220) of lateral and oblique views (PS3.16 CID 4010)."""

OTHER_BODY_PART, OTHER_VIEW, OWN_RESULT = "other-body-part", "other-view", "own-result"
"""Why an image is left alone: stable codes for reports and metrics."""


def may_be_chest(texts: Collection[str], region_codes: Collection[str]) -> bool:
    """Return whether an image may show the chest.

    Args:
        texts: body part, and the meanings of the region's codes; empty ones count as missing.
        region_codes: values of the region's codes.
    """
    stated = [text.upper() for text in texts if text]
    is_chest = any(word in text for word in CHEST_WORDS for text in stated) or not CHEST_CODES.isdisjoint(region_codes)
    return is_chest or not (stated or region_codes)


def is_other_view(position: str, view_codes: Collection[str]) -> bool:
    """Return whether an image is a lateral or oblique view.

    Args:
        position: View Position; may be empty.
        view_codes: values of the view's codes.
    """
    return position.strip().upper() in OTHER_VIEWS or not OTHER_VIEW_CODES.isdisjoint(view_codes)
