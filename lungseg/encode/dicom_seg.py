"""A result as a DICOM Segmentation object: each lung a binary segment on the image's own grid, in the image's study."""

from __future__ import annotations

import hashlib
import io
import logging
import re
import uuid
from typing import TYPE_CHECKING

from pydicom import Dataset
from pydicom.config import RAISE
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import DA, TM, validate_value

from lungseg import __version__, errors
from lungseg.decode import with_preamble
from lungseg.decode.dicom import read_dicom
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.result import Result

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

# It logs the UIDs of what it copies.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)

NAME = "lung-segmentation"

RADIOGRAPH_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
"""Images that have no place in space; a slice of a CT has one, and its segmentation would need it."""

TYPE_2_KEYWORDS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientOrientation",
)
"""What is kept of the image, and left empty where the image does not have it (type 2 of the standard)."""

OPTIONAL_KEYWORDS = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
    "BodyPartExamined",
    "TimezoneOffsetFromUTC",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""What is kept of the image where it has it."""

TEXT_VRS = ("LO", "PN", "SH")
UID_PATTERN = re.compile(r"(?=.{1,64}$)\d+(\.\d+)+")
"""Leading zeros in a part are against the standard, but archives know images by such names."""

UNKNOWN_MOMENT = ("19000101", "000000")
"""Content date and time are required, and an image may have none."""

SERIES_NUMBER = 900
"""Number of the series: behind the image's own in a viewer's list."""

SEGMENT_FACTS = (
    (RIGHT, "Right lung", codes.cid244.Right, (0, 140, 255)),
    (LEFT, "Left lung", codes.cid244.Left, (255, 150, 0)),
)
"""Label, name, laterality and colour (RGB) of each segment; its number is the label."""


def dicom_seg(result: Result) -> bytes:
    """Write the lungs as a Segmentation object (binary), which belongs to the image's study and refers to the image.

    There are always two segments and two frames, of the image's size and orientation: the patient's right lung, then
    the left. A lung that was not found has an empty frame. A radiograph has no place in space, so there is no frame of
    reference: the frames lie on the image pixel by pixel.

    The same image, model and settings give the same bytes. So UIDs are derived from them, and the content's date and
    time are the image's own (of its content, else its acquisition, else its study), not those of now.

    Patient and study are the image's. What it lacks, or has in a form that the standard does not allow, is left empty,
    or derived from the image's bytes where it must not be (the UIDs of study and series).

    Args:
        result: what was found in the image, whose file must be DICOM.

    Raises:
        NeedsDicom: the image is not DICOM, not a radiograph, or has no UID that could be referred to.
        NoLung: the mask is empty.
    """
    whole = with_preamble(result.radiograph.file_bytes)
    if whole is None:
        raise errors.NeedsDicom("The image is not DICOM, so the segmentation has no study to belong to.")
    if not result.labels.any():
        raise errors.NoLung("The mask is empty; there is nothing to segment.")
    header = read_dicom(whole)
    if _uid(header, "SOPClassUID") not in RADIOGRAPH_CLASSES:
        raise errors.NeedsDicom("The image is a DICOM object other than CR, DX or SC.")
    if not _uid(header, "SOPInstanceUID"):
        raise errors.NeedsDicom("The DICOM image has no SOPInstanceUID, so the segmentation cannot refer to it.")

    segmentation = _segmentation(result, _source(header, result), _identity(result))
    segmentation.update(_kept(header))
    buffer = io.BytesIO()
    segmentation.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _source(header: Dataset, result: Result) -> Dataset:
    """The image as highdicom is to see it: what it is and how large, and nothing of the patient."""
    digest = hashlib.sha256(result.radiograph.file_bytes).hexdigest()
    source = Dataset()
    source.SpecificCharacterSet = "ISO_IR 192"  # UTF-8, whatever the image's texts were written in
    source.SOPClassUID = _uid(header, "SOPClassUID")
    source.SOPInstanceUID = _uid(header, "SOPInstanceUID")
    source.StudyInstanceUID = _uid(header, "StudyInstanceUID") or _derived(digest, "study")
    source.SeriesInstanceUID = _uid(header, "SeriesInstanceUID") or _derived(digest, "image's series")
    source.Rows, source.Columns = result.labels.shape
    for keyword in TYPE_2_KEYWORDS:
        setattr(source, keyword, None)
    return source


def _segmentation(result: Result, source: Dataset, identity: str) -> Segmentation:
    """The object without patient and moment."""
    import highdicom  # takes a second, and few requests need it

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
        manufacturer=NAME,
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
    # What highdicom takes from the clock or draws at random.
    del segmentation.InstanceCreationDate, segmentation.InstanceCreationTime
    for equipment in segmentation.ContributingEquipmentSequence:
        del equipment.ContributionDateTime
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = _derived(identity, "dimensions")
    return segmentation


def _segment(
    result: Result, identity: str, label: int, name: str, laterality: Code, colour: tuple[int, int, int]
) -> SegmentDescription:
    """One lung, described by the standard's codes: the anatomical structure lung, right or left."""
    import highdicom

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=result.model.name,
        family=codes.cid7162.ArtificialIntelligence,
        version=result.model.sha256,
        source=NAME,
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
    """A digest of all that the object is made of."""
    digest = hashlib.sha256(result.radiograph.file_bytes)
    for fact in (result.model.sha256, str(result.threshold), __version__):
        digest.update(fact.encode())
    digest.update(result.labels.tobytes())
    return digest.hexdigest()


def _derived(identity: str, part: str) -> str:
    """A UID of its own for each part of an object: a UUID as PS3.5 section B.2 writes it."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{identity} {part}').int}"


def _kept(header: Dataset) -> Dataset:
    """Patient, study, moment and what else is kept of the image."""
    kept = Dataset()
    for keyword in (*TYPE_2_KEYWORDS, *OPTIONAL_KEYWORDS):
        values = _values(header, keyword)
        if values or keyword in TYPE_2_KEYWORDS:
            setattr(kept, keyword, values)
    kept.ContentDate, kept.ContentTime = _moment(header)
    return kept


def _moment(header: Dataset) -> tuple[str, str]:
    """The image's date and time."""
    for event in ("Content", "Acquisition", "Study"):
        date, time = _values(header, f"{event}Date"), _values(header, f"{event}Time")
        if len(date) == 1:
            return date[0], time[0] if len(time) == 1 else UNKNOWN_MOMENT[1]
    return UNKNOWN_MOMENT


def _uid(header: Dataset, keyword: str) -> str:
    """A UID of the image; empty if there is none."""
    values = _values(header, keyword)
    return values[0] if len(values) == 1 else ""


def _values(header: Dataset, keyword: str) -> list[str]:
    """The values of an element; none of them if one cannot be read or is none of its kind.

    Texts are taken as they stand, even too long: archives know the patient by them.
    """
    kind = dictionary_VR(keyword)
    try:
        element = header[keyword]
        if kind != element.VR or element.is_empty:
            return []
        values = [str(each) for each in (element.value if isinstance(element.value, MultiValue) else [element.value])]
        for value in values:
            if kind == "UI" and not UID_PATTERN.fullmatch(value):
                return []
            if kind not in ("UI", *TEXT_VRS):
                validate_value(kind, value, RAISE)
            {"DA": DA, "TM": TM}.get(kind, str)(value)
    # pydicom fails on odd values in any way, and its texts quote them.
    except Exception:
        return []
    return values
