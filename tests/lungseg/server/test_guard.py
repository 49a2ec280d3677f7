"""Pages of other sites cannot use a local server: it checks Host, Origin and Sec-Fetch-Site."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from lungseg.server.guard import CrossSiteGuard

HOSTS = ["localhost", "lung.example"]

app = PlainTextResponse("let in")


def status(method: str, guarded: CrossSiteGuard, **headers: str) -> int:
    """Return the status of a request: 200 if it is allowed."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return TestClient(guarded).request(method, "/", headers=sent).status_code


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(host, 200) for host in ("localhost", "LOCALHOST:8000", "lung.example:80", "127.0.0.1:8000", "[::1]:8000")],
        *[(host, 421) for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "x", "[::1", "")],
    ],
)
def test_unknown_host_is_rejected(host: str, expected: int) -> None:
    assert status("GET", CrossSiteGuard(app, HOSTS), host=host) == expected


def test_wildcard_allows_any_host() -> None:
    assert status("GET", CrossSiteGuard(app, ["*"]), host="evil.example") == 200
    assert status("GET", CrossSiteGuard(app), host="evil.example") == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 200),
        ({"origin": "http://localhost:8000"}, 200),
        ({"origin": "https://pacs.example", "sec_fetch_site": "cross-site"}, 200),
        ({"origin": "http://other.example", "sec_fetch_site": "same-origin"}, 200),  # behind a proxy that sets Host
        ({"sec_fetch_site": "none"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:3000"}, 403),
        ({"origin": "http://localhost:3000", "sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
    ],
)
def test_cross_site_post_is_rejected(headers: dict[str, str], expected: int) -> None:
    guarded = CrossSiteGuard(app, HOSTS, ["https://pacs.example"])
    assert status("POST", guarded, host="localhost:8000", **headers) == expected
    # A link that leads here from another site changes nothing.
    assert status("GET", guarded, host="localhost:8000", **headers) == 200


def test_lambda_has_no_guard() -> None:
    imports = "from lungseg.server.api import create_app"
    program = f"{imports}; print(*(each.cls.__name__ for each in create_app().user_middleware))"
    for name, is_there in (("AWS_LAMBDA_FUNCTION_NAME", False), ("OTHER", True)):
        environment = os.environ | {name: "function"}
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environment)
        middleware = set(run.stdout.decode().split())
        assert ({"CrossSiteGuard", "Admission"} <= middleware) == is_there
        assert "Intake" in middleware
