"""Secondary Capture, presentation state and report, read back with pydicom, highdicom, DCMTK and dciodvfy."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from films import SHARED, dice, dicom, packaged
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)

from lungseg import errors
from lungseg.decode import decode
from lungseg.encode.dicom_capture import dicom_capture
from lungseg.encode.dicom_object import MAX_GRAPHIC_POINTS, thin_ring
from lungseg.encode.dicom_presentation import dicom_presentation
from lungseg.encode.dicom_report import dicom_report
from lungseg.encode.dicom_seg import dicom_seg
from lungseg.encode.overlay import draw_overlay
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.measure import measure_lungs
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment

Encoder = Callable[[Result], bytes]

ENCODERS = (dicom_capture, dicom_presentation, dicom_report)

PATIENT = {
    "PatientName": "Müller^Zoë",
    "PatientID": "4711",
    "PatientBirthDate": "19800229",
    "PatientSex": "F",
    "StudyInstanceUID": "1.2.3.4",
    "SeriesInstanceUID": "1.2.3.5",
    "StudyDate": "20200102",
    "StudyTime": "030405",
    "StudyID": "S",
    "AccessionNumber": "A",
    "ReferringPhysicianName": "Doe^Jo",
    "StudyDescription": "Chest",
}


@pytest.fixture(scope="module")
def small_pixels(rg1_pixels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return np.ascontiguousarray(rg1_pixels[::4, ::4])


@pytest.fixture(scope="module")
def image(small_pixels: NDArray[np.uint16]) -> bytes:
    """Return an image with patient, study, spacing and window."""
    elements = {"PixelSpacing": [0.8, 0.7], "WindowCenter": 30000, "WindowWidth": 40000, "BurnedInAnnotation": "YES"}
    return dicom(small_pixels, SpecificCharacterSet="ISO_IR 100", PatientOrientation=["L", "F"], **PATIENT, **elements)


@pytest.fixture(scope="module")
def result(image: bytes) -> Result:
    return segment(image)


def read(data: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(data))


def ring(item: Dataset) -> list[tuple[float, float]]:
    """Return the points of a graphic."""
    values = list(item.GraphicData)
    return list(zip(values[::2], values[1::2], strict=True))


def fill(rings: list[list[tuple[float, float]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask of the pixels whose centres are inside."""
    picture = Image.new("1", shape[::-1])
    for points in rings:
        ImageDraw.Draw(picture).polygon([(x - 0.5, y - 0.5) for x, y in points], fill=1)
    return np.asarray(picture)


@pytest.mark.parametrize("encode", ENCODERS)
def test_object_belongs_to_the_study_in_a_series_of_its_own(encode: Encoder, image: bytes, result: Result) -> None:
    data = encode(result)
    assert encode(segment(image)) == data
    made = read(data)
    for keyword, value in PATIENT.items():
        if keyword != "SeriesInstanceUID":
            assert made[keyword].value == value, keyword
    others = {read(each(result)).SeriesInstanceUID for each in (*ENCODERS, dicom_seg)}
    assert len(others) == 4
    assert made.SeriesInstanceUID in others
    assert PATIENT["SeriesInstanceUID"] not in others
    assert made.SOPInstanceUID == made.file_meta.MediaStorageSOPInstanceUID
    assert (made.Manufacturer, made.DeviceSerialNumber) == ("lung-segmentation", result.model.sha256)
    assert read(image).SOPInstanceUID in str(made)


@pytest.mark.parametrize("encode", ENCODERS)
def test_impossible_object_is_rejected(
    encode: Encoder, result: Result, rg1_png: bytes, small_pixels: NDArray[np.uint16]
) -> None:
    for file in (rg1_png, b"", dicom(small_pixels, SOPClassUID=CTImageStorage)):
        with pytest.raises(errors.NeedsDicom):
            encode(replace(result, radiograph=replace(result.radiograph, file=file)))
    with pytest.raises(errors.NoLung):
        encode(replace(result, cleaned=np.zeros_like(result.cleaned)))


