"""A service over HTTP: what is asked of it goes with the caller's credentials, what lies in a bucket without."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import httpx2

from lungseg import __version__
from lungseg.remote import errors, refusals
from lungseg.remote.access import Access, is_loopback
from lungseg.remote.film import Counted, Film, bar
from lungseg.remote.retry import FOR_A_WHILE, Patience

TIMEOUT = httpx2.Timeout(120, connect=15)
"""Seconds for one step. A gateway gives up after 29; a local server that is sent the largest image takes longer."""

LARGE = 2**18
"""Bytes of an answer from which on a bar shows how much has come."""

MAX_OUTPUT_BYTES, MAX_DOCUMENT_BYTES, MAX_PROBLEM_BYTES = 2**29, 2**24, 2**20
"""The longest answers: an output of the largest image in every format, a JSON document, and what an error says."""

AGENT = f"lung-segmentation/{__version__} Python/{platform.python_version()}"


class Service:
    """One service. A context manager: its connections are closed at the end."""

    def __init__(self, url: str, access: Access | None = None, patience: Patience | None = None) -> None:
        """Args: ``url`` is what goes before /v1/segment.

        Raises:
            BadAddress: the URL is none of a service, or a proxy of the environment has no usable one.
            InsecureAddress, AwsRefused: as `Access.auth` does.
        """
        self.base = _address(url)
        self.access = access or Access()
        self._patience = patience or Patience()
        self._auth = self.access.auth(self.base)
        self._clients: dict[tuple[bool, bool], httpx2.Client] = {}
        self._client(str(self.base), known=True)

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()

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
            image: goes as the raw body.

        Raises:
            Unreachable.
        """
        url = f"{str(self.base).rstrip('/')}{path}"
        client = self._client(url, known)

        def send() -> httpx2.Response:
            if film is None:
                request = client.build_request(method, url, params=parameters, headers=headers, json=document)
                return _received(client, request, MAX_DOCUMENT_BYTES)
            with bar("upload", film.size) as moved, Counted(film, moved) as body:
                kind = {"Content-Type": "application/octet-stream"}
                request = client.build_request(
                    method, url, params=parameters, headers=kind | dict(headers or {}), content=body
                )
                return _received(client, request, MAX_OUTPUT_BYTES, moved.close)

        return self._patience.persist(send, again)

    def upload(self, url: str, fields: Mapping[str, str], film: Film) -> None:
        """Send an image to where a presigned POST leads: its fields first, then the image, straight from the disk.

        Raises:
            Unreachable, StorageRefused, TooLarge, BadAnswer.
        """
        self._check_presigned(url)
        client = self._client(url)

        def send() -> httpx2.Response:
            with bar("upload", film.size) as moved, Counted(film, moved) as body:
                # The image's own name stays here.
                part: Any = ("film", body, "application/octet-stream")
                request = client.build_request("POST", url, data=dict(fields), files={"file": part})
                return _received(client, request, MAX_DOCUMENT_BYTES, moved.close)

        answer = self._patience.persist(send)
        if not answer.is_success:
            raise refusals.of_storage(answer)

    def download(self, url: str) -> bytes:
        """What a presigned GET leads to.

        Raises:
            Unreachable, StorageRefused, BadAnswer.
        """
        self._check_presigned(url)
        client = self._client(url)
        answer = self._patience.persist(lambda: _received(client, client.build_request("GET", url), MAX_OUTPUT_BYTES))
        if not answer.is_success:
            raise refusals.of_storage(answer)
        return answer.content

    def _client(self, url: str, known: bool = False) -> httpx2.Client:
        """Return the client for an address.

        Args:
            url: of the request; what is for this machine takes no proxy, which could read image and credentials.
            known: whether the credentials go along.

        Raises:
            BadAddress: the environment names a proxy that cannot be used.
        """
        kind = (known, is_loopback(httpx2.URL(url).host))
        if kind not in self._clients:
            try:
                self._clients[kind] = httpx2.Client(
                    auth=self._auth if known else None,
                    transport=httpx2.HTTPTransport() if kind[1] else None,
                    timeout=TIMEOUT,
                    # They would lead credentials, and the image, to somewhere else.
                    follow_redirects=False,
                    # 1 MB of gzip may stand for 1 GB, and outputs are compressed already.
                    headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
                )
            except (ValueError, ImportError):
                raise errors.BadAddress(
                    "The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be used."
                ) from None
        return self._clients[kind]

    def _check_presigned(self, url: str) -> None:
        try:
            place = httpx2.URL(url)
        except httpx2.InvalidURL:
            place = httpx2.URL("")
        plain = place.scheme == "http" and self.base.scheme == "http" and (is_loopback(place.host) or not self.local)
        if place.scheme != "https" and not plain:
            raise errors.BadAnswer("The service leads to an address that is no https:// one.")


def _received(
    client: httpx2.Client, request: httpx2.Request, most: int, sent: Callable[[], None] = lambda: None
) -> httpx2.Response:
    """Return the answer to a request, read whole; a bar shows large ones.

    Args:
        client: sends it.
        request: what to send.
        most: bytes of the longest answer that is taken; of an error, no more than MAX_PROBLEM_BYTES are kept.
        sent: is called when the request is through.

    Raises:
        BadAnswer: it is longer, or packed although nothing packed was asked for.
    """
    answer = client.send(request, stream=True)
    try:
        sent()
        content = _content(answer, most)
    finally:
        answer.close()
    whole = httpx2.Response(answer.status_code, headers=_plain(answer.headers), content=content)
    whole.request = request
    return whole


def _content(answer: httpx2.Response, most: int) -> bytes:
    """Return the bytes of an answer; none of an error that is packed or too long, whose status says enough.

    Raises:
        BadAnswer.
    """
    packed = answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
    length = answer.headers.get("Content-Length", "")
    total = int(length[:20]) if length.isascii() and length.isdecimal() else None
    if answer.is_error:
        most = MAX_PROBLEM_BYTES
    elif packed:
        raise errors.BadAnswer("The service's answer is packed, which it was not asked for.")
    content, pieces = 0, []
    with bar("download", total, shown=(total or 0) > LARGE) as moved:
        for piece in () if packed or (total or 0) > most else answer.iter_raw():
            pieces.append(piece)
            content += len(piece)
            moved.update(len(piece))
            if content > most:
                break
    if not answer.is_error and max(content, total or 0) > most:
        raise errors.BadAnswer(f"The service's answer is longer than {most:,} bytes.")
    return b"".join(pieces) if content <= most else b""


def _plain(headers: httpx2.Headers) -> list[tuple[str, str]]:
    """Return headers without those that say how the answer travelled."""
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
