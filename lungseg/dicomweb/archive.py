"""A DICOMweb server: search (QIDO-RS), retrieve (WADO-RS) and store (STOW-RS), PS3.18 chapter 10.

dicomweb-client sends the searches and the uploads. Images are requested here: it would parse them without limits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Any

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from requests import Response

from lungseg import limits
from lungseg.dicomweb import dicom_json as tags
from lungseg.dicomweb.dicom_json import JsonDataset
from lungseg.dicomweb.errors import (
    AccessDenied,
    DicomwebError,
    NotDicomweb,
    ServerBusy,
    ServerRefused,
)
from lungseg.dicomweb.image_answer import IMAGE_MEDIA_TYPE, SINGLE_MEDIA_TYPE, single_part
from lungseg.dicomweb.session import DicomwebSession, RateLimit, ServerAccess
from lungseg.dicomweb.store_answer import StoreAnswer, read_store_answer

# dicomweb-client logs UIDs and URLs.
logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)

PAGE_SIZE = 100
"""Studies or series per search request. Azure returns at most 200."""

MIN_PAGE = 10
"""A shorter page is the last one: no server is known to return fewer at a time, although some less than requested."""

STUDY_FIELDS = (tags.STUDY_MODALITIES, tags.STUDY_INSTANCES)
"""Of search results: the standard wants them always, but some servers return them only if asked."""

MAX_DOCUMENT = 2**26
"""Bytes of a search result or of the headers of a series."""

MAX_IMAGE_ANSWER = limits.MAX_BYTES + 2**16
"""Bytes of an answer with an image: the image and the headers of its part."""

ONE_BODY = 2**31
"""dicomweb-client sends longer bodies in chunks, which cannot be sent again, and which some servers refuse."""


@dataclass(frozen=True)
class SeriesEntry:
    """A series of a study.

    Attributes:
        uid: Series Instance UID.
        modality: such as CR; empty if the server does not say.
    """

    uid: str
    modality: str


class ImageArchive:
    """A DICOMweb server, for several threads: each has connections of its own."""

    def __init__(self, access: ServerAccess, pause: Callable[[float], bool] | None = None) -> None:
        """Args: ``pause`` waits between attempts, see `DicomwebSession`."""
        self._access, self._pause = access, pause
        self._rate = RateLimit(access.requests_per_second)
        self._local = threading.local()

    def find_studies(self, criteria: Mapping[str, str]) -> Iterator[JsonDataset]:
        """Yield the studies that a search finds, page by page, each once.

        Args:
            criteria: keywords of elements, and what they must match.

        Raises:
            DicomwebError.
        """
        yield from _read_pages(lambda offset: self._search_page(criteria, offset), tags.STUDY_UID)

    def list_series(self, study: str) -> list[SeriesEntry]:
        """Return the series of a study whose UIDs are valid.

        Raises:
            DicomwebError.
        """

        def search_page(offset: int) -> Any:
            with _errors_translated():
                return self._client.search_for_series(study, limit=PAGE_SIZE, offset=offset)

        return [
            SeriesEntry(tags.read_text(each, tags.SERIES_UID), tags.read_text(each, tags.MODALITY))
            for each in _read_pages(search_page, tags.SERIES_UID)
        ]

    def read_headers(self, study: str, series: str) -> list[JsonDataset]:
        """Return the headers of the instances of a series.

        Raises:
            DicomwebError.
        """
        with _errors_translated():
            return _datasets(self._client.retrieve_series_metadata(study, series))

    def has_instance(self, study: str, series: str, instance: str) -> bool:
        """Return whether an instance is in a series of a study.

        Raises:
            DicomwebError.
        """
        with _errors_translated():
            found = _datasets(
                self._client.search_for_instances(study, series, search_filters={"SOPInstanceUID": instance})
            )
        return any(tags.read_text(each, tags.INSTANCE_UID) == instance for each in found)

    def retrieve_image(self, study: str, series: str, instance: str) -> bytes:
        """Return an instance as it is stored.

        Raises:
            DicomwebError.
        """
        url = f"{self._access.url}/studies/{study}/series/{series}/instances/{instance}"
        with _errors_translated():
            for accepted in (IMAGE_MEDIA_TYPE, SINGLE_MEDIA_TYPE):
                answer = self._images.get(url, headers={"Accept": accepted})
                if answer.status_code != HTTPStatus.NOT_ACCEPTABLE:
                    break
            answer.raise_for_status()
        return single_part(answer)

    def store_objects(self, study: str, contents: list[bytes]) -> StoreAnswer:
        """Store objects in a study with one request; return what the server says of each.

        Args:
            study: Study Instance UID, which all objects have.
            contents: DICOM files.

        Raises:
            DicomwebError: the request failed as a whole.
        """
        try:
            with _errors_translated():
                stored = self._client.store_instances([pydicom.dcmread(BytesIO(each)) for each in contents], study)
                return read_store_answer(stored.to_json_dict())
        except ServerRefused as error:
            if error.answer is None:
                raise
            # 409 says that no object was stored, and for each of them why; some servers also mean one of several.
            try:
                document = error.answer.json()
            except ValueError:
                raise error from None
            return read_store_answer(document[0] if isinstance(document, list) and document else document)

    def _search_page(self, criteria: Mapping[str, str], offset: int) -> Any:
        try:
            with _errors_translated():
                return self._client.search_for_studies(
                    limit=PAGE_SIZE, offset=offset, fields=STUDY_FIELDS, search_filters=dict(criteria)
                )
        except ServerRefused as error:
            if error.answer is not None and error.answer.status_code == 404:
                raise NotDicomweb("It returned 404: there is no /studies below this URL.") from None
            raise

    @property
    def _client(self) -> DICOMwebClient:
        """This thread's client for documents."""
        if not hasattr(self._local, "client"):
            session = DicomwebSession(self._access, self._rate, MAX_DOCUMENT, self._pause)
            client = DICOMwebClient(self._access.url, session, permissive_uid=True, chunk_size=ONE_BODY)
            client.set_http_retry_params(retry=False)
            self._local.client = client
        return self._local.client

    @property
    def _images(self) -> DicomwebSession:
        """This thread's session for images."""
        if not hasattr(self._local, "images"):
            self._local.images = DicomwebSession(self._access, self._rate, MAX_IMAGE_ANSWER, self._pause)
        return self._local.images


