"""Marked strings go in through every door, in films and around them, and come out nowhere: in no log, metric, error
document, output, nor what is stored beside an output. A key is found in the keys of its own outputs alone.

A file's name is found on the terminal of the person who gave it, and in the reports that he ordered.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import logging
import random
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import numpy as np
import pytest
from botocore.awsrequest import AWSResponse
from buckets import SHAPES, Buckets, Context, sqs_event
from canaries import CARRIED, DIGITS, Film, canary, caught, dicom_film, good, refused
from canaries import png as png_film
from event_shapes import originals
from fastapi.testclient import TestClient
from films import RAMP8
from ledger import WHOLE, Ledger
from numpy.typing import NDArray
from PIL import Image
from processes import command, smaller, wait_for
from services import Gateway, serving

import serverless
from app import errors, limits
from app.admission import Admission
from app.api import app
from app.aws import records, store
from app.cli import main
from app.encode.formats import FORMATS

PROMISE = "No string of a film or a request is told"
CHANNELS = "standard output and error, all logs, metrics, traces of exceptions"

FILM_FORMS = ("dicom-seg", "all")
"""Forms that carry patient and study of a DICOM film."""


@pytest.fixture(scope="session")
def pixels(rg1_png: bytes) -> NDArray[np.uint8]:
    """RG1 so small that it is soon done."""
    with Image.open(io.BytesIO(smaller(rg1_png, 160))) as image:
        return np.asarray(image)


@pytest.fixture(scope="session")
def films(pixels: NDArray[np.uint8]) -> list[tuple[Film, str | None]]:
    """All films, with the code of the refusal."""
    lungless = [Film("ramp, PNG", png_film(RAMP8)), Film("ramp, DICOM", dicom_film(RAMP8))]
    found: list[tuple[Film, str | None]] = [(film, None) for film in (*good(pixels).values(), *lungless)]
    found += [(film, code) for code, each in refused(pixels).items() for film in each]
    assert all(film.places or film.name == "bmp cut" for film, _ in found), "a film without a canary shows nothing"
    return found


class Ears:
    """All that this process tells anybody.

    Attributes:
        cases: how often it was listened to.
        placed: canaries that might have been heard, over all cases.
        heard: those that were, with the case.
    """

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd, self._log = capfd, io.StringIO()
        self.handler = logging.StreamHandler(self._log)
        self.handler.setFormatter(logging.Formatter("%(name)s %(message)s %(exc_info)s"))
        self.cases = self.placed = 0
        self.heard: list[str] = []

    def listen(self, case: str, placed: Iterable[str], *contents: bytes | str, allowed: Iterable[str] = ()) -> None:
        """Look for canaries in what has been told since the last time, and in what else a case gave."""
        told = self._capfd.readouterr()
        found = caught(told.out, told.err, self._log.getvalue(), *contents) - set(allowed)
        self._log.truncate(self._log.seek(0))
        self.cases += 1
        self.placed += len(set(placed))
        self.heard += [f"{case}: {', '.join(sorted(found))}"] if found else []

    def enter(self, ledger: Ledger, door: str, channels: str) -> None:
        """State what was tried, and fail if anything was heard."""
        tried = f"{door}: {self.cases:,} cases with {self.placed:,} canaries in {channels}"
        ledger.enter(4, PROMISE, tried, f"{len(self.heard)} heard")
        assert not self.heard, "\n".join(self.heard[:50])


@pytest.fixture
def ears(capfd: pytest.CaptureFixture[str]) -> Iterator[Ears]:
    """Listens at INFO, which is what Lambda writes with LogFormat JSON."""
    found, root = Ears(capfd), logging.getLogger()
    # The test's own client names what it asks for.
    found.handler.addFilter(lambda record: not record.name.startswith("http"))
    level = root.level
    root.setLevel(logging.INFO)
    root.addHandler(found.handler)
    yield found
    root.removeHandler(found.handler)
    root.setLevel(level)


_drawn = random.Random(4)


def some(cases: Iterable[Any], small: int, kind: Callable[[Any], object] = id) -> list[Any]:
    """All of them; in the default suite a sample, in which each kind that there is comes at least once.

    Args:
        kind: of a case; where it is left out, any sample will do.
    """
    found = list(cases)
    if WHOLE or len(found) <= small:
        return found
    _drawn.shuffle(found)
    each = [] if kind is id else list({kind(case): case for case in found}.values())
    return each + [case for case in found if case not in each][: max(0, small - len(each))]


@dataclass(frozen=True)
class Request:
    """One request, full of canaries.

    Attributes:
        label: for a person.
        method, path, query, headers, body: as they are sent.
        code: of the refusal; None if there is none.
        places: where canaries stand in the film.
        allowed: those that the answer holds on purpose.
    """

    label: str
    method: str = "POST"
    path: str = "/v1/segment"
    query: tuple[tuple[str, str], ...] = ()
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    code: str | None = None
    places: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()

    @property
    def all_headers(self) -> dict[str, str]:
        return HEADERS | self.headers

    @property
    def placed(self) -> set[str]:
        """Every canary of the request."""
        return set(self.places) | caught(repr((self.path, self.query, self.all_headers)))


HEADERS = {
    "User-Agent": f"agent/{canary('userAgent')}",
    "Referer": f"https://example.org/{canary('referer')}",
    "Cookie": f"session={canary('cookie')}",
    "Authorization": f"Bearer {canary('authorization')}",
    "X-Api-Key": canary("apiKey"),
    "X-Forwarded-For": canary("forwardedFor"),
    "X-Amzn-Trace-Id": f"Root={canary('traceId')}",
    "Accept-Language": canary("language"),
    "If-None-Match": f'"{canary("entityTag")}"',
    "Content-Type": f"application/octet-stream; name={canary('contentType')}",
    "Content-Disposition": f'attachment; filename="{canary("disposition")}"',
    f"X-{canary('headerName')}": canary("headerValue"),
}
"""Of every request."""


def multipart(film: bytes, name: str = "file") -> tuple[dict[str, str], bytes]:
    """Headers and body of an upload as browsers send it, with canaries wherever a text may stand."""
    boundary = canary("boundary")
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{canary("fieldName")}"\r\n\r\n{canary("fieldValue")}\r\n'
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="{canary("fileName")}.dcm"\r\n'
        f"Content-Type: application/{canary('partType')}\r\nX-Part: {canary('partHeader')}\r\n\r\n"
    )
    body = head.encode() + film + f"\r\n--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body


def requests_with_films(films: list[tuple[Film, str | None]]) -> Iterator[Request]:
    """Every film in every form, raw and multipart."""
    for film, code in films:
        for form in FORMATS if code is None else ("mask", "json"):
            refusal = code
            if form == "dicom-seg" and code is None and "dicom" not in film.name.lower():
                refusal = "needs-dicom"
            if form in ("cutout", "dicom-seg") and film.name.startswith("ramp") and refusal is None:
                refusal = "no-lung"
            allowed = (
                CARRIED if form in FILM_FORMS and refusal is None and "dicom" in film.name.lower() else frozenset()
            )
            query = (("format", form),)
            yield Request(
                f"{film.name} as {form}", query=query, body=film.data, code=refusal, places=film.places, allowed=allowed
            )
        headers, body = multipart(film.data)
        places = film.places | caught(body)
        yield Request(f"{film.name}, multipart", headers=headers, body=body, code=code, places=places)


def odd_requests(film: Film) -> Iterator[Request]:
    """Requests that are refused whatever the film, each with the canary in what is wrong."""
    text = canary("parameter")
    yield Request("nothing", code="empty-body")
    for name, value in (("format", text), ("threshold", text), ("clean", text), ("upright", text), (text, text)):
        yield Request(f"query {name}", query=((name, value),), body=film.data, code="bad-parameter", places=film.places)
    yield Request("threshold", query=(("threshold", f"0.5{DIGITS}e9"),), body=film.data, code="bad-parameter")
    for accept in (f"application/{canary('accept')}", f"image/{canary('accept')};q=1"):
        yield Request("accept", headers={"Accept": accept}, body=film.data, code="not-acceptable")
    for label, name in (("cut", "file"), ("field", canary("otherField")), ("charset", "file")):
        headers, body = multipart(film.data, name)
        body = body[: len(body) // 2] if label == "cut" else body
        if label == "charset":  # one that Python knows, and nothing is written in
            headers = {key: f"{value}; charset=undefined" for key, value in headers.items()}
        yield Request(f"multipart, {label}", headers=headers, body=body, code="malformed-upload", places=film.places)
    yield Request(
        "multipart without a boundary",
        headers={"Content-Type": f"multipart/form-data; {canary('noBoundary')}"},
        body=film.data,
        code="malformed-upload",
        places=film.places,
    )
    for method, path in (("GET", f"/{canary('path')}"), ("POST", f"/v1/segment/{canary('path')}")):
        yield Request("path", method, path, code="not-found")
    yield Request("method", "PUT", body=film.data, code="method-not-allowed", places=film.places)
    for method, path in (("GET", f"/v1/jobs/{canary('jobId')}"), ("POST", "/v1/jobs")):
        yield Request("no buckets", method, path, headers={"Content-Type": "application/json"}, code="jobs-unavailable")


def orders() -> Iterator[Request]:
    """Orders of jobs that are not understood."""
    text = canary("order")
    json_type = {"Content-Type": f"application/json; name={canary('contentType')}"}
    for wrong in (
        {"formats": [text]},
        {"threshold": text},
        {"clean": text},
        {"formats": text},
        {"formats": {text: text}},
        {text: text},
        {f"{text} and more": {"deep": [text]}},
        [text],
        text,
    ):
        yield Request(f"order {wrong}", path="/v1/jobs", headers=json_type, body=json.dumps(wrong).encode())
    for body in (f"{{{text}", f'{{"{text}": ', "\0" + text, f'{{"formats": ["mask"]}} {text}'):
        yield Request("no order", path="/v1/jobs", headers=json_type, body=body.encode())
    yield Request("no order", path="/v1/jobs", headers=json_type, body=text.encode("utf-16"))


def ask(client: TestClient, request: Request, ears: Ears) -> str | None:
    """Send a request, listen, and return the code of the refusal."""
    answer = client.request(
        request.method, request.path, params=request.query, headers=request.all_headers, content=request.body
    )
    whole = repr((answer.status_code, answer.reason_phrase, dict(answer.headers)))
    ears.listen(request.label, request.placed, whole, answer.content, allowed=request.allowed)
    return code_of(answer.headers.get("content-type", ""), answer.content)


def code_of(media_type: str, body: bytes | str) -> str | None:
    """The code of a problem document; None of another answer."""
    return str(json.loads(body)["code"]) if media_type == errors.MEDIA_TYPE else None


@pytest.fixture
def no_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LUNG_INPUT_BUCKET", "LUNG_OUTPUT_BUCKET"):
        monkeypatch.delenv(name, raising=False)


OVER_HTTP = {
    kind.code
    for kind in errors.kinds()
    # Of files on a person's own machine; of base64 and answers, which Lambda has; of films in buckets.
    if kind not in (*errors.LOCAL, errors.BadBase64, errors.AnswerTooLarge, errors.NoSuchFilm, errors.Archived)
} | {"not-found", "method-not-allowed"}


def test_over_http(
    ears: Ears,
    films: list[tuple[Film, str | None]],
    buckets: Buckets,
    monkeypatch: pytest.MonkeyPatch,
    ledger: Ledger,
) -> None:
    client, film = TestClient(app), films[0][0]
    seen: set[str | None] = set()
    for request in orders():
        seen.add(code := ask(client, request, ears))
        assert code == "bad-parameter", request.label
    seen.add(ask(client, Request("job", "GET", f"/v1/jobs/{canary('jobId')}"), ears))
    monkeypatch.setenv("LUNG_OUTPUT_BUCKET", f"nowhere-{canary('bucket').lower()}")
    records.settings.cache_clear()
    seen.add(ask(client, Request("bucket", path="/v1/jobs", headers={"Content-Type": "application/json"}), ears))
    for name in ("LUNG_INPUT_BUCKET", "LUNG_OUTPUT_BUCKET"):
        monkeypatch.delenv(name)

    for request in (*odd_requests(film), *some(requests_with_films(films), 24, lambda each: each.code)):
        seen.add(code := ask(client, request, ears))
        assert code == request.code, request.label

    whole = Request("whole", body=film.data, places=film.places)
    full = TestClient(Admission(app, concurrent=1, waiting=-1))
    seen.add(ask(full, whole, ears))
    with monkeypatch.context() as patch:
        patch.setattr(limits, "MAX_BYTES", 1000)
        seen.add(ask(client, whole, ears))
    for failure in failures():
        with monkeypatch.context() as patch:
            patch.setattr("app.api.segment", raising(failure))
            seen.add(ask(client, whole, ears))
    assert seen >= OVER_HTTP
    ears.enter(ledger, "HTTP", f"{CHANNELS}, answers' status, headers and bodies")


def failures() -> Iterator[Exception]:
    """What a decoder or a library may raise, with texts that quote a film."""
    yield RuntimeError(canary("exception"))
    yield UnicodeDecodeError("utf-8", canary("exceptionObject").encode(), 0, 1, canary("exceptionReason"))
    yield KeyError(canary("exceptionKey"))
    yield errors.ModelError("the model is another one")
    quoting = ValueError(canary("exceptionOuter"))
    quoting.__cause__ = OSError(2, canary("exceptionInner"), canary("exceptionFile"))
    yield quoting


def raising(error: Exception) -> Callable[..., Any]:
    """A function that does nothing but fail."""

    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def events_of(request: Request) -> Iterator[tuple[str, dict[str, Any]]]:
    """A request as API Gateway, a function URL and a load balancer hand it on."""
    headers = {name.lower(): value for name, value in request.all_headers.items()}
    several = {name: [value] for name, value in headers.items()}
    query = dict(request.query)
    body = {"body": base64.b64encode(request.body).decode(), "isBase64Encoded": True}
    for name in ("api_gateway_v1", "function_url", "load_balancer"):
        event = originals()[name] | body
        place = event["requestContext"] | {"requestId": canary("requestId"), "domainName": canary("domain")}
        if name == "function_url":
            place["http"] = place["http"] | {"method": request.method, "path": request.path}
            event |= {"headers": headers, "rawPath": request.path, "rawQueryString": urlencode(request.query)}
        else:
            event |= {"httpMethod": request.method, "path": request.path, "multiValueHeaders": several}
            event |= {"queryStringParameters": query, "stageVariables": {canary("stage"): canary("stageValue")}}
            event |= {"multiValueQueryStringParameters": {key: [value] for key, value in request.query}}
        if name == "api_gateway_v1":
            place["identity"] = {"userAgent": canary("identity"), "sourceIp": canary("sourceIp")}
            event["headers"] = headers
        yield name, event | {"requestContext": place}


def test_through_lambda(
    ears: Ears, films: list[tuple[Film, str | None]], no_buckets: None, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    film = films[0][0]
    for request in (*some(requests_with_films(films), 12), *some(odd_requests(film), 8)):
        for name, event in some(events_of(request), 1):
            assert call(event, request, name, ears) == request.code, (name, request.label)
    whole = Request("whole", body=film.data, places=film.places)
    for name, event in events_of(whole):
        broken = event | {"body": f"{event['body']}!{canary('base')}"}
        assert call(broken, whole, name, ears) == "bad-base64"
        assert call(event | {"body": {canary("body"): 1}}, whole, name, ears) == "malformed-upload"
        odd = {"multiValueHeaders": {canary("odd"): 7}} if "multiValueHeaders" in event else {"headers": canary("odd")}
        assert call(event | odd | {"path": {canary("odd"): 1}}, whole, name, ears) == "malformed-upload"
        with monkeypatch.context() as patch:
            patch.setattr(limits, "MAX_ANSWER", 100)
            assert call(event, whole, name, ears) == "answer-too-large"
        for failure in failures():
            with monkeypatch.context() as patch:
                patch.setattr("app.api.segment", raising(failure))
                assert call(event, whole, name, ears) in ("internal-error", "model-unavailable")
    ears.enter(ledger, "Lambda, HTTP events", f"{CHANNELS}, answers' status, headers and bodies")


def call(event: dict[str, Any], request: Request, name: str, ears: Ears) -> str | None:
    """Hand an event to the handler, listen, and return the code of the refusal."""
    answer = serverless.handler(event, Context())
    body = base64.b64decode(answer["body"]) if answer["isBase64Encoded"] else answer["body"]
    several = {key: values[0] for key, values in answer.get("multiValueHeaders", {}).items()}
    headers = answer.get("headers", {}) | several
    placed = request.placed | caught(repr({**event, "body": None}))
    ears.listen(f"{name}, {request.label}", placed, repr({**answer, "body": None}), body, allowed=request.allowed)
    return code_of(headers.get("content-type", ""), body)


KEY = f"{canary('prefix')}/{canary('folder')} ü+%20/{canary('key')}.dcm"
KEY_PLACES = frozenset({"prefix", "folder", "key"})
BESIDE = {
    "Metadata": {canary("metadataName").lower(): canary("metadata")},
    "ContentType": f"image/{canary('objectType')}",
    "ContentDisposition": f'attachment; filename="{canary("objectDisposition")}"',
    "ContentLanguage": canary("objectLanguage"),
    "Tagging": f"{canary('tagName')}={canary('tag')}",
}
"""What lies beside a film in its bucket."""


def test_of_films_in_buckets(
    ears: Ears, films: list[tuple[Film, str | None]], buckets: Buckets, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    monkeypatch.setenv("LUNG_FORMATS", "mask labels overlay cutout contours preview")
    records.settings.cache_clear()
    placed = KEY_PLACES | caught(repr(BESIDE))
    for film, code in some(films, 9, lambda each: each[1]):
        buckets.client.put_object(Bucket=buckets.films, Key=KEY, Body=film.data, **BESIDE)
        for shape, make in some(SHAPES.items(), 1):
            # An answer is for whoever sent the event, who named the key himself.
            told = answered(make(buckets.films, KEY))
            assert "Error" not in told, told
            ears.listen(
                f"{film.name}, {shape}", placed | film.places, told, allowed=KEY_PLACES if code_free(told) else ()
            )
        stored = buckets.written()
        assert any(key.endswith(".error.json") for key in stored) == (code is not None), film.name
        for key in stored:
            head = buckets.client.head_object(Bucket=buckets.outputs, Key=key)
            head["ResponseMetadata"] = None
            tags = buckets.client.get_object_tagging(Bucket=buckets.outputs, Key=key)["TagSet"]
            ears.listen(f"{film.name}, {key[-12:]}", placed | film.places, repr((head, tags)), buckets.get(key))
            assert key.startswith(KEY)
    bodies_of_direct_calls(ears, films, buckets)
    failures_of_storage(ears, films[0][0], buckets, monkeypatch)
    ears.enter(
        ledger,
        "films in buckets",
        f"{CHANNELS}, answers, errors that Lambda reports, outputs and what lies beside them",
    )


def code_free(told: str) -> bool:
    """Whether an answer may name the film: no problem document does."""
    return "urn:lung-segmentation:problem" not in told


def answered(event: Any, milliseconds: int = 60_000) -> str:
    """What the function answers an event with, or the error that Lambda writes into its log."""
    try:
        return json.dumps(serverless.handler(event, Context(milliseconds)))
    except Exception as error:
        return "Error: " + "".join(traceback.format_exception(error))


def bodies_of_direct_calls(ears: Ears, films: list[tuple[Film, str | None]], buckets: Buckets) -> None:
    """A direct call that asks for the bytes themselves, in each form."""
    for film, _ in films[:8] if WHOLE else films[5:6]:
        buckets.client.put_object(Bucket=buckets.films, Key=KEY, Body=film.data, **BESIDE)
        for form in FORMATS if WHOLE else FILM_FORMS:
            answer = serverless.handler({"image_key": KEY, "format": form, "return": "mask"}, Context())
            content = base64.b64decode(answer.pop("content", ""))
            allowed = CARRIED if form in FILM_FORMS and "dicom" in film.name.lower() else ()
            ears.listen(f"{film.name}, direct, {form}", film.places, repr(answer), content, allowed=allowed)


def failures_of_storage(ears: Ears, film: Film, buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
    """What S3 refuses, how it fails, and events that are none; each text of S3's quotes the key."""
    buckets.client.put_object(Bucket=buckets.films, Key=KEY, Body=film.data, **BESIDE)
    nowhere = f"nowhere-{canary('bucket').lower()}"
    odd = (f"\0{KEY}", KEY * 30, f"{KEY}\ud800")
    for shape, make in some(SHAPES.items(), 3):
        event = make(nowhere, KEY)
        # A direct call without a bucket's name is of the bucket of films.
        ears.listen(f"{shape}, no bucket", KEY_PLACES | {"bucket"}, only_items(answered(event)), allowed=stated(event))
        event = make(buckets.films, KEY)
        ears.listen(f"{shape}, no time", KEY_PLACES, only_items(answered(event, 0)), allowed=stated(event))
        with monkeypatch.context() as patch:
            patch.setattr("app.aws.work.segment", raising(next(failures())))
            ears.listen(f"{shape}, internal error", KEY_PLACES, only_items(answered(event)), allowed=stated(event))
    for key in odd:
        for event in ({"image_key": key}, sqs_event(f"{{{key}"), {"Items": [{"Key": key}], "BatchInput": {key: key}}):
            ears.listen("odd key", KEY_PLACES, answered(event))
    for text in (
        {canary("unknown"): canary("event")},
        {"Records": [{"eventSource": canary("source")}]},
        canary("event"),
    ):
        ears.listen("unknown event", {"unknown", "event"}, answered(text))
    for code, status in some((("AccessDenied", 403), ("SlowDown", 503), ("InvalidObjectState", 403)), 1):
        body = f"<Error><Code>{code}</Code><Message>{KEY}</Message><Key>{KEY}</Key></Error>".encode()
        for failure in (_answering(status, body), raising(ConnectionError(KEY)), raising(OSError(5, KEY))):
            forgotten = store.store()._client.meta.events
            forgotten.register("before-send.s3.GetObject", failure)
            with no_pauses():
                for event in (SHAPES["s3"](buckets.films, KEY), {"image_key": KEY, "return": "mask"}):
                    told = answered(event)
                    allowed = KEY_PLACES if code_free(told) and '"keys"' in told else ()
                    ears.listen(f"S3 {code}", KEY_PLACES, told, allowed=allowed)
            forgotten.unregister("before-send.s3.GetObject", failure)


