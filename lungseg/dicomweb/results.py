"""Which results a study has already: the server is asked, so a run needs no memory of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from lungseg import settings
from lungseg.decode.bounds.png import OWN_PROGRAM
from lungseg.dicomweb import dicom_json as tags
from lungseg.dicomweb.dicom_json import JsonDataset
from lungseg.encode.formats import FORMATS
from lungseg.model.lung import LUNG_WEIGHTS, find_weights, int8_path
from lungseg.model.models import Models
from lungseg.pipeline.options import Options

RESULT_MODALITIES = {"SEG", "SR", "PR", "OT"}
"""Of series that may hold results: segmentations, reports, presentation states and secondary captures."""


@dataclass(frozen=True)
class ResultRecipe:
    """What a result must be for its image to count as done.

    Attributes:
        formats: names of output formats.
        models: SHA-256 of the model's files. The INT8 and the FP32 file of a model are one model: which of them a
            machine runs depends on its processor.
        threshold: a pixel is lung if its probability is above this.
    """

    formats: tuple[str, ...]
    models: frozenset[str]
    threshold: float

    @classmethod
    def of(cls, formats: tuple[str, ...], models: Models, options: Options) -> ResultRecipe:
        """Return the recipe of this run."""
        weights = find_weights(settings.MODEL.read(LUNG_WEIGHTS.stem))
        files = (weights, int8_path(weights))
        digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}
        threshold = options.threshold or models.lung.card.threshold
        return cls(formats, frozenset(digests | {models.lung.sha256}), threshold)

    def matches(self, header: JsonDataset) -> bool:
        """Return whether an object of this program was made by this recipe, by any version of the program."""
        if tags.read_text(header, tags.SERIAL_NUMBER) not in self.models:
            return False
        texts = (*tags.find_texts(header, tags.PARAMETERS), *tags.find_texts(header, tags.TEXT_VALUE))
        stated = [text for line in texts for text in line.split(",")]
        thresholds = [text.partition("=")[2] for text in stated if text.strip().startswith("threshold=")]
        return all(text == str(self.threshold) for text in thresholds)


@dataclass
class StudyResults:
    """The results that a study has.

    Attributes:
        classes: SOP classes of the results of this recipe, by the SOP Instance UID of the image.
        others: number of results of another model or threshold.
    """

    classes: dict[str, set[str]] = field(default_factory=dict)
    others: int = 0

    def add(self, headers: Iterable[JsonDataset], recipe: ResultRecipe) -> None:
        """Add the results among the instances of a series."""
        for header in headers:
            if tags.read_text(header, tags.MANUFACTURER) != OWN_PROGRAM:
                continue
            if not recipe.matches(header):
                self.others += 1
                continue
            for image in set(tags.find_texts(header, tags.REFERENCED_INSTANCE)):
                self.classes.setdefault(image, set()).add(tags.read_text(header, tags.CLASS_UID))

    def missing_formats(self, image: str, recipe: ResultRecipe) -> tuple[str, ...]:
        """Return the formats of which an image has no result yet."""
        present = self.classes.get(image, set())
        return tuple(name for name in recipe.formats if FORMATS[name].sop_class not in present)
