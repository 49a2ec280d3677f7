"""The forms in which a result is given: what `?format=` and `--format` name."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from lungseg.encode import png, shapes
from lungseg.encode.document import document
from lungseg.encode.overlay import overlay_png
from lungseg.errors import ProblemError
from lungseg.pipeline.result import Result

PNG_TYPE, JSON_TYPE = "image/png", "application/json"


@dataclass(frozen=True)
class Format:
    """One form of a result.

    Attributes:
        name: what callers ask for.
        media_type: of the answer.
        suffix: of its file, behind the image's whole name.
        meaning: a line for help texts and the API's description.
        encode: writes a result in this format.
        accept: whether an Accept header that names the media type gets this format; one format per media type.
        text: whether AWS Lambda may return it as text; everything else goes in base64.
        varies: whether it holds timings, so that two runs differ.
        in_all: whether "all" contains it.
    """

    name: str
    media_type: str
    suffix: str
    meaning: str
    encode: Callable[[Result], bytes]
    accept: bool = False
    text: bool = False
    varies: bool = False
    in_all: bool = True


def _json(make: Callable[[Result], object]) -> Callable[[Result], bytes]:
    return lambda result: json.dumps(make(result), separators=(",", ":")).encode()


def _npz(result: Result) -> bytes:
    """Arrays "mask" bool, "labels" uint8, "probability" float16, each (height, width); "spacing" mm, or empty."""
    spacing = result.radiograph.spacing
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        mask=result.mask,
        labels=result.labels,
        probability=result.probability.astype(np.float16),
        spacing=np.array([] if spacing is None else [spacing.row, spacing.column]),
    )
    return buffer.getvalue()


def _dicom_seg(result: Result) -> bytes:
    from lungseg.encode.dicom_seg import dicom_seg  # highdicom is slow to import

    return dicom_seg(result)


def _preview(result: Result) -> bytes:
    from lungseg.encode.preview import preview_png  # only the page asks for it

    return preview_png(result)


def _all(result: Result) -> bytes:
    """A ZIP of every form with `in_all`; of those alone that can be made, as a PNG gives no DICOM object."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in FORMATS.values():
            if not each.in_all:
                continue
            try:
                content = each.encode(result)
            except ProblemError:
                continue
            # A fixed time: the same image gives the same bytes.
            archive.writestr(zipfile.ZipInfo(f"lungs{each.suffix}"), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


FORMATS = {
    each.name: each
    for each in (
        Format(
            "mask",
            PNG_TYPE,
            ".mask.png",
            "the mask: 1-bit PNG of the image's own size, white = lung",
            lambda result: png.bits_png(result.bits, result.geometry.width),
            accept=True,
        ),
        Format(
            "labels",
            PNG_TYPE,
            ".labels.png",
            "8-bit PNG: 1 the patient's right lung, 2 the left one, 0 elsewhere",
            lambda result: png.labels_png(result.labels),
        ),
        Format(
            "overlay",
            PNG_TYPE,
            ".overlay.png",
            "a picture to look at: the image with its lungs tinted and outlined",
            lambda result: overlay_png(result.radiograph.pixels, result.mask),
        ),
        Format(
            "probability",
            PNG_TYPE,
            ".probability.png",
            "16-bit PNG of lung's probability, 65535 = 1",
            lambda result: png.probability_png(result.probability),
        ),
        Format(
            "cutout",
            PNG_TYPE,
            ".cutout.png",
            "the image cropped to the lungs and a small margin, at its own depth, bone bright",
            png.cutout_png,
        ),
        Format(
            "json",
            JSON_TYPE,
            ".json",
            "verdict, areas, boxes, centroids, model and timings",
            _json(document),
            accept=True,
            text=True,
            varies=True,
        ),
        Format(
            "contours",
            "application/geo+json",
            ".contours.json",
            "outlines as GeoJSON polygons in the image's pixels",
            _json(shapes.contours),
            accept=True,
            text=True,
        ),
        Format(
            "rle",
            JSON_TYPE,
            ".rle.json",
            "both lungs, and each, as COCO run lengths",
            _json(shapes.run_lengths),
            text=True,
        ),
        Format(
            "dicom-seg",
            "application/dicom",
            ".seg.dcm",
            "DICOM Segmentation of both lungs, for an image that is DICOM",
            _dicom_seg,
            accept=True,
        ),
        Format(
            "npz",
            "application/x-npz",
            ".npz",
            "NumPy arrays: mask, labels, probability, spacing",
            _npz,
            accept=True,
        ),
        Format(
            "all",
            "application/zip",
            ".zip",
            "a ZIP of all of the above that the image allows",
            _all,
            accept=True,
            varies=True,
            in_all=False,
        ),
        Format(
            "preview",
            PNG_TYPE,
            ".preview.png",
            "RGB PNG of at most 1024 pixels a side, to draw from: red the image, green lung's probability, blue the "
            "side (1 right, 2 left); its text chunk `document` is the JSON",
            _preview,
            varies=True,
            in_all=False,
        ),
    )
}
"""By name, in the order in which help texts list them."""


def encode_each(result: Result, names: Iterable[str]) -> tuple[dict[str, bytes], dict[str, ProblemError]]:
    """Several forms of a result.

    Args:
        names: of FORMATS.

    Returns:
        Each form's bytes, and the refusals of those that cannot be made of this image, by their names.
    """
    made: dict[str, bytes] = {}
    refusals: dict[str, ProblemError] = {}
    for name in names:
        try:
            made[name] = FORMATS[name].encode(result)
        except ProblemError as error:
            refusals[name] = error
    return made, refusals
