"""A service over HTTP: what is asked of it goes with the caller's credentials, what lies in a bucket without."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import httpx2

from lungseg import __version__
from lungseg.remote import error_responses, errors
from lungseg.remote.credentials import Credentials, is_loopback
from lungseg.remote.image_source import ImageSource, ProgressReader, progress_bar
from lungseg.remote.retry import TRANSIENT_STATUSES, RetryPolicy

HTTP_TIMEOUT = httpx2.Timeout(120, connect=15)
"""Seconds for one step. A gateway gives up after 29; a local server that is sent the largest image takes longer."""

MIN_PROGRESS_BYTES = 2**18
"""Bytes of an answer from which on a bar shows how much has come."""

MAX_OUTPUT_BYTES, MAX_DOCUMENT_BYTES, MAX_PROBLEM_BYTES = 2**29, 2**24, 2**20
"""The longest answers: an output of the largest image in every format, a JSON document, and what an error says."""

USER_AGENT = f"lung-segmentation/{__version__} Python/{platform.python_version()}"


class ServiceClient:
    """One service. A context manager: its connections are closed at the end."""

    def __init__(self, url: str, credentials: Credentials | None = None, retries: RetryPolicy | None = None) -> None:
        """Args: ``url`` is what goes before /v1/segment.

        Raises:
            BadAddress: the URL is none of a service, or a proxy of the environment has no usable one.
            InsecureAddress, AwsRefused: as `Credentials.http_auth` does.
        """
        self.base = _parse_address(url)
        self.credentials = credentials or Credentials()
        self._retries = retries or RetryPolicy()
        self._auth = self.credentials.http_auth(self.base)
        self._clients: dict[tuple[bool, bool], httpx2.Client] = {}
        self._client(str(self.base), authenticated=True)

    def __enter__(self) -> ServiceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine."""
        return is_loopback(self.base.host)

    def send_request(
        self,
        method: str,
        path: str,
        *,
        authenticated: bool = True,
        parameters: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        document: object = None,
        image: ImageSource | None = None,
        retry_statuses: frozenset[int] = TRANSIENT_STATUSES,
    ) -> httpx2.Response:
        """One request, sent again if it fails for a while; the whole answer, whatever its status.

        Args:
            path: as the service's own, such as "/v1/segment".
            authenticated: whether the credentials go along.
            document: goes as JSON.
            image: goes as the raw body.

        Raises:
            Unreachable.
        """
        url = f"{str(self.base).rstrip('/')}{path}"
        client = self._client(url, authenticated)

        def send() -> httpx2.Response:
            if image is None:
                request = client.build_request(method, url, params=parameters, headers=headers, json=document)
                return _send_whole(client, request, MAX_DOCUMENT_BYTES)
            with progress_bar("upload", image.size) as moved, ProgressReader(image, moved) as body:
                kind = {"Content-Type": "application/octet-stream"}
                request = client.build_request(
                    method, url, params=parameters, headers=kind | dict(headers or {}), content=body
                )
                return _send_whole(client, request, MAX_OUTPUT_BYTES, moved.close)

        return self._retries.send_with_retries(send, retry_statuses)

    def upload_image(self, url: str, fields: Mapping[str, str], image: ImageSource) -> None:
        """Send an image to where a presigned POST leads: its fields first, then the image, straight from the disk.

        Raises:
            Unreachable, StorageRefused, TooLarge, BadAnswer.
        """
        self._check_presigned(url)
        client = self._client(url)

        def send() -> httpx2.Response:
            with progress_bar("upload", image.size) as moved, ProgressReader(image, moved) as body:
                # The image's own name stays here.
                part: Any = ("image", body, "application/octet-stream")
                request = client.build_request("POST", url, data=dict(fields), files={"file": part})
                return _send_whole(client, request, MAX_DOCUMENT_BYTES, moved.close)

        answer = self._retries.send_with_retries(send)
        if not answer.is_success:
            raise error_responses.storage_error(answer)

    def download_output(self, url: str) -> bytes:
        """What a presigned GET leads to.

        Raises:
            Unreachable, StorageRefused, BadAnswer.
        """
        self._check_presigned(url)
        client = self._client(url)
        answer = self._retries.send_with_retries(
            lambda: _send_whole(client, client.build_request("GET", url), MAX_OUTPUT_BYTES)
        )
        if not answer.is_success:
            raise error_responses.storage_error(answer)
        return answer.content

    def _client(self, url: str, authenticated: bool = False) -> httpx2.Client:
        """Return the client for an address.

        Args:
            url: of the request; what is for this machine takes no proxy, which could read image and credentials.
            authenticated: whether the credentials go along.

        Raises:
            BadAddress: the environment names a proxy that cannot be used.
        """
        kind = (authenticated, is_loopback(httpx2.URL(url).host))
        if kind not in self._clients:
            try:
                self._clients[kind] = httpx2.Client(
                    auth=self._auth if authenticated else None,
                    transport=httpx2.HTTPTransport() if kind[1] else None,
                    timeout=HTTP_TIMEOUT,
                    # They would lead credentials, and the image, to somewhere else.
                    follow_redirects=False,
                    # 1 MB of gzip may stand for 1 GB, and outputs are compressed already.
                    headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
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
        plain = place.scheme == "http" and self.base.scheme == "http" and (is_loopback(place.host) or not self.is_local)
        if place.scheme != "https" and not plain:
            raise errors.BadAnswer("The service leads to an address that is no https:// one.")


def _send_whole(
    client: httpx2.Client, request: httpx2.Request, max_bytes: int, sent: Callable[[], None] = lambda: None
) -> httpx2.Response:
    """Return the answer to a request, read whole; a bar shows large ones.

    Args:
        client: sends it.
        request: what to send.
        max_bytes: bytes of the longest answer that is taken; of an error, no more than MAX_PROBLEM_BYTES are kept.
        sent: is called when the request is through.

    Raises:
        BadAnswer: it is longer, or packed although nothing packed was asked for.
    """
    answer = client.send(request, stream=True)
    try:
        sent()
        content = _read_body(answer, max_bytes)
    finally:
        answer.close()
    whole = httpx2.Response(answer.status_code, headers=_plain_headers(answer.headers), content=content)
    whole.request = request
    return whole


def _read_body(answer: httpx2.Response, max_bytes: int) -> bytes:
    """Return the bytes of an answer; none of an error that is packed or too long, whose status says enough.

    Raises:
        BadAnswer.
    """
    packed = answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
    length = answer.headers.get("Content-Length", "")
    total = int(length[:20]) if length.isascii() and length.isdecimal() else None
    if answer.is_error:
        max_bytes = MAX_PROBLEM_BYTES
    elif packed:
        raise errors.BadAnswer("The service's answer is packed, which it was not asked for.")
    content, pieces = 0, []
    with progress_bar("download", total, shown=(total or 0) > MIN_PROGRESS_BYTES) as moved:
        for piece in () if packed or (total or 0) > max_bytes else answer.iter_raw():
            pieces.append(piece)
            content += len(piece)
            moved.update(len(piece))
            if content > max_bytes:
                break
    if not answer.is_error and max(content, total or 0) > max_bytes:
        raise errors.BadAnswer(f"The service's answer is longer than {max_bytes:,} bytes.")
    return b"".join(pieces) if content <= max_bytes else b""


def _plain_headers(headers: httpx2.Headers) -> list[tuple[str, str]]:
    """Return headers without those that say how the answer travelled."""
    gone = ("content-encoding", "content-length", "transfer-encoding")
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in gone]


def _parse_address(url: str) -> httpx2.URL:
    try:
        base = httpx2.URL(url)
    except httpx2.InvalidURL:
        base = httpx2.URL("")
    whole = base.scheme in ("http", "https") and base.host and "%" not in base.host and (base.port or 1) < 65536
    if not whole or base.query or base.fragment or base.userinfo:
        raise errors.BadAddress("The address is no https://HOST/STAGE or http://HOST:PORT.")
    return base
