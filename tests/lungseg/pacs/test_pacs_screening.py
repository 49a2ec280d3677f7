"""Which images a DICOM node segments, by header."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from lungseg.pacs.screening import reason_to_leave


def header(**elements: object) -> Dataset:
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return dataset


def coded(keyword: str, value: str) -> dict[str, list[Dataset]]:
    return {keyword: [header(CodeValue=value)]}


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"Modality": "CR", "BodyPartExamined": "CHEST", "ViewPosition": "PA"},
        {"Modality": "DX", "BodyPartExamined": "Chest Port", "ViewPosition": "AP"},
        {"Modality": "OT", "BodyPartExamined": "", "ViewPosition": ""},
        {"Modality": "DX", "ViewPosition": "LLD"},
        {"Modality": "DX", **coded("AnatomicRegionSequence", "51185008"), **coded("ViewCodeSequence", "272479007")},
        {"Modality": ["CR", "DX"], "BodyPartExamined": "THORAX"},
    ],
)
def test_frontal_chest_is_segmented(elements: dict[str, object]) -> None:
    assert reason_to_leave(header(**elements)) == ""


@pytest.mark.parametrize(
    ("reason", "elements"),
    [
        ("other-modality", {"Modality": "MG"}),
        ("other-modality", {"Modality": "CT", "BodyPartExamined": "CHEST"}),
        ("other-body-part", {"Modality": "CR", "BodyPartExamined": "HAND"}),
        ("other-body-part", {"Modality": "DX", **coded("AnatomicRegionSequence", "72696002")}),
        ("other-view", {"Modality": "CR", "BodyPartExamined": "CHEST", "ViewPosition": "LL"}),
        ("other-view", {"Modality": "CR", "ViewPosition": "lateral "}),
        ("other-view", {"Modality": "DX", **coded("ViewCodeSequence", "399173006")}),
        ("own-result", {"Modality": "CR", "BodyPartExamined": "CHEST", "Manufacturer": "lung-segmentation"}),
    ],
)
def test_other_image_is_left_alone(reason: str, elements: dict[str, object]) -> None:
    assert reason_to_leave(header(**elements)) == reason


def test_one_word_for_the_chest_is_enough() -> None:
    elements = {"BodyPartExamined": "CHEST", **coded("AnatomicRegionSequence", "72696002")}
    assert reason_to_leave(header(**elements)) == ""
