"""Fixtures: the page in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from page_driver import CHROMIUM, PageDriver, local_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a real server."""
    with local_server() as url:
        yield url


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A running Chromium; skips the tests where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: install one (apt-get install chromium), or name it in the variable CHROMIUM")
    api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -r tests/requirements.txt")
    with api.sync_playwright() as driver:
        # A container's root user has no sandbox.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def browser(chromium: Browser, server: str) -> Iterator[PageDriver]:
    """The page, just opened; it may load nothing from another host."""
    context = chromium.new_context(viewport={"width": 900, "height": 600})
    context.set_default_timeout(60_000)
    driver = PageDriver(context.new_page(), server).open()
    yield driver
    context.close()
    local = (server, "data:", f"blob:{server}")
    assert [url for url in driver.requests if not url.startswith(local)] == []
