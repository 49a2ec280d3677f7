"""Requests full of canaries: one with each image, and malformed ones that are rejected whatever the image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from canaries import DIGITS, canary, caught
from canary_images import CARRIED, CanaryImage
from leak_check import DICOM_FORMATS, PATIENT_FORMATS

from lungseg import errors
from lungseg.encode.formats import FORMATS


@dataclass(frozen=True)
class Request:
    """One request, full of canaries.

    Attributes:
        label: for people.
        method, path, query, headers, body: as sent.
        code: the error code; None if the request succeeds.
        places: the places of canaries in the image.
        allowed: canaries that the response contains on purpose.
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
        """All canaries of the request."""
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
"""Headers of every request."""


def multipart(
    image: bytes, name: str = "file", field: tuple[str, str] = ("clean", "true")
) -> tuple[dict[str, str], bytes]:
    """Return headers and body of an upload as browsers send it, with canaries in every text."""
    boundary = canary("boundary")
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{field[0]}"\r\nX-Field: {canary("fieldHeader")}\r\n\r\n{field[1]}\r\n'
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{name}"; filename="{canary("fileName")}.dcm"\r\n'
        f"Content-Type: application/{canary('partType')}\r\nX-Part: {canary('partHeader')}\r\n\r\n"
    )
    body = head.encode() + image + f"\r\n--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body


def requests_with_films(images: list[tuple[CanaryImage, str | None]]) -> Iterator[Request]:
    """Yield every image with every output format, raw and multipart."""
    for image, code in images:
        for form in FORMATS if code is None else ("mask", "json"):
            refusal = code
            if form in DICOM_FORMATS and code is None and "dicom" not in image.name.lower():
                refusal = "needs-dicom"
            if form in ("cutout", "isolated", *DICOM_FORMATS) and image.name.startswith("stripes") and refusal is None:
                refusal = "no-lung"
            allowed = (
                CARRIED
                if form in PATIENT_FORMATS and refusal is None and "dicom" in image.name.lower()
                else frozenset()
            )
            query = (("format", form),)
            yield Request(
                f"{image.name} as {form}",
                query=query,
                body=image.data,
                code=refusal,
                places=image.places,
                allowed=allowed,
            )
        headers, body = multipart(image.data)
        places = image.places | caught(body)
        yield Request(f"{image.name}, multipart", headers=headers, body=body, code=code, places=places)


def odd_requests(image: CanaryImage, jobs: str = "jobs-unavailable") -> Iterator[Request]:
    """Yield requests that are rejected whatever the image, each with a canary in what is wrong.

    Args:
        image: any valid one.
        jobs: the error code of a job where there are no buckets.
    """
    text = canary("parameter")
    yield Request("nothing", code="empty-body")
    for name, value in (("format", text), ("threshold", text), ("clean", text), ("upright", text), (text, text)):
        yield Request(
            f"query {name}", query=((name, value),), body=image.data, code="bad-parameter", places=image.places
        )
    yield Request("threshold", query=(("threshold", f"0.5{DIGITS}e9"),), body=image.data, code="bad-parameter")
    for accept in (f"application/{canary('accept')}", f"image/{canary('accept')};q=1"):
        yield Request("accept", headers={"Accept": accept}, body=image.data, code="not-acceptable")
    for label, name in (("cut", "file"), ("field", canary("otherField")), ("charset", "file")):
        headers, body = multipart(image.data, name)
        body = body[: len(body) // 2] if label == "cut" else body
        if label == "charset":  # a codec that Python knows, but which encodes nothing
            headers = {key: f"{value}; charset=undefined" for key, value in headers.items()}
        yield Request(f"multipart, {label}", headers=headers, body=body, code="malformed-upload", places=image.places)
    for wrong in (("format", canary("formatField")), (canary("fieldName"), canary("fieldValue"))):
        headers, body = multipart(image.data, field=wrong)
        places = image.places | caught(body)
        yield Request("multipart, field", headers=headers, body=body, code="bad-parameter", places=places)
    yield Request(
        "multipart without a boundary",
        headers={"Content-Type": f"multipart/form-data; {canary('noBoundary')}"},
        body=image.data,
        code="malformed-upload",
        places=image.places,
    )
    for method, path in (("GET", f"/{canary('path')}"), ("POST", f"/v1/segment/{canary('path')}")):
        yield Request("path", method, path, code="not-found")
    yield Request("method", "PUT", body=image.data, code="method-not-allowed", places=image.places)
    for method, path in (("GET", f"/v1/jobs/{canary('jobId')}"), ("POST", "/v1/jobs")):
        yield Request("no buckets", method, path, headers={"Content-Type": "application/json"}, code=jobs)


def orders() -> Iterator[Request]:
    """Yield malformed job requests."""
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


def code_of(media_type: str, body: bytes | str) -> str | None:
    """Return the code of a problem document; None for any other response."""
    return str(json.loads(body)["code"]) if media_type == errors.PROBLEM_MEDIA_TYPE else None


def failures() -> Iterator[Exception]:
    """Yield exceptions that a decoder or library may raise, with texts that quote an image."""
    yield RuntimeError(canary("exception"))
    yield UnicodeDecodeError("utf-8", canary("exceptionObject").encode(), 0, 1, canary("exceptionReason"))
    yield KeyError(canary("exceptionKey"))
    yield errors.ModelError("the model is another one")
    quoting = ValueError(canary("exceptionOuter"))
    quoting.__cause__ = OSError(2, canary("exceptionInner"), canary("exceptionFile"))
    yield quoting


def raising(error: Exception) -> Callable[..., Any]:
    """Return a function that only raises."""

    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail
