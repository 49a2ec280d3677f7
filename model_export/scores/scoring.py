"""Score a model on images end to end, from image file to mask, at full image size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap
from tqdm import tqdm

from lungseg.errors import ProblemError
from lungseg.model.lung import LungModel
from lungseg.model.models import Models
from lungseg.pipeline.result import Result
from lungseg.pipeline.segment import segment
from model_export.data.arrays import MaskArray
from model_export.data.index import Index, IndexRow, read_target
from model_export.scores import metrics

CALIBRATION_BINS = 10
"""Number of equal probability bins for calibration."""


@dataclass(frozen=True)
class ImageScore:
    """An image and its scores.

    Attributes:
        row: the image.
        scores: by the names in METRIC_NAMES.
        calibration: (CALIBRATION_BINS, 3) float64: for each bin its number of pixels, the sum of their probabilities,
            and the number of lung pixels.
    """

    row: IndexRow
    scores: dict[str, float]
    calibration: NDArray[np.float64]


def score_images(index: Index, rows: list[IndexRow], model: LungModel, title: str = "evaluate") -> list[ImageScore]:
    """Score ``model`` on ``rows``.

    Raises:
        FileNotFoundError: an image or mask is missing from the input folder.
        ValueError: there is no image to score, or one is damaged.
    """
    if not rows:
        raise ValueError("no image to evaluate; name another --split")
    scored = []
    for row in tqdm(rows, desc=title, unit="image", leave=False):
        result, target = segment_row(index, row, model), read_target(index, row)
        scores = metrics.score_mask(result.probability, result.mask, target)
        scored.append(ImageScore(row, scores, _calibration(result.probability, target)))
    return scored


def segment_row(index: Index, row: IndexRow, model: LungModel) -> Result:
    """Segment an image's file as the service does.

    Raises:
        FileNotFoundError: the image is missing.
        ValueError: it is damaged.
    """
    try:
        return segment((index.input / row.image).read_bytes(), models=Models(lung=model))
    except ProblemError as error:
        raise ValueError(f"{row.image}: {error.detail}") from None


def group_by_set(scored: list[ImageScore]) -> dict[str, list[ImageScore]]:
    """Group images by set, and again without masks marked as bad."""
    groups: dict[str, list[ImageScore]] = {}
    for source, images in _split(scored, lambda image: image.row.source).items():
        good = [image for image in images if image.row.quality != "bad"]
        groups[source] = images
        if 0 < len(good) < len(images):
            groups[f"{source} without bad masks"] = good
    return groups


def group_by_finding(scored: list[ImageScore]) -> dict[str, list[ImageScore]]:
    """Group images by set and finding."""
    names = {"0": "normal", "1": "tuberculosis", "": "no finding stated"}
    return _split(scored, lambda image: f"{image.row.source}, {names.get(image.row.finding, image.row.finding)}")


def mean_score(images: list[ImageScore], metric: str) -> float:
    """Return the mean of one metric."""
    return float(np.mean([image.scores[metric] for image in images]))


def bootstrap_interval(values: list[float]) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of at least two values (percentiles, 9,999 resamples, seeded)."""
    result = bootstrap((values,), np.mean, method="percentile", rng=np.random.default_rng(1))
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def _split(scored: list[ImageScore], key: Callable[[ImageScore], str]) -> dict[str, list[ImageScore]]:
    groups: dict[str, list[ImageScore]] = {}
    for image in scored:
        groups.setdefault(key(image), []).append(image)
    return dict(sorted(groups.items()))


def _calibration(probability: NDArray[np.float32], target: MaskArray) -> NDArray[np.float64]:
    step = np.minimum((probability * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1).ravel()
    return np.stack(
        [np.bincount(step, weights, CALIBRATION_BINS) for weights in (None, probability.ravel(), target.ravel())],
        axis=1,
    ).astype(np.float64)
