"""What to do for one study: which of its images to segment, and why the others are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from lungseg.dicomweb import dicom_json as tags
from lungseg.dicomweb.archive import ImageArchive, SeriesEntry
from lungseg.dicomweb.errors import OversizedAnswer
from lungseg.dicomweb.results import RESULT_MODALITIES, ResultRecipe, StudyResults
from lungseg.dicomweb.selection import ImageEntry, header_reason

DEFAULT_MODALITIES = ("CR", "DX")
"""Secondary captures of chest X-rays have one of these modalities, too."""


@dataclass(frozen=True)
class PlanRules:
    """How to choose images.

    Attributes:
        modalities: of their series.
        any_body_part: whether to ignore the body part in the header.
        again: whether to segment images that have a result.
    """

    modalities: tuple[str, ...] = DEFAULT_MODALITIES
    any_body_part: bool = False
    again: bool = False


@dataclass(frozen=True)
class ImageTodo:
    """An image to segment, and the formats of which it has no result yet."""

    image: ImageEntry
    formats: tuple[str, ...]


@dataclass
class StudyPlan:
    """One study.

    Attributes:
        todo: the images to segment.
        done: number of images that have all results.
        others: number of results of another model or threshold.
        left_out: number of instances for each reason.
    """

    todo: list[ImageTodo] = field(default_factory=list)
    done: int = 0
    others: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def plan_study(archive: ImageArchive, study: str, recipe: ResultRecipe, rules: PlanRules) -> StudyPlan:
    """Ask the server what a study holds, and decide what to do.

    Args:
        archive: the server.
        study: Study Instance UID.
        recipe: what a result must be.
        rules: how to choose images.

    Raises:
        DicomwebError.
    """
    plan, results = StudyPlan(), StudyResults()
    candidates: dict[str, ImageEntry] = {}
    for series in archive.list_series(study):
        is_source = series.modality in rules.modalities
        if not is_source and series.modality not in RESULT_MODALITIES:
            continue
        try:
            headers = archive.read_headers(study, series.uid)
        except OversizedAnswer:
            # Thousands of instances, or a segmentation of a volume: neither ours nor a radiograph.
            if is_source:
                raise
            continue
        results.add(headers, recipe)
        if is_source:
            _sort_images(plan, candidates, headers, study, series, rules)
    plan.others = results.others
    for image in candidates.values():
        missing = recipe.formats if rules.again else results.missing_formats(image.instance, recipe)
        if missing:
            plan.todo.append(ImageTodo(image, missing))
        else:
            plan.done += 1
    return plan


def _sort_images(
    plan: StudyPlan,
    candidates: dict[str, ImageEntry],
    headers: Iterable[tags.JsonDataset],
    study: str,
    series: SeriesEntry,
    rules: PlanRules,
) -> None:
    for header in headers:
        reason = header_reason(header, rules.any_body_part)
        if reason is None:
            image = ImageEntry.of(study, series.uid, header)
            candidates[image.instance] = image
        else:
            plan.left_out[reason] += 1