def _read_pages(search_page: Callable[[int], Any], uid_tag: str) -> Iterator[JsonDataset]:
    """Yield what a search finds, each UID once.

    Args:
        search_page: returns the page after so many results.
        uid_tag: of the element that identifies a result.
    """
    known: set[str] = set()
    offset = 0
    while True:
        found = _datasets(search_page(offset))
        new = {uid: each for each in found if (uid := tags.read_text(each, uid_tag)) not in known}
        known.update(new)
        yield from (each for uid, each in new.items() if tags.is_uid(uid))
        # A server that ignores the offset would return the first page for ever.
        if not new or len(found) < MIN_PAGE:
            return
        offset += len(found)


def _datasets(document: Any) -> list[JsonDataset]:
    if not isinstance(document, list) or not all(isinstance(each, dict) for each in document):
        raise NotDicomweb("The answer is not a list of data sets.")
    return document


@contextmanager
def _errors_translated() -> Iterator[None]:
    """Turn the errors of requests and dicomweb-client into ours; their texts contain the URL."""
    try:
        yield
    except DicomwebError:
        raise
    except requests.HTTPError as error:
        raise _status_error(error.response) from None
    except requests.JSONDecodeError:
        raise NotDicomweb("The answer is not JSON.") from None
    except requests.RequestException as error:
        raise NotDicomweb(f"The request cannot be made ({type(error).__name__}).") from None
    except (ValueError, KeyError, TypeError, AttributeError, SyntaxError, RecursionError):
        raise NotDicomweb("The answer is malformed.") from None


def _status_error(answer: Response | None) -> DicomwebError:
    status = 0 if answer is None else answer.status_code
    if status in (401, 403):
        # 403 may be about one patient only.
        return AccessDenied(f"It returned {status}.", stops_run=status == 401)
    if status in (408, 429) or status >= 500:
        return ServerBusy(f"It returned {status}.")
    return ServerRefused(f"It returned {status}.", answer)
