"""DICOM Segmentation: each lung is a binary segment on the image's grid, in the image's study."""

from __future__ import annotations

import hashlib
import io
import logging
import uuid
from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from lungseg import __version__, errors
from lungseg.decode import with_preamble
from lungseg.decode.bounds.png import OWN_PROGRAM
from lungseg.decode.dataset import read_dicom
from lungseg.encode.dicom_elements import TYPE_2_KEYWORDS, copied_elements, read_uid
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.result import Result

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

# highdicom logs the UIDs of what it copies.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)

RADIOGRAPH_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
"""Images without a position in space; a CT slice has one, and its segmentation would need it."""

SERIES_NUMBER = 900
"""A series number that viewers list after the image's own."""

SEGMENT_FACTS = (
    (RIGHT, "Right lung", codes.cid244.Right, (0, 140, 255)),
    (LEFT, "Left lung", codes.cid244.Left, (255, 150, 0)),
)
"""Label (also the segment number), name, laterality and RGB colour of each segment."""


SOURCE_SERIES = "film's series"
"""Names what a UID is derived for. Segmentations that are stored somewhere hold UIDs made with these very words."""


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
    whole = with_preamble(result.radiograph.file_bytes)
    if whole is None:
        raise errors.NeedsDicom("The image is not DICOM, so the segmentation has no study to belong to.")
    if not result.labels.any():
        raise errors.NoLung("The mask is empty; there is nothing to segment.")
    header = read_dicom(whole)
    if read_uid(header, "SOPClassUID") not in RADIOGRAPH_CLASSES:
        raise errors.NeedsDicom("The image is a DICOM object other than CR, DX or SC.")
    if not read_uid(header, "SOPInstanceUID"):
        raise errors.NeedsDicom("The DICOM image has no SOPInstanceUID, so the segmentation cannot refer to it.")

    segmentation = _segmentation(result, _source(header, result), _identity(result))
    segmentation.update(copied_elements(header))
    buffer = io.BytesIO()
    segmentation.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _source(header: Dataset, result: Result) -> Dataset:
    """Return what highdicom needs to know of the image: its UIDs and its size, but nothing about the patient."""
    digest = hashlib.sha256(result.radiograph.file_bytes).hexdigest()
    source = Dataset()
    source.SpecificCharacterSet = "ISO_IR 192"  # UTF-8, whatever the image uses
    source.SOPClassUID = read_uid(header, "SOPClassUID")
    source.SOPInstanceUID = read_uid(header, "SOPInstanceUID")
    source.StudyInstanceUID = read_uid(header, "StudyInstanceUID") or _derived(digest, "study")
    source.SeriesInstanceUID = read_uid(header, "SeriesInstanceUID") or _derived(digest, SOURCE_SERIES)
    source.Rows, source.Columns = result.labels.shape
    for keyword in TYPE_2_KEYWORDS:
        setattr(source, keyword, None)
    return source


def _segmentation(result: Result, source: Dataset, identity: str) -> Segmentation:
    """Return the object without patient, date and time."""
    import highdicom  # takes a second to import, and is rarely needed

    spacing = result.radiograph.spacing
    measures = None
    if spacing is not None and spacing.source == "PixelSpacing":
        measures = highdicom.PixelMeasuresSequence((spacing.row, spacing.column), slice_thickness=None)
    segmentation = highdicom.seg.Segmentation(
        source_images=[source],
        pixel_array=result.labels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(result, identity, *lung) for lung in SEGMENT_FACTS],
        series_instance_uid=_derived(identity, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=_derived(identity, "object"),
        instance_number=1,
        manufacturer=OWN_PROGRAM,
        manufacturer_model_name=result.model.name,
        software_versions=__version__,
        device_serial_number=result.model.sha256,
        content_label="LUNGS",
        content_description=f"Lungs, drawn by a neural network. Verdict: {result.verdict.decision}",
        content_qualification=highdicom.ContentQualificationValues.RESEARCH,
        series_description="Lung segmentation",
        pixel_measures=measures,
        omit_empty_frames=False,
    )
    # Remove or replace what highdicom takes from the clock or from a random generator.
    del segmentation.InstanceCreationDate, segmentation.InstanceCreationTime
    for equipment in segmentation.ContributingEquipmentSequence:
        del equipment.ContributionDateTime
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = _derived(identity, "dimensions")
    return segmentation


def _segment(
    result: Result, identity: str, label: int, name: str, laterality: Code, colour: tuple[int, int, int]
) -> SegmentDescription:
    """Describe one lung in the standard's codes: anatomical structure, lung, right or left."""
    import highdicom

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=result.model.name,
        family=codes.cid7162.ArtificialIntelligence,
        version=result.model.sha256,
        source=OWN_PROGRAM,
        parameters={"precision": result.model.precision, "threshold": str(result.threshold)},
    )
    segment = highdicom.seg.SegmentDescription(
        segment_number=label,
        segment_label=name,
        segmented_property_category=codes.cid7150.AnatomicalStructure,
        segmented_property_type=codes.cid7151.Lung,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=_derived(identity, name),
        tracking_id=name,
        display_color=highdicom.color.CIELabColor.from_rgb(*colour),
    )
    modifier = highdicom.sr.CodedConcept.from_code(laterality)
    segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [modifier]
    return segment


def _identity(result: Result) -> str:
    """Return a digest of everything that determines the object."""
    digest = hashlib.sha256(result.radiograph.file_bytes)
    for fact in (result.model.sha256, str(result.threshold), __version__):
        digest.update(fact.encode())
    digest.update(result.labels.tobytes())
    return digest.hexdigest()


def _derived(identity: str, part: str) -> str:
    """Return a UID for a part of an object: a UUID as in PS3.5 section B.2."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{identity} {part}').int}"
