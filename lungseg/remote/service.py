"""HTTP client of a service. Requests to the service carry the caller's credentials, those to a bucket do not."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import httpx2

from lungseg import __version__
from lungseg.remote import error_responses, errors
from lungseg.remote.credentials import Credentials
from lungseg.remote.image_source import ImageSource, ProgressReader, progress_bar
from lungseg.remote.loopback import is_loopback
from lungseg.remote.retry import TRANSIENT_STATUSES, RetryPolicy

HTTP_TIMEOUT = httpx2.Timeout(120, connect=15)
"""Seconds for one step. API Gateway gives up after 29 s; a local server needs longer for the largest images."""

MIN_PROGRESS_BYTES = 2**18
"""Larger responses get a progress bar."""

MAX_OUTPUT_BYTES, MAX_DOCUMENT_BYTES, MAX_PROBLEM_BYTES = 2**29, 2**24, 2**20
"""The longest responses: the largest image in every format, a JSON document, an error."""

USER_AGENT = f"lung-segmentation/{__version__} Python/{platform.python_version()}"


class ServiceClient:
    """Client of one service. A context manager that closes its connections."""

    def __init__(self, url: str, credentials: Credentials | None = None, retries: RetryPolicy | None = None) -> None:
        """Args: ``url`` is the base URL, without /v1/segment.

        Raises:
            BadAddress: the URL is not one of a service, or a proxy of the environment is not usable.
            InsecureAddress, AwsError: see `Credentials.http_auth`.
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
        """Whether the service runs on this machine."""
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
        """Send a request, with retries; return the whole response, whatever its status.

        Args:
            path: such as "/v1/segment".
            authenticated: whether to send the credentials.
            document: to send as JSON.
            image: to send as the raw body.

        Raises:
            Unreachable, BadAnswer.
        """
        url = f"{str(self.base).rstrip('/')}{path}"
        client = self._client(url, authenticated)

        def send() -> httpx2.Response:
            if image is None:
                request = client.build_request(method, url, params=parameters, headers=headers, json=document)
                return _send_whole(client, request, MAX_DOCUMENT_BYTES)
            with progress_bar("upload", image.size) as bar, ProgressReader(image, bar) as body:
                content_type = {"Content-Type": "application/octet-stream"}
                request = client.build_request(
                    method, url, params=parameters, headers=content_type | dict(headers or {}), content=body
                )
                return _send_whole(client, request, MAX_OUTPUT_BYTES, bar.close)

        return self._retries.send_with_retries(send, retry_statuses)

    def upload_image(self, url: str, fields: Mapping[str, str], image: ImageSource) -> None:
        """Send an image by a presigned POST: first its form fields, then the file, which is never held in memory.

        Raises:
            Unreachable, BucketError, TooLarge, BadAnswer.
        """
        self._check_presigned(url)
        client = self._client(url)

        def send() -> httpx2.Response:
            with progress_bar("upload", image.size) as bar, ProgressReader(image, bar) as body:
                # A fixed file name: the image's own may name the patient.
                part: Any = ("image", body, "application/octet-stream")
                request = client.build_request("POST", url, data=dict(fields), files={"file": part})
                return _send_whole(client, request, MAX_DOCUMENT_BYTES, bar.close)

        answer = self._retries.send_with_retries(send)
        if not answer.is_success:
            raise error_responses.storage_error(answer)

    def download_output(self, url: str) -> bytes:
        """Return the content of a presigned GET.

        Raises:
            Unreachable, BucketError, BadAnswer.
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
        """Return the client for a URL.

        Requests to this machine bypass the proxy, which could read the image and the credentials.

        Raises:
            BadAddress: the environment names a proxy that is not usable.
        """
        key = (authenticated, is_loopback(httpx2.URL(url).host))
        if key not in self._clients:
            try:
                self._clients[key] = httpx2.Client(
                    auth=self._auth if authenticated else None,
                    transport=httpx2.HTTPTransport() if key[1] else None,
                    timeout=HTTP_TIMEOUT,
                    # A redirect could send the credentials and the image to another host.
                    follow_redirects=False,
                    # 1 MB of gzip may expand to 1 GB, and outputs are compressed already.
                    headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
                )
            except (ValueError, ImportError):
                raise errors.BadAddress("The proxy in HTTP_PROXY, HTTPS_PROXY or ALL_PROXY is not usable.") from None
        return self._clients[key]

    def _check_presigned(self, url: str) -> None:
        """Raise BadAnswer unless a presigned URL is encrypted, or leads from an http:// service to its own kind."""
        try:
            target = httpx2.URL(url)
        except httpx2.InvalidURL:
            target = httpx2.URL("")
        is_plain_allowed = self.base.scheme == "http" and (is_loopback(target.host) or not self.is_local)
        if target.scheme != "https" and not (target.scheme == "http" and is_plain_allowed):
            raise errors.BadAnswer("The service returned a presigned URL that is not https://.")


def _send_whole(
    client: httpx2.Client, request: httpx2.Request, max_bytes: int, on_sent: Callable[[], None] = lambda: None
) -> httpx2.Response:
    """Send a request; return its response, read whole.

    Args:
        max_bytes: of the response; of an error, at most MAX_PROBLEM_BYTES are kept.
        on_sent: called when the request has been sent.

    Raises:
        BadAnswer: the response is longer, or compressed although no compression was requested.
    """
    answer = client.send(request, stream=True)
    try:
        on_sent()
        content = _read_body(answer, max_bytes)
    finally:
        answer.close()
    whole = httpx2.Response(answer.status_code, headers=_plain_headers(answer.headers), content=content)
    whole.request = request
    return whole


def _read_body(answer: httpx2.Response, max_bytes: int) -> bytes:
    """Return the body of a response; of an error that is compressed or too long nothing, as its status is enough.

    Raises:
        BadAnswer.
    """
    is_compressed = answer.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
    length = answer.headers.get("Content-Length", "")
    total = int(length[:20]) if length.isascii() and length.isdecimal() else None
    if answer.is_error:
        max_bytes = MAX_PROBLEM_BYTES
    elif is_compressed:
        raise errors.BadAnswer("The service's response is compressed, although no compression was requested.")
    count, chunks = 0, []
    with progress_bar("download", total, is_shown=(total or 0) > MIN_PROGRESS_BYTES) as bar:
        for chunk in () if is_compressed or (total or 0) > max_bytes else answer.iter_raw():
            chunks.append(chunk)
            count += len(chunk)
            bar.update(len(chunk))
            if count > max_bytes:
                break
    if not answer.is_error and max(count, total or 0) > max_bytes:
        raise errors.BadAnswer(f"The service's response is longer than {max_bytes:,} bytes.")
    return b"".join(chunks) if count <= max_bytes else b""


def _plain_headers(headers: httpx2.Headers) -> list[tuple[str, str]]:
    """Return the headers without those that describe the encoding in transit."""
    transit = ("content-encoding", "content-length", "transfer-encoding")
    return [(name, value) for name, value in headers.multi_items() if name.lower() not in transit]


def _parse_address(url: str) -> httpx2.URL:
    try:
        base = httpx2.URL(url)
    except httpx2.InvalidURL:
        base = httpx2.URL("")
    is_valid = base.scheme in ("http", "https") and base.host and "%" not in base.host and (base.port or 1) < 65536
    if not is_valid or base.query or base.fragment or base.userinfo:
        raise errors.BadAddress("The address is not of the form https://HOST/STAGE or http://HOST:PORT.")
    return base
