"""Which studies a run looks at: the criteria of the command line as QIDO-RS searches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from lungseg.dicomweb import dicom_json as tags
from lungseg.dicomweb.archive import ImageArchive
from lungseg.dicomweb.study_plan import DEFAULT_MODALITIES


@dataclass(frozen=True)
class StudySearch:
    """What to search for.

    Attributes:
        since, until: study dates, both included; None for no limit.
        modalities: of which a study contains at least one, if the server says which it contains.
        description: of the study, with the wildcards * and ?; empty for any.
        studies: Study Instance UIDs; empty for any.
        patients: Patient IDs; empty for any.
        limit: most studies; None for no limit.
    """

    since: date | None = None
    until: date | None = None
    modalities: tuple[str, ...] = DEFAULT_MODALITIES
    description: str = ""
    studies: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    limit: int | None = None

    def queries(self) -> Iterator[dict[str, str]]:
        """Yield the criteria of each search: one for each study and patient.

        A list of values is in the standard only for UIDs, and few servers read it. The modality is no criterion:
        Orthanc 1.10 returns only the first page of such a search.
        """
        shared = {}
        if self.since is not None or self.until is not None:
            shared["StudyDate"] = "-".join("" if day is None else f"{day:%Y%m%d}" for day in (self.since, self.until))
        if self.description:
            shared["StudyDescription"] = self.description
        for study in self.studies or ("",):
            for patient in self.patients or ("",):
                own = {"StudyInstanceUID": study, "PatientID": patient}
                yield shared | {keyword: value for keyword, value in own.items() if value}


@dataclass(frozen=True)
class FoundStudy:
    """A study that a search found.

    Attributes:
        uid: Study Instance UID.
        instances: number of its instances; None if the server does not say.
    """

    uid: str
    instances: int | None


def find_studies(archive: ImageArchive, search: StudySearch) -> list[FoundStudy]:
    """Return the studies of a search, each once.

    All are listed before the first is processed: studies that arrive meanwhile would shift the pages.

    Raises:
        DicomwebError.
    """
    found: dict[str, FoundStudy] = {}
    for criteria in search.queries():
        for each in archive.find_studies(criteria):
            uid = tags.read_text(each, tags.STUDY_UID)
            modalities = tags.read_values(each, tags.STUDY_MODALITIES)
            if modalities and not set(search.modalities) & set(map(str, modalities)):
                continue
            found.setdefault(uid, FoundStudy(uid, tags.read_number(each, tags.STUDY_INSTANCES)))
            if search.limit is not None and len(found) >= search.limit:
                return list(found.values())
    return list(found.values())
