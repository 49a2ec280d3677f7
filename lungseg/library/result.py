"""The result of the Python API: the pipeline's, and what people want to do with it."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from lungseg.encode.formats import FORMATS, Format, find_format
from lungseg.encode.naming import FORMAT_SUFFIXES, format_of_suffix
from lungseg.encode.overlay import draw_overlay
from lungseg.encode.png import own_png
from lungseg.files import write_atomically
from lungseg.pipeline import result as pipeline_result
from lungseg.pipeline.measure import LungMeasures, measure_lungs
from lungseg.pipeline.options import DEFAULT_OPACITY, Options
from lungseg.pipeline.result import NEUTRAL_STEM

MAX_NOTEBOOK_SIDE = 768
"""Pixels on the longer side of the picture that a notebook shows."""


@dataclass(frozen=True, repr=False, eq=False)
class Result(pipeline_result.Result):
    """The lungs of one image, as `lungseg.segment` returns them.

    Arrays have the image's own size; they are computed when they are first used.

    Attributes:
        mask: (height, width) bool, True = lung.
        labels: (height, width) uint8: 0, 1 = the patient's right lung, 2 = the left lung.
        probability: (height, width) float32 in [0, 1], the network's probability of lung, not cleaned.
        verdict: whether to rely on the mask: `.decision` is accept, review or reject, `.reasons` says why.
        threshold: a pixel is lung if its probability is above this.
    """

    @classmethod
    def of(cls, result: pipeline_result.Result) -> Result:
        """Return a result of the pipeline as a result of the Python API."""
        return cls(**{each.name: getattr(result, each.name) for each in fields(pipeline_result.Result)})

    @property
    def expected_dice(self) -> float | None:
        """The expected Dice of the mask, 0 to 1; None if the model gives no estimate, or there is no lung."""
        return self.verdict.expected_dice

    @cached_property
    def areas(self) -> LungMeasures:
        """The measurements of `.both` lungs, of the `.right` and of the `.left`.

        Each has `.pixels`, `.mm2` (None if the file states no pixel spacing), `.box` and `.centroid`.
        """
        return measure_lungs(self)

    def encode(self, format: str = "mask") -> bytes:  # noqa: A002 -- as in Image.save
        """Return the result as a file: the bytes that the command and the HTTP API give for the same image.

        Args:
            format: a name of `lungseg info`: mask, labels, overlay, probability, cutout, isolated, json, contours, rle,
                dicom-seg, dicom-sc, dicom-gsps, dicom-sr, npz, all or preview.

        Raises:
            ValueError: there is no such format.
            NeedsDicom, NoLung: this image has no such output.
        """
        return named_format(format).encode(self)

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> Path:  # noqa: A002 -- as in Image.save
        """Write the result to a file, completely or not at all, and return its path.

        Args:
            path: the file. Without ``format`` its suffix chooses one: mask.png or chest.mask.png is the mask, x.png,
                too; x.labels.png the labels, x.json the measurements, x.seg.dcm a DICOM Segmentation, x.npz the arrays.
            format: a name as for `encode`.

        Raises:
            ValueError: there is no such format, or the suffix chooses none.
            NeedsDicom, NoLung: this image has no such output.
            OSError: the file cannot be written.
        """
        path = Path(path)
        chosen = format_of_suffix(path.name) if format is None else named_format(format)
        if chosen is None:
            raise ValueError(
                f"the suffix of {path.name!r} names no format; use one of {', '.join(FORMAT_SUFFIXES)}, or pass "
                f"format= with one of {', '.join(FORMATS)}"
            )
        # Two ZIPs that are unpacked in one folder must not overwrite each other's members.
        is_unnamed = chosen.name == "all" and self.archive_stem == NEUTRAL_STEM
        write_atomically(path, chosen.encode(replace(self, archive_stem=path.stem) if is_unnamed else self))
        return path

    def overlay(self, *, opacity: float = DEFAULT_OPACITY) -> Image.Image:
        """Return an RGB picture of the image's size, with the lungs tinted and outlined, right blue, left orange.

        Args:
            opacity: of the tint, from 0 (outlines only) to 1 (no image within the lungs).

        Raises:
            ValueError: the opacity is not from 0 to 1.
        """
        return draw_overlay(self.radiograph.pixels, self.labels, Options(opacity=opacity).opacity)

    def __repr__(self) -> str:
        dice = "" if self.expected_dice is None else f", expected Dice {self.expected_dice:.3f}"
        size = f"{self.radiograph.width} x {self.radiograph.height}"
        return f"<Result: {size} pixels, {self.verdict.decision}{dice}, lungs cover {self.lung_share:.1%}>"

    def _repr_png_(self) -> bytes:
        """Return a small overlay, which a notebook shows."""
        picture = self.overlay()
        picture.thumbnail((MAX_NOTEBOOK_SIDE, MAX_NOTEBOOK_SIDE))
        return own_png(picture)


def named_format(name: str) -> Format:
    """Return the format with a name.

    Raises:
        ValueError: there is none.
    """
    try:
        return find_format(name)
    except ValueError as error:
        raise ValueError(f"format {error}, not {name!r}") from None
