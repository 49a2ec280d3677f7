"""DICOM Secondary Capture: the overlay as a colour image, for viewers that show neither segmentations nor graphics."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import JPEGBaseline8Bit
from pydicom.valuerep import DS

from lungseg.encode.dicom_elements import image_elements, patient_elements, read_values
from lungseg.encode.dicom_object import BODY_PART, object_facts, read_source, spacing_elements, write_object
from lungseg.encode.overlay import draw_overlay
from lungseg.pipeline.result import Result

CAPTURE_SERIES_NUMBER = 901
"""The series after the Segmentation's."""

JPEG_METHOD = "ISO_10918_1"
"""JPEG, as PS3.3 section C.7.6.1.1.5.1 names it."""


def dicom_capture(result: Result) -> bytes:
    """Return the overlay as a Secondary Capture in the image's study: RGB, the image's size, in a series of its own.

    It is a JPEG (baseline), because colour at full size would be three times the size of the image. It states that
    it is derived, and which image from. Whether there is text in its pixels, it states if the image does: nothing
    is drawn but the lungs. The image comments contain the verdict.

    Patient, study, UIDs, date and time are as in `dicom_seg`.

    Args:
        result: of an image whose file is DICOM.

    Raises:
        NeedsDicom: the image is not DICOM, not a radiograph, or has no UID to refer to.
        NoLung: the mask is empty.
    """
    import highdicom  # takes a second to import, and is rarely needed

    source, spacing = read_source(result), result.radiograph.spacing
    picture = np.asarray(draw_overlay(result.radiograph.pixels, result.labels, result.opacity))
    made = highdicom.sc.SCImage.from_ref_dataset(
        ref_dataset=source.reference,
        pixel_array=picture,
        photometric_interpretation="YBR_FULL_422",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # replaced by the image's
        transfer_syntax_uid=JPEGBaseline8Bit,
        **object_facts(result, source, CAPTURE_SERIES_NUMBER, "Lung overlay"),
    )
    del made.DateOfSecondaryCapture, made.TimeOfSecondaryCapture
    made.ConversionType = "WSD"  # made on a workstation
    made.DerivationDescription = "Lungs segmented, tinted and outlined on the image"
    made.DerivationCodeSequence = [highdicom.sr.CodedConcept.from_code(codes.cid7203.SegmentationImageDerivation)]
    made.SourceImageSequence = [_source_item(source.reference)]
    reasons = " ".join(reason.text for reason in result.verdict.reasons)
    made.ImageComments = f"Verdict: {result.verdict.decision}. {reasons}".strip()
    if spacing is not None and spacing.source == "PixelSpacing":
        made.update(spacing_elements(result))

    copied = patient_elements(source.header)
    copied.update(image_elements(source.header))
    copied.update(_pixel_elements(source.header, picture.nbytes / len(made.PixelData)))
    return write_object(made, copied, source)


def _source_item(reference: Dataset) -> Dataset:
    import highdicom

    item = Dataset()
    item.ReferencedSOPClassUID = reference.SOPClassUID
    item.ReferencedSOPInstanceUID = reference.SOPInstanceUID
    item.SpatialLocationsPreserved = "YES"
    purpose = highdicom.sr.CodedConcept.from_code(codes.cid7202.SourceImageForImageProcessingOperation)
    item.PurposeOfReferenceCodeSequence = [purpose]
    return item


def _pixel_elements(header: Dataset, ratio: float) -> Dataset:
    """Return what the object states of its pixels: burned-in annotation, the losses of the image and of this JPEG."""
    elements = Dataset()
    elements.BodyPartExamined = BODY_PART
    for keyword in ("BurnedInAnnotation", "RecognizableVisualFeatures"):
        values = read_values(header, keyword)
        if values in (["YES"], ["NO"]):
            setattr(elements, keyword, values[0])
    elements.LossyImageCompression = "01"
    ratios, methods = (read_values(header, f"LossyImageCompression{each}") for each in ("Ratio", "Method"))
    known = ratios if len(ratios) == len(methods) else []
    elements.LossyImageCompressionRatio = [*known, DS(round(ratio, 2))]
    elements.LossyImageCompressionMethod = [*(methods if known else []), JPEG_METHOD]
    return elements
