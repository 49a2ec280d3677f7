"""The DICOM Segmentation of an image, read back with pydicom, highdicom and dciodvfy."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from films import SHARED, dicom, packaged
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from truth_table import CELLS

from lungseg import errors
from lungseg.encode.dicom_seg import dicom_seg
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.options import Options
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment

KEPT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "PatientOrientation",
)

ENCODINGS = ("RG1_UNCR.dcm", "RG1_UNCI.dcm", "RG1_J2KR.dcm", "RG1_J2KI.dcm")

VARIANTS = (
    "DICOM MONOCHROME1 12",
    "DICOM MONOCHROME2 12",
    "DICOM implicit",
    "DICOM big endian",
    "DICOM deflated",
    "DICOM RLE",
    "DICOM RGB",
    "DICOM JPEG lossless 12",
    "DICOM JPEG 2000",
)

Film = NDArray[np.uint16]


@pytest.fixture(scope="module")
def small(rg1_pixels: Film) -> Film:
    """Return RG1 at a quarter of its size: (489, 461), an odd number of pixels, so that frames share a byte."""
    return np.ascontiguousarray(rg1_pixels[::4, ::4])


@pytest.fixture(scope="module")
def bare(small: Film) -> bytes:
    """Return an image without patient, study, series, orientation and position in space."""
    return dicom(small)


@pytest.fixture(scope="module")
def bare_result(bare: bytes) -> Result:
    return segment(bare)


def check(image: bytes, result: Result) -> Dataset:
    """Check a segmentation against its image and result; return it as pydicom reads it."""
    made = pydicom.dcmread(io.BytesIO(dicom_seg(result)))
    header = pydicom.dcmread(io.BytesIO(image), stop_before_pixels=True)
    assert made.SOPClassUID == made.file_meta.MediaStorageSOPClassUID == SegmentationStorage
    assert (made.Modality, made.SegmentationType, made.SegmentsOverlap) == ("SEG", "BINARY", "NO")
    assert (made.Rows, made.Columns, made.NumberOfFrames) == (header.Rows, header.Columns, 2)

    bits = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")
    frames = bits[: 2 * header.Rows * header.Columns].reshape(2, header.Rows, header.Columns)
    np.testing.assert_array_equal(frames, made.pixel_array)
    np.testing.assert_array_equal(frames[0], result.labels == RIGHT)
    np.testing.assert_array_equal(frames[1], result.labels == LEFT)

    # What OHIF and dcmqi need to open it.
    (shared_groups,) = made.SharedFunctionalGroupsSequence
    assert shared_groups.PlaneOrientationSequence[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]
    assert shared_groups.PixelMeasuresSequence[0].PixelSpacing
    assert "FrameOfReferenceUID" not in made

    source = (header.SOPClassUID, header.SOPInstanceUID)
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence, start=1):
        assert frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
        assert frame.PlanePositionSequence[0].ImagePositionPatient == [0, 0, 0]
        derived = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert (derived.ReferencedSOPClassUID, derived.ReferencedSOPInstanceUID) == source
        assert derived.SpatialLocationsPreserved == "YES"
    (series,) = made.ReferencedSeriesSequence
    referenced = series.ReferencedInstanceSequence[0]
    assert (referenced.ReferencedSOPClassUID, referenced.ReferencedSOPInstanceUID) == source
    assert series.SeriesInstanceUID == header.get("SeriesInstanceUID", series.SeriesInstanceUID)
    assert made.SOPInstanceUID != header.SOPInstanceUID
    assert made.SeriesInstanceUID != series.SeriesInstanceUID
    for keyword in KEPT:
        if header.get(keyword):
            assert made[keyword].value == header[keyword].value, keyword
    return made


@pytest.mark.parametrize("name", ENCODINGS)
def test_segmentation_of_each_encoding(name: str) -> None:
    image = packaged(name).read_bytes()
    made = check(image, segment(image))
    assert made.PatientID == "9RG1"
    assert (made.ContentDate, made.ContentTime) == ("19950926", "125130")
    assert made.LossyImageCompression == ("01" if name.endswith("I.dcm") else "00")


@pytest.mark.parametrize("name", VARIANTS)
def test_segmentation_of_each_variant(name: str) -> None:
    image = CELLS[name]()
    check(image, segment(image))


@pytest.mark.parametrize("name", ["chest_pa_jpeg_baseline.dcm", "chest_pa_wrong_monochrome1_tag.dcm"])
def test_segmentation_of_public_images(shared: Path, name: str) -> None:
    image = (shared / "dicom" / name).read_bytes()
    made = check(image, segment(image))
    assert made.PixelData != bytes(len(made.PixelData))
    assert made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing == [0.168, 0.168]
    assert (made.LossyImageCompression, made.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert "PatientAge" not in made  # "62" is none: the standard wants "062Y"


def test_segments_describe_anatomy_and_algorithm(bare: bytes, bare_result: Result) -> None:
    made = check(bare, bare_result)
    colours, tracked = set(), set()
    for segment_item, number, side, code in zip(
        made.SegmentSequence, (RIGHT, LEFT), ("Right", "Left"), ("24028007", "7771000"), strict=True
    ):
        kind = segment_item.SegmentedPropertyTypeCodeSequence[0]
        modifier = kind.SegmentedPropertyTypeModifierCodeSequence[0]
        algorithm = segment_item.SegmentationAlgorithmIdentificationSequence[0]
        assert (segment_item.SegmentNumber, segment_item.SegmentLabel) == (number, f"{side} lung")
        assert segment_item.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("39607008", "SCT")
        assert (modifier.CodeValue, modifier.CodeMeaning) == (code, side)
        assert segment_item.SegmentAlgorithmType == "AUTOMATIC"
        assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (
            bare_result.model.name,
            bare_result.model.sha256,
        )
        assert algorithm.AlgorithmParameters == f"precision={bare_result.model.precision},threshold=0.5"
        colours.add(tuple(segment_item.RecommendedDisplayCIELabValue))
        tracked.add(segment_item.TrackingUID)
    assert len(colours) == len(tracked) == 2
    assert made.ContentDescription.endswith(str(bare_result.verdict.decision))


@pytest.mark.parametrize("missing", [128, 132])
def test_image_without_preamble_is_dicom(bare: bytes, missing: int) -> None:
    """Nor need it have "DICM": such an image gives a mask, so it has a segmentation too."""
    image = bare[missing:]
    made, whole = (pydicom.dcmread(io.BytesIO(dicom_seg(segment(each)))) for each in (image, bare))
    assert made.PixelData == whole.PixelData
    assert made.ReferencedSeriesSequence[0].ReferencedInstanceSequence == (
        whole.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    )


def test_missing_elements_are_left_empty(bare: bytes, bare_result: Result) -> None:
    made = check(bare, bare_result)
    for keyword in KEPT:
        assert keyword in made
        assert not made[keyword].value or keyword == "StudyInstanceUID"
    for uid in (made.StudyInstanceUID, made.ReferencedSeriesSequence[0].SeriesInstanceUID):
        assert uid.is_valid
        assert uid.startswith("2.25.")
    assert (made.ContentDate, made.ContentTime) == ("19000101", "000000")


def test_output_is_deterministic_and_settings_change_uids(bare: bytes, bare_result: Result) -> None:
    made = dicom_seg(bare_result)
    assert dicom_seg(segment(bare)) == made
    other = segment(bare, Options(threshold=0.4))
    first, second = pydicom.dcmread(io.BytesIO(made)), check(bare, other)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert first[keyword].value != second[keyword].value
    assert first.StudyInstanceUID == second.StudyInstanceUID


@pytest.mark.parametrize(("orientation", "right_comes_first"), [("L", True), ("R", False)])
def test_mirrored_image_keeps_orientation_and_sides(small: Film, orientation: str, right_comes_first: bool) -> None:
    """Rows that run to the patient's right start at the left."""
    image = dicom(small if right_comes_first else small[:, ::-1].copy(), PatientOrientation=[orientation, "F"])
    made = check(image, segment(image))
    assert list(made.PatientOrientation) == [orientation, "F"]
    right, left = (np.argwhere(frame)[:, 1].mean() for frame in made.pixel_array)
    assert bool(right < left) is right_comes_first