def test_capture_shows_the_overlay(image: bytes, result: Result) -> None:
    made = read(dicom_capture(result))
    assert made.SOPClassUID == SecondaryCaptureImageStorage
    assert made.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert list(made.ImageType[:2]) == ["DERIVED", "SECONDARY"]
    (source,) = made.SourceImageSequence
    assert source.ReferencedSOPInstanceUID == read(image).SOPInstanceUID
    assert made.BurnedInAnnotation == "YES"  # as the image says
    assert made.ImageComments == "Verdict: accept."
    assert made.PixelSpacing == [0.8, 0.7]
    assert (made.LossyImageCompression, made.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    picture = made.pixel_array.astype(int)  # pydicom converts it to RGB
    drawn = np.asarray(draw_overlay(result.radiograph.pixels, result.labels)).astype(int)
    assert picture.shape == (*result.mask.shape, 3)
    assert np.abs(picture - drawn).mean() < 4


def test_capture_claims_nothing_of_annotations_and_detectors(small_pixels: NDArray[np.uint16]) -> None:
    made = read(dicom_capture(segment(dicom(small_pixels, ImagerPixelSpacing=[0.8, 0.8]))))
    for keyword in ("BurnedInAnnotation", "RecognizableVisualFeatures", "PixelSpacing"):
        assert keyword not in made


def test_capture_adds_its_losses_to_the_images() -> None:
    made = read(dicom_capture(segment(packaged("RG1_J2KI.dcm").read_bytes())))
    assert made.LossyImageCompression == "01"
    assert "ISO_10918_1" in made.LossyImageCompressionMethod
    assert np.shape(made.LossyImageCompressionMethod) == np.shape(made.LossyImageCompressionRatio)


@pytest.mark.parametrize("encode", [*ENCODERS, dicom_seg])
def test_own_object_is_no_chest_xray(encode: Encoder, result: Result) -> None:
    with pytest.raises(errors.ImageError) as caught:
        decode(encode(result))
    if encode in (dicom_capture, dicom_seg):
        assert caught.value.code == "own-output"


def test_outlines_match_the_lungs(result: Result) -> None:
    made = read(dicom_presentation(result))
    assert [layer.GraphicLayer for layer in made.GraphicLayerSequence] == ["RIGHT LUNG", "LEFT LUNG"]
    colours = [tuple(layer.GraphicLayerRecommendedDisplayCIELabValue) for layer in made.GraphicLayerSequence]
    segments = read(dicom_seg(result)).SegmentSequence
    assert colours == [tuple(each.RecommendedDisplayCIELabValue) for each in segments]
    for annotation, label in zip(made.GraphicAnnotationSequence, (RIGHT, LEFT), strict=True):
        for graphic in annotation.GraphicObjectSequence:
            assert (graphic.GraphicType, graphic.GraphicAnnotationUnits, graphic.GraphicFilled) == (
                "POLYLINE",
                "PIXEL",
                "N",
            )
        rings = [ring(graphic) for graphic in annotation.GraphicObjectSequence]
        assert all(points[0] == points[-1] for points in rings)
        assert dice(fill(rings, result.labels.shape), result.labels == label) > 0.99


def test_touching_lungs_have_their_own_outlines(result: Result) -> None:
    """A region that contains both lungs is one polygon of the contours, but two lungs."""
    middle = result.sides.shape[1] // 2
    sides = np.full_like(result.sides, RIGHT)
    sides[:, middle:] = LEFT
    touching = replace(result, cleaned=np.full_like(result.cleaned, 0.9), sides=sides)
    made = read(dicom_presentation(touching))
    for annotation, label in zip(made.GraphicAnnotationSequence, (RIGHT, LEFT), strict=True):
        (graphic,) = annotation.GraphicObjectSequence
        assert dice(fill([ring(graphic)], touching.labels.shape), touching.labels == label) > 0.99


@pytest.mark.parametrize("name", ["RG1_UNCR.dcm", "MONOCHROME2"])
def test_presentation_shows_the_greys_of_the_image(name: str, image: bytes, tmp_path: Path) -> None:
    """DCMTK renders an image as by its own header, and as by the presentation state."""
    renderer = shutil.which("dcmp2pgm")
    if renderer is None:
        pytest.skip("dcmp2pgm is not installed (Debian's package dcmtk)")
    data = packaged(name).read_bytes() if name.endswith(".dcm") else image
    (tmp_path / "image.dcm").write_bytes(data)
    (tmp_path / "state.dcm").write_bytes(dicom_presentation(segment(data)))
    for options, output in ((), "plain.pgm"), (("-p", "state.dcm"), "state.pgm"):
        subprocess.run([renderer, "-q", *options, "image.dcm", output], cwd=tmp_path, check=True, capture_output=True)
    plain, state = (np.asarray(Image.open(tmp_path / each)) for each in ("plain.pgm", "state.pgm"))
    np.testing.assert_array_equal(plain, state)
    assert np.ptp(plain) > 200


def test_presentation_copies_lookup_tables(small_pixels: NDArray[np.uint16]) -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], np.arange(0, 65536, 256, np.uint16).tobytes()
    made = read(dicom_presentation(segment(dicom(small_pixels, VOILUTSequence=[table]))))
    (window,) = made.SoftcopyVOILUTSequence
    copied = window.VOILUTSequence[0]
    assert list(copied.LUTDescriptor) == [256, 0, 16]
    assert np.array_equal(np.frombuffer(bytes(copied.LUTData), np.uint16), np.arange(0, 65536, 256))