def _answering(status: int, body: bytes) -> Callable[..., AWSResponse]:
    class Raw(io.BytesIO):
        def stream(self, **_: object) -> Iterator[bytes]:
            yield self.read()

    return lambda request, **_: AWSResponse(request.url, status, {}, Raw(body))


@contextlib.contextmanager
def no_pauses() -> Iterator[None]:
    """boto3's retries come at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.sleep", lambda _: None)
        yield


def only_items(told: str) -> str:
    """An answer without the items that a state machine is to send again."""
    if told.startswith("{"):
        answer = json.loads(told)
        answer.pop("Items", None)
        answer.pop("BatchInput", None)
        return json.dumps(answer)
    return told


def stated(event: dict[str, Any]) -> frozenset[str]:
    """What a direct call is answered with: the keys of its film's outputs."""
    return KEY_PLACES if "image_key" in event else frozenset()


@pytest.fixture
def ward(tmp_path: Path, films: list[tuple[Film, str | None]]) -> Path:
    """A folder of films whose names are canaries, too."""
    folder = tmp_path / canary("folderName")
    folder.mkdir()
    for number, (film, _) in enumerate(films):
        (folder / f"{canary('fileName')} {number}").write_bytes(film.data)
    return folder


NAMES = frozenset({"fileName", "folderName"})


