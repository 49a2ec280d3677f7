"""Segment one image, or many, from Python."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

from lungseg.encode.naming import archive_stem
from lungseg.errors import ProblemError
from lungseg.library.image_kinds import ImageLike, image_reader
from lungseg.library.model import Model, ModelLike, loaded_models
from lungseg.library.result import Result
from lungseg.model.models import Models
from lungseg.model.session import core_count
from lungseg.pipeline.options import Options
from lungseg.pipeline.segment import segment_decoded

ImageT = TypeVar("ImageT", bound=ImageLike)

Outcome: TypeAlias = Result | ProblemError | TypeError | ValueError
"""What `segment_many` yields for an image: its result, or why it has none."""

IMAGE_EXCEPTIONS = (ProblemError, TypeError, ValueError)


def segment(
    image: ImageLike,
    *,
    threshold: float | None = None,
    clean: bool = True,
    upright: bool = True,
    model: ModelLike | None = None,
) -> Result:
    """Segment the lungs in one frontal chest X-ray.

    Not a medical device; makes no diagnosis.

    >>> result = segment("image.dcm")
    >>> result
    <Result: 1841 x 1955 pixels, accept, expected Dice 0.97..., lungs cover 3...%>
    >>> result.mask.shape, result.mask.dtype
    ((1955, 1841), dtype('bool'))
    >>> result.save("mask.png")
    PosixPath('mask.png')

    Args:
        image: one of

            - a path (str or os.PathLike), the bytes of a file, or a binary file object, of PNG, JPEG, TIFF, BMP, WebP
              or DICOM; the format is detected from the content;
            - a NumPy array, bone bright: (height, width) uint8, uint16 or float, or (height, width, 3) uint8 or uint16
              in RGB order. Floats are linear greys of any range; they are scaled to 16 bits, the smallest to black and
              the largest to white;
            - a PIL.Image.Image of any mode;
            - a pydicom.Dataset with pixel data.
        threshold: a pixel is lung if its probability is above this, between 0 and 1; None is the model's own, 0.5.
        clean: whether to remove fragments under 5 % of the larger lung and to fill holes under 10 %.
        upright: whether to detect rotated and inverted images. The mask always has the orientation of the image.
        model: a `Model`, the name of one, or the path of an ONNX file; None is the model that LUNG_MODEL names, else
            lung_unet.

    Raises:
        ProblemError: the image cannot be segmented; the class and `code` say why, `remedy` what to do.
        TypeError: the object is no image, or an array has another dtype.
        ValueError: an array has another shape or contains NaN, or the threshold is not between 0 and 1.
        ModelError: the model cannot be loaded.
    """
    return _segment_with(image, Options(threshold, clean, upright), loaded_models(model))


def segment_many(
    images: Iterable[ImageT],
    *,
    workers: int | None = None,
    threshold: float | None = None,
    clean: bool = True,
    upright: bool = True,
    model: ModelLike | None = None,
) -> Iterator[tuple[ImageT, Outcome]]:
    """Segment many images in threads; yield each with its result, in the order of ``images``.

    An image that fails does not stop the others: it is yielded with its exception. At most ``2 * workers`` images are
    read ahead, so memory stays bounded however many there are.

    >>> for image, outcome in segment_many(["image.dcm", "missing.dcm"]):
    ...     print(image, outcome.code if isinstance(outcome, Exception) else outcome.verdict.decision)
    image.dcm accept
    missing.dcm unreadable

    Args:
        images: of any kind that `segment` accepts; also a generator.
        workers: images at a time; None is the number of cores. Each runs on its share of the cores.
        threshold: as for `segment`.
        clean: as for `segment`.
        upright: as for `segment`.
        model: as for `segment`.

    Yields:
        The image as it was given, and a `Result`, or the ProblemError, TypeError or ValueError that `segment` would
        raise.

    Raises:
        ValueError: ``workers`` is below 1, or the threshold is not between 0 and 1.
        ModelError: the model cannot be loaded.
    """
    options = Options(threshold, clean, upright)
    count = core_count() if workers is None else workers
    if count < 1:
        raise ValueError("segment_many needs at least 1 worker")
    if not isinstance(model, Model):
        model = Model.load(model, threads=max(1, core_count() // count))
    # Threads, not processes: decoders and onnxruntime release Python's lock.
    return _segment_in_threads(images, count, options, loaded_models(model))


def _segment_in_threads(
    images: Iterable[ImageT], count: int, options: Options, models: Models | None
) -> Iterator[tuple[ImageT, Outcome]]:
    waiting: deque[tuple[ImageT, Future[Outcome]]] = deque()
    with ThreadPoolExecutor(count, "lungseg") as pool:
        try:
            for image in images:
                waiting.append((image, pool.submit(_try_segment, image, options, models)))
                if len(waiting) == 2 * count:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _try_segment(image: ImageLike, options: Options, models: Models | None) -> Outcome:
    try:
        return _segment_with(image, options, models)
    except IMAGE_EXCEPTIONS as error:
        return error


def _segment_with(image: ImageLike, options: Options, models: Models | None) -> Result:
    result = Result.of(segment_decoded(image_reader(image), options, models))
    if isinstance(image, str | os.PathLike):
        result = replace(result, archive_stem=archive_stem(Path(image).name))
    return result