def test_presentation_copies_the_rescale(small_pixels: NDArray[np.uint16]) -> None:
    image = dicom(small_pixels, RescaleSlope="0.5", RescaleIntercept="-7", WindowCenter="15000", WindowWidth="20000")
    made = read(dicom_presentation(segment(image)))
    assert (made.RescaleSlope, made.RescaleIntercept, made.RescaleType) == (0.5, -7, "US")
    assert made.SoftcopyVOILUTSequence[0].WindowCenter == 15000


def test_broken_window_is_left_out(small_pixels: NDArray[np.uint16]) -> None:
    made = read(dicom_presentation(segment(dicom(small_pixels, WindowCenter=["1", "2"], WindowWidth="5"))))
    assert "SoftcopyVOILUTSequence" not in made


def test_colour_image_has_no_greyscale_presentation(small_pixels: NDArray[np.uint16]) -> None:
    grey = (small_pixels >> 8).astype(np.uint8)
    colour = dicom(
        np.ascontiguousarray(np.repeat(grey[..., np.newaxis], 3, axis=2)),
        PhotometricInterpretation="RGB",
        SamplesPerPixel=3,
        PlanarConfiguration=0,
        SOPClassUID=SecondaryCaptureImageStorage,
    )
    found = segment(colour)
    with pytest.raises(errors.NeedsDicom, match="colour"):
        dicom_presentation(found)
    for encode in (dicom_seg, dicom_capture, dicom_report):
        assert encode(found)


def test_long_outline_is_thinned() -> None:
    angle = np.linspace(0, 2 * np.pi, 100_001)
    circle = 1000 + 900 * np.stack((np.cos(angle), np.sin(angle)), axis=1)
    thin = thin_ring(circle)
    assert len(thin) <= MAX_GRAPHIC_POINTS
    np.testing.assert_array_equal(thin[0], thin[-1])
    np.testing.assert_array_equal(thin_ring(circle[:50]), np.concatenate((circle[:49], circle[:1])))