def test_on_the_command_line(
    ears: Ears, films: list[tuple[Film, str | None]], ward: Path, capfd: pytest.CaptureFixture[str], ledger: Ledger
) -> None:
    cases = [
        (number, form) for number, (_, code) in enumerate(films) for form in (FORMATS if code is None else ("mask",))
    ]
    for number, form in some(cases, 12):
        film, code = films[number]
        path, output = ward / f"{canary('fileName')} {number}", ward.parent / "output"
        status = main(["segment", str(path), "--format", form, "-o", str(output)])
        said = capfd.readouterr()
        wrote = output.read_bytes() if output.exists() else b""
        output.unlink(missing_ok=True)
        allowed = CARRIED if form in FILM_FORMS and "dicom" in film.name.lower() else frozenset()
        ears.listen(f"segment {film.name} as {form}", film.places, wrote, allowed=allowed)
        # The person typed the name himself; yet a refusal has no use for it.
        ears.listen("segment's lines", film.places | NAMES, said.out, said.err, allowed=() if status else NAMES)
        assert (status == 0) == (code is None and not refused_form(film, form)), (film.name, form)
    for arguments in (
        ["segment", str(ward / canary("missing"))],
        ["segment", str(ward)],
        ["segment", str(ward / f"{canary('fileName')} 0"), "-o", str(ward / canary("missing") / "output")],
    ):
        assert main(arguments) != 0
        ears.listen("files", NAMES, allowed={*NAMES, "missing"})
    ears.enter(ledger, "segment", "standard output and error, output")


