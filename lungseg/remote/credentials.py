"""Caller credentials: API key, bearer token or SigV4."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import httpx2

from lungseg.remote import errors
from lungseg.remote.loopback import is_loopback


@dataclass(frozen=True)
class Credentials:
    """Credentials that are sent with each request to the service, and to no other host.

    Attributes:
        key: API key of an API Gateway usage plan, for ``X-Api-Key``; empty for none.
        token: for ``Authorization: Bearer``; empty for none.
        sign: whether to sign requests with AWS credentials (SigV4), as IAM authorisation requires.
        region: to sign for; None takes it from the service's host name, or else from the AWS configuration.
    """

    key: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    sign: bool = False
    region: str | None = None

    def __bool__(self) -> bool:
        return bool(self.key or self.token or self.sign)

    def http_auth(self, base: httpx2.URL) -> httpx2.Auth | None:
        """Return the httpx2 authentication for requests to ``base``; None without credentials.

        Raises:
            InsecureAddress: they would be sent unencrypted to another machine.
            AwsError: there are no AWS credentials to sign with, or no region.
        """
        if not self:
            return None
        if base.scheme != "https" and not is_loopback(base.host):
            raise errors.InsecureAddress("The address starts with http:// and is not on this machine.")
        return _CallerAuth(self, base)


class _CallerAuth(httpx2.Auth):
    requires_request_body = True
    """SigV4 signs the body, so httpx2 must read it whole before `auth_flow`."""

    def __init__(self, credentials: Credentials, base: httpx2.URL) -> None:
        self._credentials, self._base = credentials, base
        self.requires_request_body = credentials.sign
        if credentials.sign:
            self._signer  # noqa: B018 - missing credentials fail here, before an image is read

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        if self._credentials.key:
            request.headers["X-Api-Key"] = self._credentials.key
        if self._credentials.token:
            request.headers["Authorization"] = f"Bearer {self._credentials.token}"
        if self._credentials.sign:
            self._sign(request)
        yield request

    @cached_property
    def _signer(self) -> Any:
        from botocore.auth import SigV4Auth

        from lungseg.remote.aws import aws_errors, aws_session

        with aws_errors("The request cannot be signed"):
            session = aws_session(self._credentials.region)
            credentials = session.get_credentials()
            region = self._credentials.region or _region_of(self._base.host) or session.region_name
        if credentials is None:
            raise errors.AwsError("There are no AWS credentials to sign with.")
        if not region:
            raise errors.AwsError("The region to sign for is unknown.")
        return SigV4Auth(credentials, "execute-api", region)

    def _sign(self, request: httpx2.Request) -> None:
        from botocore.awsrequest import AWSRequest

        # Other headers stay unsigned, because a proxy may change them; the signer adds the host and the time.
        signed = AWSRequest(request.method, str(request.url), data=request.content)
        self._signer.add_auth(signed)
        for name in ("Authorization", "X-Amz-Date", "X-Amz-Security-Token"):
            if name in signed.headers:
                request.headers[name] = signed.headers[name]


def _region_of(host: str) -> str | None:
    found = re.fullmatch(r"[a-z0-9-]+\.execute-api\.([a-z0-9-]+)\.amazonaws\.com(\.cn)?", host)
    return found[1] if found else None
