"""DICOM Grayscale Softcopy Presentation State: the lungs' outlines as graphics over the image, which stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from lungseg import errors
from lungseg.encode.dicom_elements import patient_elements, read_moment, read_values
from lungseg.encode.dicom_object import (
    BODY_PART,
    LUNGS,
    object_facts,
    read_source,
    spacing_elements,
    thin_ring,
    write_object,
)
from lungseg.encode.shapes import lung_rings
from lungseg.pipeline.result import Result

if TYPE_CHECKING:
    from highdicom import ModalityLUTTransformation
    from highdicom.pr import GraphicAnnotation, GraphicLayer, SoftcopyVOILUTTransformation

PRESENTATION_SERIES_NUMBER = 902
"""The series after the Secondary Capture's."""

VOI_FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def dicom_presentation(result: Result) -> bytes:
    """Return the lungs' outlines as a Grayscale Softcopy Presentation State in the image's study.

    Each lung is a graphic layer with the colour of its segment in `dicom_seg`; each outline, and each hole, is a closed
    polyline in the image's pixels. Window, lookup tables and polarity are the image's.

    Patient, study, UIDs, date and time are as in `dicom_seg`.

    Args:
        result: of an image whose file is DICOM.

    Raises:
        NeedsDicom: the image is not DICOM, not a radiograph, has no UID to refer to, or is in colour.
        NoLung: the mask is empty.
    """
    import highdicom  # takes a second to import, and is rarely needed

    source = read_source(result)
    photometric = str(source.header.get("PhotometricInterpretation") or "MONOCHROME2")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise errors.NeedsDicom("The image is in colour; a greyscale presentation state needs a greyscale image.")
    reference = source.reference
    reference.SamplesPerPixel = 1
    layers = [
        highdicom.pr.GraphicLayer(
            lung.name.upper(), lung.label, lung.name, highdicom.color.CIELabColor.from_rgb(*lung.colour)
        )
        for lung in LUNGS
    ]
    shape = "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
    window = _window(source.header)
    made = highdicom.pr.GrayscaleSoftcopyPresentationState(
        referenced_images=[reference],
        content_label="LUNGS",
        content_description=f"Outlines of the lungs. Verdict: {result.verdict.decision}",
        graphic_layers=layers,
        graphic_annotations=_annotations(result, reference, layers),
        modality_lut_transformation=_modality(source.header),
        voi_lut_transformations=[window] if window else None,
        presentation_lut_transformation=highdicom.PresentationLUTTransformation(presentation_lut_shape=shape),
        **object_facts(result, source, PRESENTATION_SERIES_NUMBER, "Lung outlines"),
    )
    _set_pixel_size(made, result)
    copied = patient_elements(source.header)
    copied.BodyPartExamined = BODY_PART
    copied.PresentationCreationDate, copied.PresentationCreationTime = read_moment(source.header)
    return write_object(made, copied, source)


def _annotations(result: Result, reference: Dataset, layers: list[GraphicLayer]) -> list[GraphicAnnotation]:
    """Return the outlines of each lung that was found, on its layer."""
    import highdicom

    made = []
    for lung, layer in zip(LUNGS, layers, strict=True):
        rings = lung_rings(result, lung.label)
        if rings:
            graphics = [highdicom.pr.GraphicObject("POLYLINE", thin_ring(ring), "PIXEL") for ring in rings]
            made.append(highdicom.pr.GraphicAnnotation([reference], layer, graphic_objects=graphics))
    return made


def _set_pixel_size(made: Dataset, result: Result) -> None:
    """State the size or the aspect ratio of the image's pixels, which the displayed area needs."""
    (area,) = made.DisplayedAreaSelectionSequence
    for keyword in ("PresentationPixelSpacing", "PresentationPixelAspectRatio"):
        if keyword in area:
            delattr(area, keyword)
    spacing = spacing_elements(result)
    if "PixelSpacing" in spacing:
        area.PresentationPixelSpacing = spacing.PixelSpacing
    else:
        area.PresentationPixelAspectRatio = [1, 1]


def _modality(header: Dataset) -> ModalityLUTTransformation | None:
    """Return the image's rescale or modality LUT; None if it has none that is valid."""
    import highdicom

    try:
        if "ModalityLUTSequence" in header:
            item = header.ModalityLUTSequence[0]
            first, table = _table(item)
            kind = str(item.get("ModalityLUTType") or "US")
            return highdicom.ModalityLUTTransformation(modality_lut=highdicom.ModalityLUT(kind, first, table))
        slope, intercept = (float(header[each].value) for each in ("RescaleSlope", "RescaleIntercept"))
        kind = (read_values(header, "RescaleType") or ["US"])[0]
        return highdicom.ModalityLUTTransformation(rescale_intercept=intercept, rescale_slope=slope, rescale_type=kind)
    # Missing and invalid elements raise exceptions of any type, with texts that quote them.
    except Exception:
        return None


def _window(header: Dataset) -> SoftcopyVOILUTTransformation | None:
    """Return the image's VOI LUT or windows; None if it has none that is valid."""
    import highdicom

    try:
        if "VOILUTSequence" in header:
            tables = [highdicom.VOILUT(*_table(item)) for item in header.VOILUTSequence]
            return highdicom.pr.SoftcopyVOILUTTransformation(voi_luts=tables)
        centres = [float(each) for each in read_values(header, "WindowCenter")]
        widths = [float(each) for each in read_values(header, "WindowWidth")]
        function = read_values(header, "VOILUTFunction")
        return highdicom.pr.SoftcopyVOILUTTransformation(
            window_center=centres,
            window_width=widths,
            voi_lut_function=function[0] if function and function[0] in VOI_FUNCTIONS else None,
        )
    # As in `_modality`.
    except Exception:
        return None


def _table(item: Dataset) -> tuple[int, NDArray[np.unsignedinteger]]:
    """Return a lookup table: its first stored value, and its entries."""
    _, first, bits = (int(each) for each in item.LUTDescriptor)
    data, depth = item.LUTData, np.dtype(np.uint8 if bits == 8 else np.uint16)
    if isinstance(data, bytes):
        return first, np.frombuffer(data, depth)
    return first, np.array(data, depth)
