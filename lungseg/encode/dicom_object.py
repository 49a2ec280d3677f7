"""What every DICOM output shares: the image that it refers to, its UIDs, its equipment, and how it is written."""

from __future__ import annotations

import hashlib
import io
import logging
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    UID,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import DS

from lungseg import __version__, errors
from lungseg.decode import with_preamble
from lungseg.decode.bounds.png import OWN_PROGRAM
from lungseg.decode.dataset import read_dicom
from lungseg.encode.dicom_elements import TYPE_2_KEYWORDS, read_uid
from lungseg.pipeline.mask import LEFT, RIGHT
from lungseg.pipeline.result import Result

if TYPE_CHECKING:
    from highdicom import AlgorithmIdentificationSequence

# highdicom logs the UIDs of what it copies.
logging.getLogger("highdicom").setLevel(logging.CRITICAL)

RADIOGRAPH_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
"""Images without a position in space; a CT slice has one, and its segmentation would need it."""

SOURCE_SERIES = "film's series"
"""Names what a UID is derived for. Segmentations that are stored somewhere hold UIDs made with these very words."""

BODY_PART = "CHEST"
"""The Body Part Examined of objects that would else need a laterality."""

DETECTOR_SPACING = "ImagerPixelSpacing; not corrected for magnification"
"""A Pixel Spacing Calibration Description: at most 64 characters."""

MAX_GRAPHIC_POINTS = 8000
"""Points of one outline: an element of 8-byte points ends at 65,534 bytes (PS3.5 section 7.1.2)."""


@dataclass(frozen=True)
class LungFacts:
    """How objects describe one lung.

    Attributes:
        label: in the mask's labels; also the number of its segment.
        name: for people.
        side: the standard's code of its laterality.
        colour: RGB.
    """

    label: int
    name: str
    side: Code
    colour: tuple[int, int, int]


LUNGS = (
    LungFacts(RIGHT, "Right lung", codes.cid244.Right, (0, 140, 255)),
    LungFacts(LEFT, "Left lung", codes.cid244.Left, (255, 150, 0)),
)


@dataclass(frozen=True)
class SourceImage:
    """The DICOM image that an object refers to.

    Attributes:
        header: its data set.
        reference: what highdicom needs to know of it: its UIDs and size, but nothing about the patient.
        identity: a digest of what determines an object: image, model, threshold, version and lungs.
    """

    header: Dataset
    reference: Dataset
    identity: str

    def derive_uid(self, part: str) -> str:
        """Return a UID for a part of an object: the same for the same image, model, settings and lungs."""
        return _derived(self.identity, part)


def read_source(result: Result) -> SourceImage:
    """Return the image that an object of this result refers to.

    Raises:
        NeedsDicom: the image is not DICOM, not a radiograph, or has no UID to refer to.
        NoLung: the mask is empty.
    """
    whole = with_preamble(result.radiograph.file_bytes)
    if whole is None:
        raise errors.NeedsDicom("The image is not DICOM, so there is no study that a DICOM object could belong to.")
    header = read_dicom(whole)
    if read_uid(header, "SOPClassUID") not in RADIOGRAPH_CLASSES:
        raise errors.NeedsDicom("The image is a DICOM object other than CR, DX or SC.")
    if not read_uid(header, "SOPInstanceUID"):
        raise errors.NeedsDicom("The DICOM image has no SOPInstanceUID, so no object can refer to it.")
    if not result.labels.any():
        raise errors.NoLung("The mask is empty; there is nothing to store with the image.")

    digest = hashlib.sha256(result.radiograph.file_bytes)
    file_digest = digest.hexdigest()
    for fact in (result.model.sha256, str(result.threshold), __version__):
        digest.update(fact.encode())
    digest.update(result.labels.tobytes())

    reference = Dataset()
    reference.SpecificCharacterSet = "ISO_IR 192"  # UTF-8, whatever the image uses
    reference.SOPClassUID = read_uid(header, "SOPClassUID")
    reference.SOPInstanceUID = read_uid(header, "SOPInstanceUID")
    reference.StudyInstanceUID = read_uid(header, "StudyInstanceUID") or _derived(file_digest, "study")
    reference.SeriesInstanceUID = read_uid(header, "SeriesInstanceUID") or _derived(file_digest, SOURCE_SERIES)
    reference.Rows, reference.Columns = result.labels.shape
    for keyword in (*TYPE_2_KEYWORDS, "PatientOrientation"):
        setattr(reference, keyword, None)
    return SourceImage(header, reference, digest.hexdigest())


def object_facts(result: Result, source: SourceImage, series_number: int, series_description: str) -> dict[str, Any]:
    """Return the arguments of highdicom's constructors that are the same for all objects.

    `write_object` replaces the two UIDs.
    """
    return {
        "series_instance_uid": source.derive_uid("series"),
        "series_number": series_number,
        "series_description": series_description,
        "sop_instance_uid": source.derive_uid("object"),
        "instance_number": 1,
        "manufacturer": OWN_PROGRAM,
        "manufacturer_model_name": result.model.name,
        "software_versions": __version__,
        "device_serial_number": result.model.sha256,
    }


def algorithm_facts(result: Result) -> AlgorithmIdentificationSequence:
    """Return the standard's identification of the model: its name, digest and settings."""
    import highdicom

    return highdicom.AlgorithmIdentificationSequence(
        name=result.model.name,
        family=codes.cid7162.ArtificialIntelligence,
        version=result.model.sha256,
        source=OWN_PROGRAM,
        parameters={"precision": result.model.precision, "threshold": str(result.threshold)},
    )


def spacing_elements(result: Result) -> Dataset:
    """Return the image's pixel spacing, with a description if it is a detector's; empty if the image has none.

    A detector's spacing is written because viewers take it for the image's own, too: without it, they would draw the
    object at another size.
    """
    spacing, elements = result.radiograph.spacing, Dataset()
    if spacing is None:
        return elements
    elements.PixelSpacing = [DS(spacing.row, auto_format=True), DS(spacing.column, auto_format=True)]
    if spacing.source != "PixelSpacing":
        elements.PixelSpacingCalibrationDescription = DETECTOR_SPACING
    return elements


def thin_ring(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a closed ring, (points, 2), with at most MAX_GRAPHIC_POINTS points."""
    step = -(-len(ring) // (MAX_GRAPHIC_POINTS - 1))
    return np.concatenate((ring[:-1:step], ring[:1]))


def write_object(made: Dataset, copied: Dataset, source: SourceImage) -> bytes:
    """Return a DICOM file, with the elements that are copied from the image.

    What highdicom takes from the clock is removed. The UIDs of the object and its series are derived from the whole
    content, so that another program version never gives other content the same UID.

    Args:
        made: the object, with UIDs by `object_facts`.
        copied: elements that replace the object's own.
        source: the image.
    """
    del made.InstanceCreationDate, made.InstanceCreationTime
    for equipment in made.get("ContributingEquipmentSequence", ()):
        del equipment.ContributionDateTime
    made.update(copied)
    content = hashlib.sha256(_file_bytes(made)).hexdigest()
    made.SeriesInstanceUID = _derived(content, "series")
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(_derived(content, "object"))
    return _file_bytes(made)


def _file_bytes(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _derived(identity: str, part: str) -> str:
    """Return a UID for a part of an object: a UUID as in PS3.5 section B.2."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, f'{identity} {part}').int}"
