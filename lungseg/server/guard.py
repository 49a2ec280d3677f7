"""Keep other sites' web pages away from a local server by checking Host and Origin.

A page of any site can make a browser POST to http://localhost:8000 without a preflight (a "simple request" of the Fetch
standard). With DNS rebinding, where the page's own host name resolves to 127.0.0.1, it can also read the responses. AWS
Lambda has authentication instead, and does not know its host names.
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
"""Safe methods (RFC 9110 section 9.2.1). A page of another origin cannot read their responses."""


class CrossSiteGuard:
    """Answer 421 to requests for unknown hosts, and 403 to requests of other sites' pages."""

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = (), origins: Sequence[str] = ()) -> None:
        """Guard ``app``.

        Args:
            hosts: the server's names; "*" or an empty list allows any. IP addresses are always allowed: they cannot be
                rebound.
            origins: origins whose pages may send requests; "*" allows any.
        """
        self.app = app
        self._hosts = {each.lower() for each in hosts}
        self._origins = {each.lower().rstrip("/") for each in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject a request, or run the app."""
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
        # Browsers always send Host; HTTP/1.0, which some monitors speak, does not require it.
        is_missing = not host and scope.get("http_version") == "1.0"
        if self._hosts and not is_missing and not self._is_known(host):
            raise errors.UnknownHost("The request's Host is not a name of this server.")
        if scope["method"] not in SAFE_METHODS and not self._is_own(headers, host):
            raise errors.CrossSite("The request's Origin or Sec-Fetch-Site belongs to another site.")

    def _is_known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return "*" in self._hosts or name in self._hosts or _is_address(name)

    def _is_own(self, headers: Headers, host: str) -> bool:
        """Return whether a request comes from this server's page, from an allowed origin, or from no page."""
        origin, site = headers.get("origin", "").lower(), headers.get("sec-fetch-site", "").lower()
        if origin and ("*" in self._origins or origin in self._origins):
            return True
        if site:  # pages cannot set it, and it stays correct behind a proxy that changes Host
            return site in ("same-origin", "none")
        return not origin or origin.partition("://")[2] == host


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
