"""A small DICOMweb server in this process: it stores objects in memory, and fails when a test wants it to."""

from __future__ import annotations

import contextlib
import io
import json
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pydicom
from pydicom.uid import generate_uid
from requests_toolbelt.multipart.decoder import MultipartDecoder

from lungseg.cli.main import main

DATASET_TYPE = "application/dicom+json"

BOUNDARY = "=_boundary_of_the_test_server"


@dataclass
class Answer:
    """An answer, and how to spoil it.

    Attributes:
        lost_bytes: bytes of the body that are announced but not sent, before the connection is closed.
        delay: seconds before it is sent.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    lost_bytes: int = 0
    delay: float = 0.0


@dataclass
class StoredObject:
    """One object, its header as DICOM JSON, and its three UIDs."""

    content: bytes
    header: dict[str, Any]
    study: str
    series: str
    instance: str

    @classmethod
    def of(cls, content: bytes) -> StoredObject:
        """Return an object of the bytes of a DICOM file."""
        dataset = pydicom.dcmread(io.BytesIO(content))
        if "PixelData" in dataset:
            del dataset.PixelData
        uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
        return cls(content, dataset.to_json_dict(suppress_invalid_tags=True), *map(str, uids))

    def value(self, tag: str) -> str:
        """Return the first value of an element."""
        values = self.header.get(tag, {}).get("Value", [""])
        return str(values[0])


Spoil = Callable[[str, str], Answer | None]
"""Returns the answer to a request, by its method and its path with the query; None lets the server answer itself."""


class DicomwebStore:
    """What the server holds, and how it misbehaves.

    Attributes:
        objects: by SOP Instance UID.
        requests: method and path, with its query, of every request.
        authorizations: the Authorization header of every request.
        spoil: see `Spoil`.
        page_limit: most studies or series of one answer, whatever the client asks for.
        ignores_offset: whether every page is the first one.
        names_modalities: whether search results have the modalities of a study.
        required: the Authorization header that is accepted; empty for any.
        refused: reason for which objects of a SOP class are not stored.
        store_status: status of answers to uploads of which a part was refused.
        answers_store: whether answers to uploads say anything of the objects.
    """

    def __init__(self) -> None:
        self.objects: dict[str, StoredObject] = {}
        self.requests: list[tuple[str, str]] = []
        self.authorizations: list[str] = []
        self.spoil: Spoil = lambda method, path: None
        self.page_limit = 1000
        self.ignores_offset = False
        self.names_modalities = True
        self.required = ""
        self.refused: dict[str, int] = {}
        self.store_status = 409
        self.answers_store = True
        self._lock = threading.Lock()

    def add(self, *contents: bytes) -> None:
        """Store objects without a request."""
        for content in contents:
            each = StoredObject.of(content)
            self.objects[each.instance] = each

    def results(self) -> list[StoredObject]:
        """Return the segmentations."""
        return [each for each in self.objects.values() if each.value("00080060") == "SEG"]

    def count(self, method: str, pattern: str) -> int:
        """Return the number of requests of a method whose path matches."""
        return sum(1 for each, path in self.requests if each == method and re.search(pattern, path))

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        """Answer one request."""
        with self._lock:
            self.requests.append((method, target))
            self.authorizations.append(headers.get("Authorization", ""))
            spoiled = self.spoil(method, target)
        if spoiled is not None:
            return spoiled
        if self.required and headers.get("Authorization") != self.required:
            return Answer(401)
        with self._lock:
            return self._answer(method, target, headers, body)

    def _answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        parts = urlsplit(target)
        names = [unquote(each) for each in parts.path.removeprefix("/rs").split("/")[1:]]
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if not parts.path.startswith("/rs/studies"):
            return Answer(404)
        if method == "POST":
            return self._store(headers, body)
        match names:
            case ["studies"]:
                return self._search_studies(query)
            case ["studies", study, "series"]:
                one = {each.series: each for each in self.objects.values() if each.study == study}
                return _json([_only(each, "0020000E", "00080060") for each in self._page(list(one.values()), query)])
            case ["studies", study, "series", series, "instances"]:
                found = self._of_series(study, series)
                return _json([each.header for each in found if each.instance == query.get("SOPInstanceUID")])
            case ["studies", study, "series", series, "metadata"]:
                return _json([each.header for each in self._of_series(study, series)])
            case ["studies", _, "series", _, "instances", instance] if instance in self.objects:
                return _multipart(self.objects[instance].content)
        return Answer(404)

    def _of_series(self, study: str, series: str) -> list[StoredObject]:
        return [each for each in self.objects.values() if (each.study, each.series) == (study, series)]

    def _search_studies(self, query: dict[str, str]) -> Answer:
        found: dict[str, StoredObject] = {}
        for each in self.objects.values():
            first, _, last = query.get("StudyDate", "-").partition("-")
            if (
                (first or "0") <= each.value("00080020") <= (last or "9")
                and query.get("StudyInstanceUID", each.study) == each.study
                and query.get("PatientID", each.value("00100020")) == each.value("00100020")
            ):
                found.setdefault(each.study, each)
        return _json([self._study(each) for each in self._page(list(found.values()), query)])

    def _page(self, found: list[StoredObject], query: dict[str, str]) -> list[StoredObject]:
        offset = 0 if self.ignores_offset else int(query.get("offset", 0))
        return found[offset : offset + min(int(query.get("limit", 1000)), self.page_limit)]

    def _study(self, one: StoredObject) -> dict[str, Any]:
        """Return the study of an object, as a search does."""
        objects = [each for each in self.objects.values() if each.study == one.study]
        facts: dict[str, Any] = {"00201208": {"vr": "IS", "Value": [len(objects)]}}
        if self.names_modalities:
            facts["00080061"] = {"vr": "CS", "Value": sorted({each.value("00080060") for each in objects})}
        return _only(one, "0020000D", "00080020") | facts

    def _store(self, headers: Any, body: bytes) -> Answer:
        stored, failed = [], []
        for part in MultipartDecoder(body, headers["Content-Type"]).parts:
            each = StoredObject.of(part.content)
            item = {"00081155": {"vr": "UI", "Value": [each.instance]}}
            reason = self.refused.get(each.value("00080016"))
            if reason is None:
                self.objects[each.instance] = each
                stored.append(item)
            else:
                failed.append(item | {"00081197": {"vr": "US", "Value": [reason]}})
        sequences = {"00081199": stored, "00081198": failed}
        answer = {tag: {"vr": "SQ", "Value": items} for tag, items in sequences.items() if items}
        status = 200 if not failed else self.store_status
        if not self.answers_store:
            return Answer(status)
        # Some servers add a character set, by which dicomweb-client does not recognise the type.
        return Answer(status, json.dumps(answer).encode(), {"Content-Type": f"{DATASET_TYPE}; charset=utf-8"})


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        url: its base URL.
        store: what it holds.
    """

    url: str
    store: DicomwebStore

    def run(self, *arguments: object) -> int:
        """Run `dicomweb` in this process; return its exit code."""
        return main(["dicomweb", self.url, *map(str, arguments)])


