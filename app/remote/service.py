"""A service over HTTP: what is asked of it goes with the caller's credentials, what lies in a bucket without."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import httpx2

from app import __version__
from app.remote import errors, refusals
from app.remote.access import Access, is_loopback
from app.remote.film import Counted, Film, bar
from app.remote.retry import FOR_A_WHILE, Patience

TIMEOUT = httpx2.Timeout(120, connect=15)
"""Seconds for one step. A gateway gives up after 29; a local server that is sent the largest film takes longer."""

LARGE = 2**18
"""Bytes of an answer from which on a bar shows how much has come."""

AGENT = f"lung-segmentation/{__version__} Python/{platform.python_version()}"


class Service:
    """One service. A context manager: its connections are closed at the end."""

    def __init__(self, url: str, access: Access | None = None, patience: Patience | None = None) -> None:
        """Args: ``url`` is what goes before /v1/segment.

        Raises:
            BadAddress: the URL is none of a service.
            InsecureAddress, AwsRefused: as `Access.auth` does.
        """
        self.base = _address(url)
        self.access = access or Access()
        self._patience = patience or Patience()
        # Redirects are not followed: they would lead credentials, and the film, to somewhere else.
        settings: dict[str, Any] = {"timeout": TIMEOUT, "follow_redirects": False, "headers": {"User-Agent": AGENT}}
        self._api = httpx2.Client(auth=self.access.auth(self.base), **settings)
        self._open = httpx2.Client(**settings)

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._api.close()
        self._open.close()

    @property
    def local(self) -> bool:
        """Whether it runs on this machine."""
        return is_loopback(self.base.host)

    def ask(
        self,
        method: str,
        path: str,
        *,
        known: bool = True,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        document: object = None,
        film: Film | None = None,
        again: frozenset[int] = FOR_A_WHILE,
    ) -> httpx2.Response:
        """One request, sent again if it fails for a while; the whole answer, whatever its status.

        Args:
            path: as the service's own, such as "/v1/segment".
            known: whether the credentials go along.
            document: goes as JSON.
            film: goes as the raw body.

        Raises:
            Unreachable.
        """
        client = self._api if known else self._open
        url = f"{str(self.base).rstrip('/')}{path}"

        def send() -> httpx2.Response:
            if film is None:
                request = client.build_request(method, url, params=parameters, headers=headers, json=document)
                return _received(client, request)
            with bar("upload", film.size) as moved, Counted(film, moved) as body:
                kind = {"Content-Type": "application/octet-stream"}
                request = client.build_request(
                    method, url, params=parameters, headers=kind | dict(headers or {}), content=body
                )
                return _received(client, request, moved.close)

        return self._patience.persist(send, again)

    def upload(self, url: str, fields: Mapping[str, str], film: Film) -> None:
        """Send a film to where a presigned POST leads: its fields first, then the film, straight from the disk.

        Raises:
            Unreachable, StorageRefused, TooLarge, BadAnswer.
        """
        self._check_presigned(url)

        def send() -> httpx2.Response:
            with bar("upload", film.size) as moved, Counted(film, moved) as body:
                # The film's own name stays here.
                part: Any = ("film", body, "application/octet-stream")
                request = self._open.build_request("POST", url, data=dict(fields), files={"file": part})
                return _received(self._open, request, moved.close)

        answer = self._patience.persist(send)
        if not answer.is_success:
            raise refusals.of_storage(answer)

    def download(self, url: str) -> bytes:
        """What a presigned GET leads to.

        Raises:
            Unreachable, StorageRefused, BadAnswer.
        """
        self._check_presigned(url)
        answer = self._patience.persist(lambda: _received(self._open, self._open.build_request("GET", url)))
        if not answer.is_success:
            raise refusals.of_storage(answer)
        return answer.content

    def _check_presigned(self, url: str) -> None:
        try:
            place = httpx2.URL(url)
        except httpx2.InvalidURL:
            place = httpx2.URL("")
        if place.scheme != "https" and not (place.scheme == "http" and self.base.scheme == "http"):
            raise errors.BadAnswer("The service leads to an address that is no https:// one.")


def _received(
    client: httpx2.Client, request: httpx2.Request, sent: Callable[[], None] = lambda: None
) -> httpx2.Response:
    """The answer to a request, read whole; a bar shows large ones."""
    answer = client.send(request, stream=True)
    try:
        sent()
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        with bar("download", total, shown=(total or 0) > LARGE) as moved:
            pieces = []
            for piece in answer.iter_bytes():
                pieces.append(piece)
                moved.update(len(piece))
    finally:
        answer.close()
    whole = httpx2.Response(answer.status_code, headers=_plain(answer.headers), content=b"".join(pieces))
    whole.request = request
    return whole


def _plain(headers: httpx2.Headers) -> list[tuple[str, str]]:
    """Headers without those of an encoding that has been undone."""
    gone = ("content-encoding", "content-length", "transfer-encoding")
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in gone]


def _address(url: str) -> httpx2.URL:
    try:
        base = httpx2.URL(url)
    except httpx2.InvalidURL:
        base = httpx2.URL("")
    whole = base.scheme in ("http", "https") and base.host and "%" not in base.host and (base.port or 1) < 65536
    if not whole or base.query or base.fragment or base.userinfo:
        raise errors.BadAddress("The address is no https://HOST/STAGE or http://HOST:PORT.")
    return base