def test_highdicom_reads_the_report(result: Result, image: bytes) -> None:
    made = highdicom.sr.srread(io.BytesIO(dicom_report(result)))
    assert isinstance(made, highdicom.sr.ComprehensiveSR)
    measured = measure_lungs(result)
    groups = made.content.get_planar_roi_measurement_groups()
    tracked = [each.TrackingUID for each in read(dicom_seg(result)).SegmentSequence]
    for group, lung, label, uid in zip(groups, (measured.right, measured.left), (RIGHT, LEFT), tracked, strict=True):
        (area,) = group.get_measurements(name=codes.SCT.Area)
        assert area.value == pytest.approx(lung.mm2, abs=0.1)
        assert area.unit == codes.UCUM.SquareMillimeter
        assert group.tracking_uid == uid
        region = group.roi
        assert dice(fill([list(map(tuple, region.value))], result.labels.shape), result.labels == label) > 0.99
    derived, evaluations = made.ContentSequence[-2:]
    assert [float(each.MeasuredValueSequence[0].NumericValue) for each in derived.ContentSequence] == pytest.approx(
        [measured.both.mm2, measured.right_to_left, result.verdict.expected_dice], abs=0.1
    )
    assert evaluations.ContentSequence[0].ConceptCodeSequence[0].CodeValue == str(result.verdict.decision)
    assert result.model.sha256 in str(made)
    assert made.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[
        0
    ].ReferencedSOPInstanceUID == (read(image).SOPInstanceUID)


@pytest.mark.parametrize(
    ("elements", "unit", "calibration"),
    [
        ({}, "{pixels}", None),
        ({"ImagerPixelSpacing": [0.8, 0.8]}, "mm2", "ImagerPixelSpacing; not corrected for magnification"),
    ],
)
def test_report_states_what_areas_are_calibrated_by(
    small_pixels: NDArray[np.uint16], elements: dict[str, object], unit: str, calibration: str | None
) -> None:
    found = segment(dicom(small_pixels, **elements))
    made = read(dicom_report(found))
    area = made.ContentSequence[-2].ContentSequence[0].MeasuredValueSequence[0]
    assert area.MeasurementUnitsCodeSequence[0].CodeValue == unit
    texts = [each.TextValue for each in made.ContentSequence[-1].ContentSequence if each.ValueType == "TEXT"]
    assert texts == [*(reason.text for reason in found.verdict.reasons), *filter(None, [calibration])]


def test_lung_in_parts_is_one_polygon_of_the_same_area(result: Result) -> None:
    cleaned = result.cleaned.copy()
    cleaned[cleaned.shape[0] // 2 - 3 : cleaned.shape[0] // 2 + 3] = 0  # cuts both lungs in two
    made = highdicom.sr.srread(io.BytesIO(dicom_report(replace(result, cleaned=cleaned))))
    cut = replace(result, cleaned=cleaned).labels
    for group, label in zip(made.content.get_planar_roi_measurement_groups(), (RIGHT, LEFT), strict=True):
        assert dice(fill([list(map(tuple, group.roi.value))], cut.shape), cut == label) > 0.98


def test_dciodvfy_finds_no_error(tmp_path: Path, rg1: bytes, image: bytes, small_pixels: NDArray[np.uint16]) -> None:
    """dciodvfy checks attributes, modules and value representations against the standard's IODs."""
    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is not installed (Debian's package dicom3tools)")
    images = {"rg1": rg1, "image": image, "bare": dicom(small_pixels)}
    images["dx"] = dicom(
        small_pixels, SOPClassUID=DigitalXRayImageStorageForPresentation, ImagerPixelSpacing=[0.8, 0.8]
    )
    if SHARED.is_dir():
        images["public"] = (SHARED / "dicom" / "chest_pa_jpeg_baseline.dcm").read_bytes()
    for name, data in images.items():
        found = segment(data)
        for encode, kind in zip(ENCODERS, ("SCImage", "GrayscaleSoftcopy", "ComprehensiveSR"), strict=True):
            path = tmp_path / f"{name} {kind}.dcm"
            path.write_bytes(encode(found))
            report = subprocess.run([validator, path], capture_output=True, text=True, check=False).stderr
            assert kind in report, path.name
            assert "Error" not in report, f"{path.name}: {report}"
