"""The verdict on real pictures: images as they may come, and what is no chest image."""

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
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from lungseg.pipeline.verdict import REASONS, Decision, Verdict


@pytest.fixture(scope="module")
def small(rg1_pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """RG1 at half its size."""
    return np.ascontiguousarray(rg1_pixels[::2, ::2])


@pytest.fixture(scope="module")
def upright(small: NDArray[np.uint16]) -> Result:
    return segment(png(small))


def codes(result: Result) -> list[str]:
    return [reason.code for reason in result.verdict.reasons]


def test_a_film_as_it_should_be_is_accepted_without_a_word(upright: Result) -> None:
    assert upright.verdict.decision == Decision.ACCEPT
    assert upright.verdict.reasons == ()
    assert upright.verdict.confidence > 0.9


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_turned_and_inverted_films_simply_work(
    small: NDArray[np.uint16], upright: Result, turns: int, inverted: bool
) -> None:
    film = np.rot90(65535 - small if inverted else small, turns)
    result = segment(png(np.ascontiguousarray(film)))
    assert dice(np.rot90(result.mask, -turns), upright.mask) > 0.99
    assert dice(np.rot90(result.labels, -turns) == 1, upright.labels == 1) > 0.99
    assert result.verdict.decision == Decision.ACCEPT
    assert codes(result) == ["turned"] * (turns > 0) + ["inverted"] * inverted


def test_a_film_is_taken_as_it_is_if_one_says_so(small: NDArray[np.uint16], upright: Result) -> None:
    film = png(np.ascontiguousarray(np.rot90(small)))
    result = segment(film, Options(upright=False))
    assert "turned" not in codes(result)
    assert dice(np.rot90(result.mask, -1), upright.mask) < 0.9
    assert result.verdict.decision != Decision.ACCEPT


def test_the_lying_tag_of_a_real_film_costs_nothing(shared: Path) -> None:
    right, lying = (
        segment((shared / "dicom" / f"{name}.dcm").read_bytes())
        for name in ("chest_pa_jpeg_baseline", "chest_pa_wrong_monochrome1_tag")
    )
    # The image was shrunk and kept its spacing, by which its lungs measure 72 cm2.
    assert codes(right) == ["implausible-size"]
    assert codes(lying) == ["implausible-size", "inverted"]
    assert dice(right.mask, lying.mask) > 0.99


@pytest.mark.parametrize("name", ["RG3_UNCR.dcm", "RG3_J2KI.dcm", "CT_small.dcm", "MR2_UNCR.dcm", "693_UNCR.dcm"])
def test_what_is_no_chest_film_is_not_accepted(name: str) -> None:
    """A leg, slices of CT and MR, a picture of a scanner."""
    result = segment(packaged(name).read_bytes())
    assert result.verdict.decision != Decision.ACCEPT
    assert {"not-frontal", "doubtful-view"} & set(codes(result))


def test_other_views_of_the_chest_are_not_accepted(shared: Path) -> None:
    """Laterals, and those CT pictures that no network was trained on: every second one."""
    for folder in ("lateral", "ct"):
        pictures = sorted((shared / "other" / folder).iterdir())[1::2]
        decisions = [segment(picture.read_bytes()).verdict.decision for picture in pictures]
        assert decisions.count(Decision.REJECT) >= 0.8 * len(decisions)
        if folder == "lateral":
            assert Decision.ACCEPT not in decisions


def test_a_child_s_chest_is_a_chest(shared: Path) -> None:
    """Children of one to five years, two thirds with pneumonia, of patients that no network was trained on."""
    folder = shared / "more" / "v7_children"
    with (folder / "index.csv").open(newline="") as file:
        names = [row["id"] for row in csv.DictReader(file) if row["split"] == "validation"]
    images = [path for path in sorted((folder / "images").iterdir()) if path.stem in set(names[::4])]
    decisions = [segment(path.read_bytes()).verdict.decision for path in images]
    assert len(decisions) > 50
    assert decisions.count(Decision.REJECT) <= 0.02 * len(decisions)


def test_half_a_film_is_not_accepted(small: NDArray[np.uint16]) -> None:
    half = small[:, : small.shape[1] // 2]
    assert segment(png(np.ascontiguousarray(half))).verdict.decision != Decision.ACCEPT


def test_lungs_that_run_into_the_border_are_for_review(small: NDArray[np.uint16]) -> None:
    cropped = segment(png(np.ascontiguousarray(small[:, 110:])))
    assert "cut-off" in codes(cropped)


def test_a_film_of_few_pixels_is_for_review(small: NDArray[np.uint16]) -> None:
    image = Image.fromarray((small >> 8).astype(np.uint8)).resize((140, 150))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    assert "small-film" in codes(segment(buffer.getvalue()))


def test_what_the_file_says_of_right_and_left_counts(small: NDArray[np.uint16]) -> None:
    hung = segment(dicom(small, PatientOrientation=["L", "F"]))
    assert codes(hung) == []
    other = segment(dicom(small, PatientOrientation=["R", "F"]))
    assert codes(other) == ["mirrored"]
    np.testing.assert_array_equal(hung.labels == 1, other.labels == 2)


def test_the_gravest_reason_decides() -> None:
    for number in range(len(REASONS)):
        verdict = Verdict(REASONS[number:], 1.0, 1.0)
        assert verdict.decision == REASONS[number].decision
    assert Verdict((), 1.0, 1.0).decision == Decision.ACCEPT
