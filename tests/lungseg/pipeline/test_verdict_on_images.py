"""The verdict on real images: rotated, cropped or mirrored ones, and images that are not a chest X-ray."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from films import dice, dicom, packaged, png
from numpy.typing import NDArray
from PIL import Image

from lungseg.pipeline.options import Options
from lungseg.pipeline.reasons import REASONS, Decision
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from lungseg.pipeline.verdict import Verdict


@pytest.fixture(scope="module")
def small(rg1_pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """RG1 at half its size."""
    return np.ascontiguousarray(rg1_pixels[::2, ::2])


@pytest.fixture(scope="module")
def upright(small: NDArray[np.uint16]) -> Result:
    return segment(png(small))


def codes(result: Result) -> list[str]:
    return [reason.code for reason in result.verdict.reasons]


def test_standard_image_is_accepted_without_notes(upright: Result) -> None:
    assert upright.verdict.decision == Decision.ACCEPT
    assert upright.verdict.reasons == ()
    assert upright.verdict.confidence > 0.9


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_rotated_and_inverted_images_are_segmented(
    small: NDArray[np.uint16], upright: Result, turns: int, inverted: bool
) -> None:
    image = np.rot90(65535 - small if inverted else small, turns)
    result = segment(png(np.ascontiguousarray(image)))
    assert dice(np.rot90(result.mask, -turns), upright.mask) > 0.99
    assert dice(np.rot90(result.labels, -turns) == 1, upright.labels == 1) > 0.99
    assert result.verdict.decision == Decision.ACCEPT
    assert codes(result) == ["turned"] * (turns > 0) + ["inverted"] * inverted


def test_pose_is_not_detected_without_upright(small: NDArray[np.uint16], upright: Result) -> None:
    rotated = png(np.ascontiguousarray(np.rot90(small)))
    result = segment(rotated, Options(upright=False))
    assert "turned" not in codes(result)
    assert dice(np.rot90(result.mask, -1), upright.mask) < 0.9
    assert result.verdict.decision != Decision.ACCEPT


def test_wrong_monochrome1_tag_is_noted(shared: Path) -> None:
    correct, wrong = (
        segment((shared / "dicom" / f"{name}.dcm").read_bytes())
        for name in ("chest_pa_jpeg_baseline", "chest_pa_wrong_monochrome1_tag")
    )
    # The image was shrunk without a change of its spacing, so its lungs measure 72 cm2.
    assert codes(correct) == ["implausible-size"]
    assert codes(wrong) == ["implausible-size", "inverted"]
    assert dice(correct.mask, wrong.mask) > 0.99


@pytest.mark.parametrize("name", ["RG3_UNCR.dcm", "RG3_J2KI.dcm", "CT_small.dcm", "MR2_UNCR.dcm", "693_UNCR.dcm"])
def test_other_radiology_is_not_accepted(name: str) -> None:
    """A leg, CT and MR slices, a picture of a scanner."""
    result = segment(packaged(name).read_bytes())
    assert result.verdict.decision != Decision.ACCEPT
    assert {"not-frontal", "doubtful-view"} & set(codes(result))


def test_other_chest_views_are_not_accepted(shared: Path) -> None:
    """Lateral views, and the CT images that no network was trained on: every second one."""
    for folder in ("lateral", "ct"):
        pictures = sorted((shared / "other" / folder).iterdir())[1::2]
        decisions = [segment(picture.read_bytes()).verdict.decision for picture in pictures]
        assert decisions.count(Decision.REJECT) >= 0.8 * len(decisions)
        if folder == "lateral":
            assert Decision.ACCEPT not in decisions


def test_children_are_not_rejected(shared: Path) -> None:
    """Children aged one to five, two thirds with pneumonia, from patients that no network was trained on."""
    folder = shared / "more" / "v7_children"
    with (folder / "index.csv").open(newline="") as file:
        names = [row["id"] for row in csv.DictReader(file) if row["split"] == "validation"]
    images = [path for path in sorted((folder / "images").iterdir()) if path.stem in set(names[::4])]
    decisions = [segment(path.read_bytes()).verdict.decision for path in images]
    assert len(decisions) > 50
    assert decisions.count(Decision.REJECT) <= 0.02 * len(decisions)


def test_half_an_image_is_not_accepted(small: NDArray[np.uint16]) -> None:
    half = small[:, : small.shape[1] // 2]
    assert segment(png(np.ascontiguousarray(half))).verdict.decision != Decision.ACCEPT


def test_lungs_cut_off_at_the_border_are_reviewed(small: NDArray[np.uint16]) -> None:
    cropped = segment(png(np.ascontiguousarray(small[:, 110:])))
    assert "cut-off" in codes(cropped)


def test_small_image_is_reviewed(small: NDArray[np.uint16]) -> None:
    image = Image.fromarray((small >> 8).astype(np.uint8)).resize((140, 150))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert "small-film" in codes(segment(buffer.getvalue()))


def test_orientation_in_the_file_decides_mirroring(small: NDArray[np.uint16]) -> None:
    hung = segment(dicom(small, PatientOrientation=["L", "F"]))
    assert codes(hung) == []
    other = segment(dicom(small, PatientOrientation=["R", "F"]))
    assert codes(other) == ["mirrored"]
    np.testing.assert_array_equal(hung.labels == 1, other.labels == 2)


def test_most_serious_reason_decides() -> None:
    for number in range(len(REASONS)):
        verdict = Verdict(REASONS[number:], 1.0, 1.0)
        assert verdict.decision == REASONS[number].decision
    assert Verdict((), 1.0, 1.0).decision == Decision.ACCEPT
