"""Read values of data sets in the DICOM JSON model (PS3.18 annex F), as a server sent them: nothing is trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lungseg.encode.dicom_elements import UID_PATTERN

JsonDataset = Mapping[str, Any]
"""A data set: its keys are tags of eight hexadecimal digits."""

STUDY_UID, SERIES_UID, INSTANCE_UID, CLASS_UID = "0020000D", "0020000E", "00080018", "00080016"
MODALITY, ROWS, COLUMNS, FRAMES, BITS_ALLOCATED = "00080060", "00280010", "00280011", "00280008", "00280100"
BODY_PART, VIEW_POSITION, VIEW_CODES, REGION_CODES = "00180015", "00185101", "00540220", "00082218"
CODE_VALUE, CODE_MEANING = "00080100", "00080104"
MANUFACTURER, SERIAL_NUMBER = "00080070", "00181000"
PARAMETERS, TEXT_VALUE = "00660032", "0040A160"
"""Of the algorithm: in a segmentation, and in the content of a report."""

STUDY_MODALITIES, STUDY_INSTANCES = "00080061", "00201208"
REFERENCED_INSTANCE = "00081155"

MAX_DEPTH = 20
"""Nested sequences that are searched."""


def read_values(dataset: JsonDataset, tag: str) -> list[Any]:
    """Return the values of an element; none if it is absent or malformed."""
    element = dataset.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def read_text(dataset: JsonDataset, tag: str) -> str:
    """Return the first value of an element as text; empty if there is none."""
    values = read_values(dataset, tag)
    return str(values[0]).strip() if values and isinstance(values[0], str | int | float) else ""


def read_number(dataset: JsonDataset, tag: str) -> int | None:
    """Return the first value of an element as a number; None if it is none. Some servers write numbers as strings."""
    text = read_text(dataset, tag)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None


def read_items(dataset: JsonDataset, tag: str) -> list[JsonDataset]:
    """Return the items of a sequence."""
    return [each for each in read_values(dataset, tag) if isinstance(each, dict)]


def find_texts(dataset: JsonDataset, tag: str, depth: int = MAX_DEPTH) -> Iterator[str]:
    """Yield the texts of an element, wherever it is within the sequences of a data set."""
    for key, element in dataset.items():
        for value in read_values(dataset, key) if isinstance(element, dict) else ():
            if isinstance(value, dict) and depth:
                yield from find_texts(value, tag, depth - 1)
            elif key == tag and isinstance(value, str):
                yield value


def is_uid(text: str) -> bool:
    """Return whether a text is a UID: it becomes a part of a URL."""
    return UID_PATTERN.fullmatch(text) is not None
