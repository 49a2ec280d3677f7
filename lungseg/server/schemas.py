"""The JSON documents of the HTTP door, as its OpenAPI text describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lungseg.encode.formats import FORMATS
from lungseg.model.precision import PrecisionReason
from lungseg.pipeline.options import Options

FORMAT_HELP = "The answer's form; it goes before the Accept header. " + "; ".join(
    f"`{each.name}`: {each.meaning}" for each in FORMATS.values()
)
THRESHOLD_HELP = "Lung is what the network gives a probability above this; the model's own, 0.5, if left out."
CLEAN_HELP = "Drop specks (below 5 % of the larger lung) and fill holes (below 10 % of their lung)."
UPRIGHT_HELP = "Recognise turned and inverted images, and segment them as if they were not."

DecisionName = Literal["accept", "review", "reject"]


class OptionsIn(BaseModel):
    """How to make a mask."""

    model_config = ConfigDict(extra="forbid")

    threshold: float | None = Field(default=None, gt=0, lt=1, description=THRESHOLD_HELP)
    clean: bool = Field(default=True, description=CLEAN_HELP)
    upright: bool = Field(default=True, description=UPRIGHT_HELP)

    def options(self) -> Options:
        """Return them for the pipeline."""
        return Options(self.threshold, self.clean, self.upright)


class SegmentParameters(OptionsIn):
    """The parameters of POST /v1/segment, in the query or as fields of the form that carries the image."""

    format: str | None = Field(default=None, description=FORMAT_HELP, json_schema_extra={"enum": list(FORMATS)})


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(examples=["urn:lung-segmentation:problem:too-small"])
    title: str = Field(examples=["The image is too small"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The image is 1 x 1 pixels; each side needs at least 64."])
    code: str = Field(description="Stable name of the refusal, for programs.", examples=["too-small"])
    remedy: str = Field(
        description="What to do about it.",
        examples=["Send the image at its original size, at least 64 x 64 pixels."],
    )


class ReasonOut(BaseModel):
    """Something that speaks for the decision; with "accept" it is a note."""

    code: str = Field(description="Stable name; docs/ERRORS.md lists them.", examples=["turned"])
    decision: DecisionName = Field(description="What it leads to by itself.")
    text: str = Field(examples=["The image is rotated; the mask has the same rotation."])


class VerdictOut(BaseModel):
    """Whether to rely on the mask. It is no diagnosis."""

    decision: DecisionName
    reasons: list[ReasonOut] = Field(description="The gravest first.")
    frontal: float = Field(description="Probability that this is a frontal chest radiograph.", ge=0, le=1)
    confidence: float = Field(description="Mean of 2p - 1 over the lungs, p the network's probability.", ge=0, le=1)
    expected_dice: float | None = Field(
        description="The Dice that the mask may be expected to reach; null if the model gives none, or without a lung.",
        ge=0,
        le=1,
    )
    doubtful_parts: list[str] = Field(
        description="Where the mask is most likely wrong, the most doubtful first; empty unless it is doubtful.",
        examples=[["left lower"]],
    )


class SpacingOut(BaseModel):
    """Distance between the centres of neighbouring pixels, in mm."""

    row: float = Field(gt=0)
    column: float = Field(gt=0)
    source: Literal["PixelSpacing", "ImagerPixelSpacing"]


class ImageOut(BaseModel):
    """The image as it was read."""

    width: int
    height: int
    spacing_mm: SpacingOut | None = Field(description="From DICOM alone.")
    turned_degrees: Literal[0, 90, 180, 270] = Field(description="By how much it lies turned counter-clockwise.")
    inverted: bool = Field(description="Whether its bone is dark.")
    mirrored: bool = Field(description="Whether right and left are exchanged in the picture.")


class MeasuresOut(BaseModel):
    """A part of the image; x runs to the right and y down."""

    pixels: int = Field(ge=0)
    mm2: float | None = Field(description="null if the image's spacing is not known.")
    box: tuple[int, int, int, int] | None = Field(description="x, y, width, height; null if it is empty.")
    centroid: tuple[float, float] | None = Field(description="x, y, pixel centres at whole numbers.")


class LungsOut(BaseModel):
    """Measurements; right and left are the patient's."""

    both: MeasuresOut
    right: MeasuresOut
    left: MeasuresOut
    right_to_left: float | None = Field(description="Right area by left area; null if one is missing.")
    share: float = Field(description="The part of the image that is lung.", ge=0, le=1)


class ModelOut(BaseModel):
    """The model that made the mask."""

    name: str
    precision: Literal["int8", "fp32"]
    precision_reason: PrecisionReason = Field(description="Why the model serves in this precision.")
    sha256: str


class Segmentation(BaseModel):
    """What `format=json` answers."""

    verdict: VerdictOut
    image: ImageOut
    lungs: LungsOut
    threshold: float = Field(gt=0, lt=1)
    model: ModelOut
    milliseconds: dict[str, float] = Field(description="Time of each stage.")


class RunLength(BaseModel):
    """A mask as COCO has it."""

    size: tuple[int, int] = Field(description="Height and width.")
    counts: str = Field(description="Compressed run lengths; pycocotools.mask.decode reads them.")


class RunLengths(BaseModel):
    """What `format=rle` answers."""

    lungs: RunLength
    right: RunLength
    left: RunLength


class HealthOut(BaseModel):
    """The process is up."""

    status: Literal["ok"]
    version: str


class ReadyOut(BaseModel):
    """Images can be sent."""

    status: Literal["ready"]
    model: ModelOut


class ModelCardsOut(BaseModel):
    """The served models' own facts, as they travel in their files."""

    segmentation: dict[str, Any] = Field(description="Card of the network that draws the mask.")
    view: dict[str, Any] = Field(description="Card of the network that tells how an image lies and if it is one.")