def refused_form(film: Film, form: str) -> bool:
    """Whether a form cannot be made of a film that is good by itself."""
    no_lung = form in ("cutout", "dicom-seg") and film.name.startswith("ramp")
    return no_lung or (form == "dicom-seg" and "dicom" not in film.name.lower())


def test_of_a_folder(
    ears: Ears, films: list[tuple[Film, str | None]], ward: Path, tmp_path: Path, ledger: Ledger
) -> None:
    target, report, table = tmp_path / "out", tmp_path / "run.json", tmp_path / "table.csv"
    forms = [name for name in FORMATS if name not in FILM_FORMS] if WHOLE else ["json", "preview"]
    arguments = itertools.chain(*(("--format", form) for form in forms))
    done = subprocess.run(
        command("batch", ward, target, *arguments, "--report", report, "--csv", table, "--no-upright"),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    places = frozenset[str]().union(*(film.places for film, _ in films))
    ears.listen("batch's lines", places | NAMES, done.stdout, done.stderr, allowed=NAMES)
    for path in (report, table, target / ".films.jsonl"):
        content = path.read_bytes()
        assert caught(content) >= {"fileName"}
        ears.listen(path.name, places, content, allowed=NAMES)
    outputs = [path for path in target.rglob("*") if path.is_file() and path.name != ".films.jsonl"]
    assert len(outputs) >= len(films)
    for path in outputs:
        ears.listen(path.suffix, places | NAMES, path.read_bytes())
    ears.enter(ledger, "batch", "standard output and error, outputs, problem documents, manifest and reports")


def test_to_a_service(
    ears: Ears, films: list[tuple[Film, str | None]], ward: Path, capfd: pytest.CaptureFixture[str], ledger: Ledger
) -> None:
    gateway = Gateway()
    with serving(gateway) as address:
        for number, (film, code) in some(enumerate(films), 4):
            path, output = ward / f"{canary('fileName')} {number}", ward.parent / "output"
            status = main(["remote", "segment", str(path), "--url", address, "-o", str(output)])
            said = capfd.readouterr()
            assert (status == 0) == (code is None), film.name
            ears.listen(f"remote {film.name}", film.places | NAMES, said.out, said.err, repr(gateway.seen))
    ears.enter(ledger, "remote", "standard output and error, requests but for the film")


@contextlib.contextmanager
def server() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """`serve` as a person starts it; its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = command("serve", "--port", port, "--concurrent", 1, "--waiting", 1)
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            wait_for(lambda: process.poll() is not None or _answers(port))
            assert process.poll() is None, process.communicate()[0]
            yield port, process
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200
    except httpx2.HTTPError:
        return False


def raw_requests(film: Film) -> Iterator[bytes]:
    """What no client sends: broken HTTP, an upgrade, and films whose sender leaves."""
    path, length = f"/v1/segment?{canary('query')}={canary('queryValue')}", len(film.data)
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
        f"{base64.b64encode(bytes(16)).decode()}\r\nSec-WebSocket-Protocol: {canary('protocol')}\r\n"
    )
    yield f"GET {path} HTTP/1.1\r\nHost: a\r\n{head}{upgrade}\r\n".encode()
    yield f"{canary('method')} {path} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode()
    yield f"GET {path} HTTP/7.{canary('version')}\r\n\r\n".encode()
    yield f"GET {path}\0{canary('zero')} HTTP/1.1\r\nHost: a\r\n{head}\r\n".encode()
    yield f"GET {path} HTTP/1.1\r\n{canary('noColon')}\r\n\r\n".encode()
    yield f"GET {path} HTTP/1.1\r\nHost: a\r\nX: {canary('long') * 20_000}\r\n\r\n".encode()
    yield f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {canary('length')}\r\n\r\n".encode()
    yield f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{canary('chunk')}\r\n".encode()
    yield f"POST /v1/segment HTTP/1.1\r\nHost: a\r\n{head}Content-Length: {2 * length}\r\n\r\n".encode() + film.data


def test_of_the_local_server(ears: Ears, films: list[tuple[Film, str | None]], ledger: Ledger) -> None:
    film = films[0][0]
    with server() as (port, process):
        placed: set[str] = set()
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
            for request in (*some(requests_with_films(films), 6), *odd_requests(film)):
                content = {"params": request.query, "headers": request.all_headers, "content": request.body}
                answer = client.request(request.method, request.path, **content)
                assert code_of(answer.headers.get("content-type", ""), answer.content) == request.code, request.label
                ears.listen(request.label, request.placed, repr(dict(answer.headers)), allowed=request.allowed)
                placed |= request.placed
        for data in raw_requests(film):
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.sendall(data)
                line.settimeout(0.2)
                with contextlib.suppress(OSError):
                    ears.listen("raw", caught(data), line.recv(100_000))
                placed |= caught(data)
        time.sleep(0.2)
        process.terminate()
        said = process.communicate(timeout=30)[0]
    assert b"Uvicorn running" in said
    ears.listen("the server's log", placed, said)
    ears.enter(ledger, "serve", "standard output and error, answers' headers")
