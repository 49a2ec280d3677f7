"""What a server says of the objects that it was sent: the Store Instances Response, PS3.18 section 10.5.3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lungseg.dicomweb import dicom_json as tags

FAILED, STORED = "00081198", "00081199"
"""Tags of the sequences of failed and of stored instances."""

FAILURE_REASON, WARNING_REASON = "00081197", "00081196"

COERCED = 0xB000
"""The server changed elements, such as the patient's name to its own spelling."""

REASON_TEXTS = (
    (0x0110, 0x0110, "processing failure"),
    (0x0111, 0x0111, "the object is there already"),
    (0x0117, 0x0117, "invalid object"),
    (0x0122, 0x0122, "the SOP class is not supported"),
    (0x0124, 0x0124, "not authorised"),
    (0x0131, 0x0131, "resource limitation"),
    (0x0211, 0x0211, "unrecognised operation"),
    (0xA700, 0xA7FF, "out of resources"),
    (0xA900, 0xA9FF, "the data set does not match the SOP class"),
    (0xC000, 0xCFFF, "cannot understand"),
    (0xC409, 0xC409, "another object with this UID is there"),
)
"""First and last code of each reason, PS3.18 table I.2-2 and PS3.4 table B.2-1."""


@dataclass(frozen=True)
class StoreAnswer:
    """What a server says of the objects of one request, by SOP Instance UID.

    Attributes:
        stored: those that it stored, with the code of a warning, 0 for none.
        failed: those that it did not store, with the code of the reason, 0 if it gives none.
    """

    stored: dict[str, int]
    failed: dict[str, int]


def read_store_answer(document: Any) -> StoreAnswer:
    """Return what a data set in the DICOM JSON model says; an empty one says nothing of any object."""
    dataset = document if isinstance(document, dict) else {}
    return StoreAnswer(_codes(dataset, STORED, WARNING_REASON), _codes(dataset, FAILED, FAILURE_REASON))


def describe_reason(code: int) -> str:
    """Return what a failure's code means, with the code."""
    text = next((text for first, last, text in reversed(REASON_TEXTS) if first <= code <= last), "")
    return f"{text} (reason {code:04X})" if text else f"reason {code:04X}" if code else "no reason given"


def _codes(dataset: tags.JsonDataset, sequence: str, reason: str) -> dict[str, int]:
    items = tags.read_items(dataset, sequence)
    return {tags.read_text(each, tags.REFERENCED_INSTANCE): tags.read_number(each, reason) or 0 for each in items}