def test_missing_lung_has_an_empty_frame(bare: bytes, bare_result: Result) -> None:
    one = replace(bare_result, sides=np.full_like(bare_result.sides, RIGHT))
    made = check(bare, one)
    assert [bool(frame.any()) for frame in made.pixel_array] == [True, False]
    assert len(made.SegmentSequence) == 2


def test_highdicom_reads_the_segmentation(rg1: bytes) -> None:
    result = segment(rg1)
    made = highdicom.seg.segread(io.BytesIO(dicom_seg(result)))
    source = pydicom.dcmread(io.BytesIO(rg1), stop_before_pixels=True)
    assert made.get_source_image_uids() == [(source.StudyInstanceUID, source.SeriesInstanceUID, source.SOPInstanceUID)]
    labels = made.get_pixels_by_source_instance([source.SOPInstanceUID], combine_segments=True)
    np.testing.assert_array_equal(labels[0], result.labels)


@pytest.mark.parametrize(
    ("elements", "spacing", "description"),
    [
        ({"PixelSpacing": [0.8, 0.7]}, [0.8, 0.7], None),
        ({"ImagerPixelSpacing": [0.8, 0.7]}, [0.8, 0.7], "ImagerPixelSpacing; not corrected for magnification"),
        ({"PixelSpacing": [0, 0]}, [1, 1], "Unknown: the image states none; 1 mm stands for 1 pixel"),
        ({}, [1, 1], "Unknown: the image states none; 1 mm stands for 1 pixel"),
    ],
)
def test_spacing_that_is_not_the_patients_is_marked(
    small: Film, elements: dict[str, object], spacing: list[float], description: str | None
) -> None:
    image = dicom(small, SOPClassUID=DigitalXRayImageStorageForPresentation, **elements)
    made = check(image, segment(image))
    (measures,) = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.PixelSpacing == spacing
    assert measures.SliceThickness == 1
    assert measures.get("PixelSpacingCalibrationDescription") == description