@contextmanager
def dicomweb_server(tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Yield a server on a free port, with TLS if a context is given."""
    store = DicomwebStore()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = store.answer(self.command, self.path, self.headers, body)
            time.sleep(answer.delay)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: len(answer.body) - answer.lost_bytes])
            self.close_connection = self.close_connection or answer.lost_bytes > 0

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        scheme = "http" if tls is None else "https"
        yield Server(f"{scheme}://127.0.0.1:{server.server_port}/rs", store)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def radiograph(image: bytes, number: int = 0, **elements: object) -> bytes:
    """Return a DICOM image with UIDs of its own, of the study ``number``.

    Args:
        image: a DICOM file.
        number: the same gives the same study and the same patient.
        elements: keywords and values; None removes an element.
    """
    dataset = pydicom.dcmread(io.BytesIO(image))
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(number)])
    dataset.SeriesInstanceUID = generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.StudyDate = "20260315"
    dataset.PatientID = f"patient-{number}"
    dataset.Modality = "CR"
    for keyword, value in elements.items():
        if value is None:
            if keyword in dataset:
                delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def _only(each: StoredObject, *tags: str) -> dict[str, Any]:
    return {tag: each.header[tag] for tag in tags if tag in each.header}


def _json(datasets: list[dict[str, Any]]) -> Answer:
    if not datasets:
        return Answer(204)
    return Answer(200, json.dumps(datasets).encode(), {"Content-Type": DATASET_TYPE})


def _multipart(content: bytes) -> Answer:
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary="{BOUNDARY}"'
    return Answer(200, head + content + f"\r\n--{BOUNDARY}--\r\n".encode(), {"Content-Type": kind})
