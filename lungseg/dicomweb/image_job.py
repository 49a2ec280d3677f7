"""Segment one image of the server: retrieve it, run the pipeline, store what it gives."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from io import BytesIO

import pydicom

from lungseg.decode import with_preamble
from lungseg.decode.dataset import read_dicom
from lungseg.dicomweb.archive import ImageArchive
from lungseg.dicomweb.errors import StoreFailed, WrongInstance
from lungseg.dicomweb.selection import ImageEntry
from lungseg.dicomweb.store_answer import describe_reason
from lungseg.dicomweb.study_plan import ImageTodo
from lungseg.encode.dicom_elements import read_uid
from lungseg.encode.formats import encode_each
from lungseg.model.models import Models
from lungseg.pipeline.options import Options
from lungseg.pipeline.reasons import Decision
from lungseg.pipeline.segment import segment


@dataclass(frozen=True)
class ImageOutcome:
    """What became of one image.

    Attributes:
        decision: of the verdict; None if it could not be segmented.
        reasons: codes of the verdict's reasons.
        stored: formats that the server stored, now or before.
        warnings: number of objects that the server stored with a warning: it changed an element.
        problems: code of each format that could not be produced, by its name.
    """

    decision: Decision
    reasons: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    warnings: int = 0
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageWorker:
    """What every image needs.

    Attributes:
        archive: the server.
        models: the loaded models.
        options: how to make a mask.
        slots: limits the images that are segmented at a time: each needs up to 1.3 GB.
        stores_rejected: whether to store results of images that are probably no frontal chest X-rays.
    """

    archive: ImageArchive
    models: Models
    options: Options
    slots: threading.Semaphore
    stores_rejected: bool = False

    def process_image(self, todo: ImageTodo) -> ImageOutcome:
        """Retrieve an image, segment it, and store its results.

        Raises:
            ProblemError: the image cannot be segmented, or no format can be produced.
            DicomwebError: the server did not return it, or did not store all results.
        """
        image = todo.image
        data = self.archive.retrieve_image(image.study, image.series, image.instance)
        with self.slots:
            result = segment(data, self.options, self.models)
            _check_identity(data, image)
            decision = result.verdict.decision
            reasons = tuple(reason.code for reason in result.verdict.reasons)
            if decision == Decision.REJECT and not self.stores_rejected:
                return ImageOutcome(decision, reasons)
            contents, problems = encode_each(result, todo.formats)
        del data, result
        if not contents:
            raise next(iter(problems.values()))
        warnings = self._store(image, contents)
        codes = {name: error.code for name, error in problems.items()}
        return ImageOutcome(decision, reasons, tuple(contents), warnings, codes)

    def _store(self, image: ImageEntry, contents: dict[str, bytes]) -> int:
        """Store objects; return the number of warnings.

        Raises:
            StoreFailed: an object is not on the server afterwards.
        """
        answer = self.archive.store_objects(image.study, list(contents.values()))
        lost, warnings = [], 0
        for name, content in contents.items():
            series, instance = _read_uids(content)
            warnings += bool(answer.stored.get(instance))
            # An earlier attempt may have stored it, of which the answer was lost; and some servers answer nothing.
            if instance not in answer.stored and not self.archive.has_instance(image.study, series, instance):
                lost.append(f"{name}: {describe_reason(answer.failed.get(instance, 0))}")
        if lost:
            raise StoreFailed(f"It refused {', '.join(lost)}.")
        return warnings


def _check_identity(data: bytes, image: ImageEntry) -> None:
    """Raise WrongInstance unless the bytes are the image that was requested, as a DICOM object."""
    whole = with_preamble(data)
    if whole is None:
        raise WrongInstance("It is not a DICOM object.")
    header = read_dicom(whole)
    uids = (read_uid(header, "StudyInstanceUID"), read_uid(header, "SOPInstanceUID"))
    if uids != (image.study, image.instance):
        raise WrongInstance("Its study or its instance is another one.")


def _read_uids(content: bytes) -> tuple[str, str]:
    """Return the UIDs of an object's series and of the object."""
    header = pydicom.dcmread(BytesIO(content), specific_tags=["SeriesInstanceUID", "SOPInstanceUID"])
    return str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
