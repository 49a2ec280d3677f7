"""The JSON documents of the HTTP API, and the parameters of POST /v1/segment."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lungseg.encode.formats import FORMATS
from lungseg.model.precision import PrecisionReason
from lungseg.pipeline.options import DEFAULT_OPACITY, Options

FORMAT_HELP = "Output format; overrides the Accept header. " + "; ".join(
    f"`{each.name}`: {each.meaning}" for each in FORMATS.values()
)
THRESHOLD_HELP = "Probability above which a pixel is lung; default: the model's own, 0.5."
CLEAN_HELP = "Remove fragments under 5 % of the larger lung and fill holes under 10 % of their lung."
UPRIGHT_HELP = "Detect rotated and inverted images, and correct them before segmentation."
OPACITY_HELP = "Opacity of the lungs in overlays, from 0 (outlines only) to 1; other formats do not depend on it."

DecisionName = Literal["accept", "review", "reject"]


class OptionsIn(BaseModel):
    """How to make the mask, and to draw it."""

    model_config = ConfigDict(extra="forbid")

    threshold: float | None = Field(default=None, gt=0, lt=1, description=THRESHOLD_HELP)
    clean: bool = Field(default=True, description=CLEAN_HELP)
    upright: bool = Field(default=True, description=UPRIGHT_HELP)
    opacity: float = Field(default=DEFAULT_OPACITY, ge=0, le=1, description=OPACITY_HELP)

    def options(self) -> Options:
        """Return the pipeline's options."""
        return Options(self.threshold, self.clean, self.upright, self.opacity)


class SegmentParameters(OptionsIn):
    """Parameters of POST /v1/segment: in the query, or as fields of the multipart form."""

    format: str | None = Field(default=None, description=FORMAT_HELP, json_schema_extra={"enum": list(FORMATS)})


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(examples=["urn:lung-segmentation:problem:too-small"])
    title: str = Field(examples=["The image is too small"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The image is 1 x 1 pixels; each side needs at least 64."])
    code: str = Field(description="Stable identifier of the error, for programs.", examples=["too-small"])
    remedy: str = Field(
        description="What to do about it.",
        examples=["Send the image at its original size, at least 64 x 64 pixels."],
    )


class ReasonOut(BaseModel):
    """A reason for the decision; with "accept" it is a note."""

    code: str = Field(description="Stable identifier; docs/ERRORS.md lists them.", examples=["turned"])
    decision: DecisionName = Field(description="The decision that this reason alone leads to.")
    text: str = Field(examples=["The image is rotated; the mask has the same rotation."])


class VerdictOut(BaseModel):
    """Whether to rely on the mask. Not a diagnosis."""

    decision: DecisionName
    reasons: list[ReasonOut] = Field(description="Most serious first.")
    frontal: float = Field(description="Probability that this is a frontal chest radiograph.", ge=0, le=1)
    confidence: float = Field(
        description="Mean of 2p - 1 over the lungs, where p is the network's probability.", ge=0, le=1
    )
    expected_dice: float | None = Field(
        description="Estimated Dice score of the mask; null if the model gives no estimate or no lung was found.",
        ge=0,
        le=1,
    )
    doubtful_parts: list[str] = Field(
        description="Where the mask is most likely wrong, most doubtful first; empty unless the mask is doubtful.",
        examples=[["left lower"]],
    )


class SpacingOut(BaseModel):
    """Distance between the centres of neighbouring pixels, in mm."""

    row: float = Field(gt=0)
    column: float = Field(gt=0)
    source: Literal["PixelSpacing", "ImagerPixelSpacing"]


class ImageOut(BaseModel):
    """The decoded image."""

    width: int
    height: int
    spacing_mm: SpacingOut | None = Field(description="DICOM only; otherwise null.")
    turned_degrees: Literal[0, 90, 180, 270] = Field(description="Counter-clockwise rotation of the image.")
    inverted: bool = Field(description="Whether bone is dark.")
    mirrored: bool = Field(description="Whether left and right are swapped in the image.")


class MeasuresOut(BaseModel):
    """Measurements of one region; x runs to the right, y runs down."""

    pixels: int = Field(ge=0)
    mm2: float | None = Field(description="Area in mm²; null if the pixel spacing is unknown.")
    box: tuple[int, int, int, int] | None = Field(description="x, y, width, height; null if the region is empty.")
    centroid: tuple[float, float] | None = Field(description="x, y; pixel centres have integer coordinates.")


class LungsOut(BaseModel):
    """Measurements of the lungs; right and left are the patient's."""

    both: MeasuresOut
    right: MeasuresOut
    left: MeasuresOut
    right_to_left: float | None = Field(description="Right area divided by left area; null if a lung is missing.")
    share: float = Field(description="Fraction of the image that is lung.", ge=0, le=1)


class ModelOut(BaseModel):
    """The model that made the mask."""

    name: str
    precision: Literal["int8", "fp32"]
    precision_reason: PrecisionReason = Field(description="Why this precision is used.")
    sha256: str


class Segmentation(BaseModel):
    """The response to `format=json`."""

    verdict: VerdictOut
    image: ImageOut
    lungs: LungsOut
    threshold: float = Field(gt=0, lt=1)
    model: ModelOut
    milliseconds: dict[str, float] = Field(description="Duration of each stage.")


class RunLength(BaseModel):
    """A mask in COCO run-length encoding."""

    size: tuple[int, int] = Field(description="Height and width.")
    counts: str = Field(description="Compressed run lengths, for pycocotools.mask.decode.")


class RunLengths(BaseModel):
    """The response to `format=rle`."""

    lungs: RunLength
    right: RunLength
    left: RunLength


class HealthOut(BaseModel):
    """The process is running."""

    status: Literal["ok"]
    version: str


class ReadyOut(BaseModel):
    """The service accepts images."""

    status: Literal["ready"]
    model: ModelOut


class ModelCardsOut(BaseModel):
    """The models' cards, as stored in the model files."""

    segmentation: dict[str, Any] = Field(description="Card of the segmentation network.")
    view: dict[str, Any] = Field(
        description="Card of the network that recognises frontal chest X-rays and their orientation."
    )
