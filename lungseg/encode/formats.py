"""The output formats: what `?format=` and `--format` accept.

To add a format, add one entry to FORMATS, and its encoder.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lungseg.encode import png, shapes
from lungseg.encode.document import document
from lungseg.encode.overlay import overlay_png
from lungseg.encode.png_file import bits_png
from lungseg.errors import ProblemError
from lungseg.pipeline.result import Result

PNG_TYPE, JSON_TYPE, DICOM_TYPE = "image/png", "application/json", "application/dicom"
NPZ_TYPE = "application/x-npz"


@dataclass(frozen=True)
class Format:
    """One output format.

    Attributes:
        name: what callers request.
        media_type: of the response.
        suffix: of the file, appended to the image's whole name.
        meaning: one line for help texts and the API's description.
        encode: encodes a result.
        accept: whether an Accept header that names the media type gets this format; one format per media type.
        text: whether AWS Lambda may return it as text; everything else goes in base64.
        varies: whether it contains timings, so that two runs differ.
        in_all: whether "all" contains it.
        is_drawn: whether the opacity of overlays changes it.
        sop_class: of a DICOM object, by which a study's results are found; empty for other formats.
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
    is_drawn: bool = False
    sop_class: str = ""

    @property
    def is_json(self) -> bool:
        """Whether it is JSON, GeoJSON included."""
        return self.media_type.endswith("json")

    @property
    def is_dicom(self) -> bool:
        """Whether it is a DICOM object, which needs a DICOM image and carries its patient and study."""
        return bool(self.sop_class)


def _json(make: Callable[[Result], object]) -> Callable[[Result], bytes]:
    return lambda result: json.dumps(make(result), separators=(",", ":")).encode()


def _npz(result: Result) -> bytes:
    from lungseg.encode.arrays import arrays_npz  # rarely requested

    return arrays_npz(result)


def _dicom(name: str) -> Callable[[Result], bytes]:
    def encode(result: Result) -> bytes:
        from lungseg.encode.dicom_kinds import DICOM_ENCODERS  # highdicom is slow to import

        return DICOM_ENCODERS[name](result)

    return encode


def _preview(result: Result) -> bytes:
    from lungseg.encode.preview import preview_png  # only the page requests it

    return preview_png(result)


def _all(result: Result) -> bytes:
    """Write a ZIP of all formats with `in_all` that the image allows: a PNG has no DICOM objects."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for each in FORMATS.values():
            if not each.in_all:
                continue
            try:
                content = each.encode(result)
            except ProblemError:
                continue
            is_compressed = each.media_type in (PNG_TYPE, NPZ_TYPE)
            method = zipfile.ZIP_STORED if is_compressed else zipfile.ZIP_DEFLATED
            # ZipInfo has a fixed time, so the same image gives the same bytes.
            archive.writestr(zipfile.ZipInfo(f"{result.archive_stem}{each.suffix}"), content, method)
    return buffer.getvalue()


FORMATS = {
    each.name: each
    for each in (
        Format(
            "mask",
            PNG_TYPE,
            ".mask.png",
            "the mask: 1-bit PNG of the image's size, white = lung",
            lambda result: bits_png(result.bits, result.geometry.width),
            accept=True,
        ),
        Format(
            "labels",
            PNG_TYPE,
            ".labels.png",
            "8-bit PNG: 1 = the patient's right lung, 2 = the left lung, 0 = elsewhere",
            lambda result: png.labels_png(result.labels),
        ),
        Format(
            "overlay",
            PNG_TYPE,
            ".overlay.png",
            "PNG to look at: the image with its lungs tinted and outlined, right blue, left orange",
            lambda result: overlay_png(result.radiograph.pixels, result.labels, result.opacity),
            is_drawn=True,
        ),
        Format(
            "probability",
            PNG_TYPE,
            ".probability.png",
            "16-bit PNG of the probability of lung, 65535 = 1",
            lambda result: png.probability_png(result.probability),
        ),
        Format(
            "cutout",
            PNG_TYPE,
            ".cutout.png",
            "PNG of the image cropped to the lungs and a small margin, at its own bit depth, bone bright",
            png.cutout_png,
        ),
        Format(
            "isolated",
            PNG_TYPE,
            ".isolated.png",
            "PNG of the image's size and bit depth with the lungs alone: the rest is transparent, and black below",
            png.isolated_png,
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
            "COCO run lengths of both lungs, and of each",
            _json(shapes.run_lengths),
            text=True,
        ),
        Format(
            "dicom-seg",
            DICOM_TYPE,
            ".seg.dcm",
            "DICOM Segmentation of both lungs; needs a DICOM image",
            _dicom("dicom-seg"),
            accept=True,
            sop_class="1.2.840.10008.5.1.4.1.1.66.4",
        ),
        Format(
            "dicom-sc",
            DICOM_TYPE,
            ".sc.dcm",
            "DICOM Secondary Capture of the overlay; needs a DICOM image",
            _dicom("dicom-sc"),
            is_drawn=True,
            sop_class="1.2.840.10008.5.1.4.1.1.7",
        ),
        Format(
            "dicom-gsps",
            DICOM_TYPE,
            ".pr.dcm",
            "DICOM presentation state with the lungs' outlines; needs a greyscale DICOM image",
            _dicom("dicom-gsps"),
            sop_class="1.2.840.10008.5.1.4.1.1.11.1",
        ),
        Format(
            "dicom-sr",
            DICOM_TYPE,
            ".sr.dcm",
            "DICOM report of the lungs' areas and the verdict; needs a DICOM image",
            _dicom("dicom-sr"),
            sop_class="1.2.840.10008.5.1.4.1.1.88.33",
        ),
        Format(
            "npz",
            NPZ_TYPE,
            ".npz",
            "NumPy arrays: mask, labels, probability, spacing",
            _npz,
            accept=True,
        ),
        Format(
            "all",
            "application/zip",
            ".zip",
            "ZIP of all formats above that the image allows",
            _all,
            accept=True,
            varies=True,
            in_all=False,
            is_drawn=True,
        ),
        Format(
            "preview",
            PNG_TYPE,
            ".preview.png",
            "RGB PNG for viewers, at most 1024 pixels on a side: red = image, green = probability of lung, blue = side "
            "(1 right, 2 left); its text chunk `document` is the JSON",
            _preview,
            varies=True,
            in_all=False,
        ),
    )
}
"""By name, in the order in which help texts list them."""


def find_format(name: object) -> Format:
    """Return the format with a name.

    Raises:
        ValueError: there is none; the text completes the sentence "The format ...".
    """
    if not isinstance(name, str) or name not in FORMATS:
        raise ValueError(f"must be one of {', '.join(FORMATS)}")
    return FORMATS[name]


DICOM_FORMATS = tuple(each.name for each in FORMATS.values() if each.sop_class)
"""Names of the formats that a PACS stores."""


def encode_each(result: Result, names: Iterable[str]) -> tuple[dict[str, bytes], dict[str, ProblemError]]:
    """Encode a result in several formats.

    Args:
        names: of FORMATS.

    Returns:
        By name, the bytes of each format, and the errors of those that cannot be made of this image.
    """
    contents: dict[str, bytes] = {}
    problems: dict[str, ProblemError] = {}
    for name in names:
        try:
            contents[name] = FORMATS[name].encode(result)
        except ProblemError as error:
            problems[name] = error
    return contents, problems