def test_other_content_has_other_uids(bare_result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later version that writes another element must not reuse the UIDs of what is stored already."""
    first = pydicom.dcmread(io.BytesIO(dicom_seg(bare_result)))
    monkeypatch.setattr("lungseg.encode.dicom_seg.SEG_SERIES_NUMBER", 77)
    second = pydicom.dcmread(io.BytesIO(dicom_seg(bare_result)))
    assert second.SeriesNumber == 77
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert second.SOPInstanceUID == second.file_meta.MediaStorageSOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID
    assert first.SegmentSequence[0].TrackingUID == second.SegmentSequence[0].TrackingUID


@pytest.mark.filterwarnings("ignore")  # pydicom warns of this test's image
def test_invalid_values_are_dropped_and_texts_kept(small: Film, caplog: pytest.LogCaptureFixture) -> None:
    image = dicom(
        small,
        SpecificCharacterSet="ISO_IR 100",
        PatientName="Müller^Zoë",
        PatientID="7" * 70,
        PatientBirthDate="19800231",
        PatientSex="female",
        PatientAge="62",
        StudyDate="20200101-20200102",
        StudyTime="noon",
        StudyInstanceUID="1.2.003.4",
        SeriesInstanceUID="series one",
        FrameOfReferenceUID="1.2.3",
        PatientOrientation=["left", "F"],
    )
    result = segment(image)
    with caplog.at_level("DEBUG"):
        made = pydicom.dcmread(io.BytesIO(dicom_seg(result)))
    assert not caplog.records
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert made.PatientName == "Müller^Zoë"
    assert made.PatientID == "7" * 70
    assert made.StudyInstanceUID == "1.2.003.4"
    assert made.ReferencedSeriesSequence[0].SeriesInstanceUID.startswith("2.25.")
    for keyword in ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "PatientOrientation"):
        assert not made[keyword].value, keyword
    for keyword in ("PatientAge", "FrameOfReferenceUID"):
        assert keyword not in made
    assert made.ContentDate == "19000101"


def test_impossible_segmentation_is_rejected(rg1_png: bytes, bare: bytes, bare_result: Result, small: Film) -> None:
    for image in (rg1_png, b"", dicom(small, SOPClassUID=CTImageStorage), dicom(small, SOPInstanceUID="none")):
        with pytest.raises(errors.NeedsDicom):
            dicom_seg(replace(bare_result, radiograph=replace(bare_result.radiograph, file=image)))
    with pytest.raises(errors.NoLung):
        dicom_seg(replace(bare_result, cleaned=np.zeros_like(bare_result.cleaned)))


def test_dciodvfy_finds_no_error(tmp_path: Path, rg1: bytes, bare: bytes, bare_result: Result, small: Film) -> None:
    """dciodvfy checks attributes, modules and value representations against the standard's Segmentation IOD."""
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is not installed (Debian's package dicom3tools)")
    images = {"rg1": rg1, "bare": bare, "dx": dicom(small, SOPClassUID=DigitalXRayImageStorageForPresentation)}
    images["capture"] = dicom(small, SOPClassUID=SecondaryCaptureImageStorage, PixelSpacing=[0.8, 0.8])
    if SHARED.is_dir():
        images["public"] = (SHARED / "dicom" / "chest_pa_jpeg_baseline.dcm").read_bytes()
    made = {name: dicom_seg(segment(image)) for name, image in images.items()}
    made["one lung"] = dicom_seg(replace(bare_result, sides=np.full_like(bare_result.sides, LEFT)))
    for name, data in made.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(data)
        report = subprocess.run([validator, path], capture_output=True, text=True, check=False).stderr
        assert "Segmentation" in report, name
        assert "Error" not in report, f"{name}: {report}"
