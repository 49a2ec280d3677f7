"""DICOM Segmentation: each lung is a binary segment on the image's grid, in the image's study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.sr.codedict import codes

from lungseg.encode.dicom_elements import image_elements, patient_elements
from lungseg.encode.dicom_object import (
    LUNGS,
    LungFacts,
    SourceImage,
    algorithm_facts,
    object_facts,
    read_source,
    spacing_elements,
    write_object,
)
from lungseg.pipeline.result import Result

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

SEG_SERIES_NUMBER = 900
"""A series number that viewers list after the image's own."""

IMAGE_PLANE = (1, 0, 0, 0, 1, 0)
IMAGE_CORNER = (0, 0, 0)
"""Orientation and position that viewers assume of an image that states none, as no radiograph does. OHIF and dcmqi read
no segmentation without them. There is no frame of reference, so they do not place the lungs in the patient."""

SLICE_THICKNESS_MM = 1
"""A projection has no thickness, but highdicom's reader and dcmqi, and with it 3D Slicer, need one. With 1 mm, the
volume in mm³ that they compute is the area in mm²."""

PIXEL_AS_MM = (1, 1)
PIXEL_AS_MM_TEXT = "Unknown: the image states none; 1 mm stands for 1 pixel"
"""Pixel spacing of an image that states none, with a description of at most 64 characters. OHIF, highdicom, dcmqi and
3D Slicer open no segmentation without a number. This is the one that ITK, and so 3D Slicer, assumes of the image
itself; with another, lungs and image would differ in size."""


def dicom_seg(result: Result) -> bytes:
    """Return the lungs as a binary Segmentation object, which belongs to the image's study and refers to the image.

    It always has two segments and two frames of the image's size and orientation: the patient's right lung, then the
    left. A lung that was not found has an empty frame. A radiograph has no position in space, so there is no frame of
    reference: frames and image match pixel by pixel.

    The same image, model and settings give the same bytes. Therefore UIDs are derived from them, and content date and
    time are the image's (of its content, acquisition or study, in this order), not the current ones.

    Patient and study are the image's. Elements that it lacks, or that violate the standard, are left empty; the UIDs of
    study and series, which must not be empty, are derived from the image's bytes.

    Args:
        result: of an image whose file is DICOM.

    Raises:
        NeedsDicom: the image is not DICOM, not a radiograph, or has no UID to refer to.
        NoLung: the mask is empty.
    """
    source = read_source(result)
    made = _segmentation(result, source)
    _place_frames(made, result)
    copied = patient_elements(source.header)
    copied.update(image_elements(source.header))
    return write_object(made, copied, source)


def _segmentation(result: Result, source: SourceImage) -> Segmentation:
    """Return the object without patient, date and time."""
    import highdicom  # takes a second to import, and is rarely needed

    segmentation = highdicom.seg.Segmentation(
        source_images=[source.reference],
        pixel_array=result.labels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(result, source, lung) for lung in LUNGS],
        content_label="LUNGS",
        content_description=f"Lungs, drawn by a neural network. Verdict: {result.verdict.decision}",
        content_qualification=highdicom.ContentQualificationValues.RESEARCH,
        omit_empty_frames=False,
        **object_facts(result, source, SEG_SERIES_NUMBER, "Lung segmentation"),
    )
    segmentation.ContentCreatorName = None  # dcmqi warns if it is missing
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = source.derive_uid("dimensions")
    return segmentation


def _place_frames(segmentation: Dataset, result: Result) -> None:
    """Add the functional groups that viewers need: pixel spacing, orientation and position."""
    measures = spacing_elements(result)
    if "PixelSpacing" not in measures:
        measures.PixelSpacing, measures.PixelSpacingCalibrationDescription = list(PIXEL_AS_MM), PIXEL_AS_MM_TEXT
    measures.SliceThickness = SLICE_THICKNESS_MM
    (shared,) = segmentation.SharedFunctionalGroupsSequence
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(IMAGE_PLANE)
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence = [Dataset()]
        frame.PlanePositionSequence[0].ImagePositionPatient = list(IMAGE_CORNER)


def _segment(result: Result, source: SourceImage, lung: LungFacts) -> SegmentDescription:
    """Describe one lung in the standard's codes: anatomical structure, lung, right or left."""
    import highdicom

    segment = highdicom.seg.SegmentDescription(
        segment_number=lung.label,
        segment_label=lung.name,
        segmented_property_category=codes.cid7150.AnatomicalStructure,
        segmented_property_type=codes.cid7151.Lung,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm_facts(result),
        tracking_uid=source.derive_uid(lung.name),
        tracking_id=lung.name,
        display_color=highdicom.color.CIELabColor.from_rgb(*lung.colour),
    )
    modifier = highdicom.sr.CodedConcept.from_code(lung.side)
    segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return segment
