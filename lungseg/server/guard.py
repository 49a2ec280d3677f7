"""What keeps other sites' web pages away from a server on somebody's machine: checks of Host and Origin.

A page of any site can make a browser post to http://localhost:8000 without asking first (a "simple request" of the
Fetch standard), and can read the answers too where its own name is rebound to 127.0.0.1. AWS Lambda has authentication
for this, and does not know its own names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from lungseg import errors
from lungseg.server import intake

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing (RFC 9110 section 9.2.1); what they answer, a page of another origin cannot read."""


class CrossSiteGuard:
    """Answers 421 to unknown hosts, and 403 to what a page of another site sends."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        """Guard ``app``.

        Args:
            hosts: the server's names; "*" is any, and so is an empty list. IP addresses are never refused: a page
                cannot rebind one.
            origins: those of other sites whose pages may send requests; "*" is any.
        """
        self.app = app
        self._hosts = {each.lower() for each in hosts}
        self._origins = {each.lower().rstrip("/") for each in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on."""
        if scope["type"] == "http":
            try:
                self._check(scope)
            except errors.ProblemError as error:
                await intake.send_problem(error, scope, receive, send, {"Connection": "close"})
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        # A browser always names a host; HTTP/1.0, which some monitors speak, need not.
        is_missing = not host and scope.get("http_version") == "1.0"
        if self._hosts and not is_missing and not self._is_known(host):
            raise errors.UnknownHost("The request was sent to a name that is none of this server's.")
        if scope["method"] not in SAFE_METHODS and not self._is_own(headers, host):
            raise errors.CrossSite("The request's Origin or Sec-Fetch-Site is that of another site.")

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return "*" in self._hosts or name in self._hosts or _is_address(name)

    def _is_own(self, headers: Headers, host: str) -> bool:
        """Whether a request comes from this server's own page, from one that is allowed, or from no page at all."""
        origin, site = headers.get("origin", "").lower(), headers.get("sec-fetch-site", "").lower()
        if origin and ("*" in self._origins or origin in self._origins):
            return True
        if site:  # browsers let no page set it, and it is right behind a proxy that changes Host
            return site in ("same-origin", "none")
        return not origin or origin.partition("://")[2] == host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
