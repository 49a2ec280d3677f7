"""DICOM Structured Report: the lungs' areas and the verdict, by the standard's template for measurements (TID 1500)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lungseg import __version__
from lungseg.decode.bounds.png import OWN_PROGRAM
from lungseg.encode.dicom_elements import patient_elements, read_moment
from lungseg.encode.dicom_object import (
    DETECTOR_SPACING,
    LUNGS,
    LungFacts,
    SourceImage,
    object_facts,
    read_source,
    thin_ring,
    write_object,
)
from lungseg.encode.shapes import lung_rings
from lungseg.pipeline.measure import Measures, measure_lungs
from lungseg.pipeline.result import Result

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        Measurement,
        MeasurementReport,
        ObserverContext,
        PlanarROIMeasurementsAndQualitativeEvaluations,
    )

REPORT_SERIES_NUMBER = 903
"""The series after the presentation state's."""

OWN_SCHEME = "99LUNGSEG"
"""Designator of the codes that no public scheme has."""

CHEST_XRAY = Code("399208008", "SCT", "Plain chest X-ray")
EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")
PIXELS = Code("{pixels}", "UCUM", "pixels")
LUNG_RATIO = Code("lung-ratio", OWN_SCHEME, "Area of right lung / area of left lung")
EXPECTED_DICE = Code("expected-dice", OWN_SCHEME, "Expected Dice of the mask")
VERDICT = Code("verdict", OWN_SCHEME, "Verdict on the mask")
REASON = Code("verdict-reason", OWN_SCHEME, "Reason of the verdict")
CALIBRATION = Code("calibration", OWN_SCHEME, "Calibration of the areas")


def dicom_report(result: Result) -> bytes:
    """Return a measurement report in the image's study: a Comprehensive SR by TID 1500.

    It has a group of measurements for each lung that was found, with its area and outline. Derived measurements are
    the area of both lungs, their ratio and the expected Dice of the mask. Evaluations are the verdict and its reasons.
    Areas are in mm² if the image states its pixel spacing, else in pixels.

    Patient, study, UIDs, date and time are as in `dicom_seg`. The lungs have the same tracking UIDs.

    Args:
        result: of an image whose file is DICOM.

    Raises:
        NeedsDicom: the image is not DICOM, not a radiograph, or has no UID to refer to.
        NoLung: the mask is empty.
    """
    from highdicom import sr  # takes a second to import, and is rarely needed
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    source = read_source(result)
    made = sr.ComprehensiveSR(
        evidence=[source.reference],
        content=_report(result, source)[0],
        is_complete=True,
        is_final=False,
        is_verified=False,
        coding_schemes=[
            CodingSchemeIdentificationItem(OWN_SCHEME, name=OWN_PROGRAM, responsible_organization=OWN_PROGRAM)
        ],
        specific_character_set=source.reference.SpecificCharacterSet,
        **object_facts(result, source, REPORT_SERIES_NUMBER, "Lung measurements"),
    )
    copied = patient_elements(source.header)
    copied.ContentDate, copied.ContentTime = read_moment(source.header)
    return write_object(made, copied, source)


def _report(result: Result, source: SourceImage) -> MeasurementReport:
    from highdicom import sr

    lungs = measure_lungs(result)
    groups = [
        _group(result, source, lung, _area(measures))
        for lung, measures in zip(LUNGS, (lungs.right, lungs.left), strict=True)
        if measures.pixels
    ]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=_observer(result, source)),
        procedure_reported=CHEST_XRAY,
        imaging_measurements=groups,
    )
    # Not a group of measurements of both lungs: it has no single outline, and OHIF shows no report that lacks one.
    derived = [_area(lungs.both)]
    if lungs.right_to_left is not None:
        derived.append(sr.Measurement(LUNG_RATIO, round(lungs.right_to_left, 4), codes.UCUM.NoUnits))
    if result.verdict.expected_dice is not None:
        derived.append(sr.Measurement(EXPECTED_DICE, round(result.verdict.expected_dice, 4), codes.UCUM.NoUnits))
    sections = (
        (codes.DCM.DerivedImagingMeasurements, [each[0] for each in derived]),
        (EVALUATIONS, _evaluations(result)),
    )
    for name, items in sections:
        section = sr.ContainerContentItem(name, relationship_type="CONTAINS")
        section.ContentSequence = sr.ContentSequence(items)  # type: ignore[arg-type]
        report[0].ContentSequence.append(section)
    return report


def _group(
    result: Result, source: SourceImage, lung: LungFacts, area: Measurement
) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    """Return the measurements of one lung (TID 1410), with its outline on the image."""
    from highdicom import sr

    image = sr.SourceImageForRegion(source.reference.SOPClassUID, source.reference.SOPInstanceUID)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=source.derive_uid(lung.name), identifier=lung.name),
        referenced_region=sr.ImageRegion("POLYLINE", _outline(result, lung.label), image),
        finding_category=codes.cid7150.AnatomicalStructure,
        finding_type=codes.cid7151.Lung,
        finding_sites=[sr.FindingSite(anatomic_location=codes.cid7151.Lung, laterality=lung.side)],
        algorithm_id=_algorithm(result),
        measurements=[area],
    )


def _outline(result: Result, label: int) -> NDArray[np.float64]:
    """Return a lung as one closed polygon, (points, 2) x and y in the image's pixels.

    Further parts and holes are reached from the first point and left to it, so that these ways enclose no area.
    """
    first, *others = lung_rings(result, label)
    return thin_ring(np.concatenate([first, *(part for other in others for part in (other, first[:1]))]))


def _area(measures: Measures) -> Measurement:
    """Return an area in mm², or in pixels if the spacing is unknown."""
    from highdicom import sr

    if measures.mm2 is None:
        return sr.Measurement(codes.SCT.Area, measures.pixels, PIXELS)
    return sr.Measurement(codes.SCT.Area, round(measures.mm2, 1), codes.UCUM.SquareMillimeter)


def _evaluations(result: Result) -> list[Dataset]:
    """Return the verdict as a code, its reasons as texts, and what the areas are calibrated by."""
    from highdicom import sr

    decision = str(result.verdict.decision)
    items: list[Dataset] = [
        sr.CodeContentItem(VERDICT, Code(decision, OWN_SCHEME, decision.capitalize()), "CONTAINS"),
        *(sr.TextContentItem(REASON, reason.text, "CONTAINS") for reason in result.verdict.reasons),
    ]
    spacing = result.radiograph.spacing
    if spacing is not None:
        calibration = spacing.source if spacing.source == "PixelSpacing" else DETECTOR_SPACING
        items.append(sr.TextContentItem(CALIBRATION, calibration, "CONTAINS"))
    return items


def _algorithm(result: Result) -> AlgorithmIdentification:
    from highdicom import sr

    return sr.AlgorithmIdentification(
        name=result.model.name,
        version=result.model.sha256,
        parameters=[f"precision={result.model.precision}", f"threshold={result.threshold}"],
        family=codes.cid7162.ArtificialIntelligence,
        manufacturer=f"{OWN_PROGRAM} {__version__}",
    )


def _observer(result: Result, source: SourceImage) -> ObserverContext:
    """Return the program as the device that observed."""
    from highdicom import sr

    return sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=source.derive_uid("observer"),
            name=OWN_PROGRAM,
            manufacturer_name=OWN_PROGRAM,
            model_name=result.model.name,
            serial_number=result.model.sha256,
        ),
    )
