"""The page at `/`: the preview that it draws from, and the page itself in a headless Chromium against a real server."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import numpy as np
import pytest
from films import dice, dicom
from numpy.typing import NDArray
from PIL import Image

from lungseg.encode.document import document
from lungseg.encode.formats import FORMATS
from lungseg.encode.preview import MAX_PREVIEW_SIDE, preview_png
from lungseg.pipeline.segment import segment

if TYPE_CHECKING:
    from playwright.sync_api import Browser as Chromium
    from playwright.sync_api import Page

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SHOWN = "name => !document.getElementById('result').hidden && document.getElementById('name').textContent === name"


def test_the_preview_holds_film_probability_sides_and_document(rg1: bytes) -> None:
    result = segment(rg1)
    with Image.open(io.BytesIO(preview_png(result))) as image:
        told = json.loads(image.text["document"])
        grey, probability, side = np.moveaxis(np.asarray(image), 2, 0)
    assert max(grey.shape) == MAX_PREVIEW_SIDE
    assert told == json.loads(json.dumps(document(result)))
    assert (grey.min(), grey.max()) == (0, 255)
    assert set(np.unique(side)) == {1, 2}
    size = (grey.shape[1], grey.shape[0])
    labels = np.asarray(Image.fromarray(result.labels).resize(size, Image.Resampling.NEAREST))
    assert min(dice((probability > 127) & (side == each), labels == each) for each in (1, 2)) > 0.999


def test_the_preview_of_a_small_film_is_not_enlarged(rg1_pixels: NDArray[np.uint16]) -> None:
    result = segment(dicom(rg1_pixels[::8, ::8].copy()))
    with Image.open(io.BytesIO(preview_png(result))) as image:
        assert image.size == (result.geometry.width, result.geometry.height)
        assert np.array_equal(np.asarray(image)[..., 1] > 127, result.probability >= 0.5)


@dataclass
class Browser:
    """The page in a browser, and what it did since it was opened.

    Attributes:
        requests: the URLs that it asked for.
        complaints: its console's errors, and its exceptions.
    """

    page: Page
    url: str
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def choose(self, name: str, film: bytes) -> None:
        self.page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": film})

    def show(self, name: str, film: bytes) -> None:
        """Choose an image, and wait until it is on show."""
        self.choose(name, film)
        self.page.wait_for_function(SHOWN, arg=name)

    def painted(self) -> int:
        """How many pixels of the canvas have a colour; an image has none."""
        return self.page.evaluate("""() => {
            const canvas = document.querySelector("canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) count += Math.abs(data[i] - data[i + 2]) > 2;
            return count;
        }""")

    def ask(self, form: str, threshold: float, film: bytes) -> bytes:
        """What the service itself answers."""
        parameters = {"format": form, "threshold": threshold}
        return httpx2.post(f"{self.url}/v1/segment", params=parameters, content=film, timeout=60).content

    def press(self, key: str) -> tuple[float, int]:
        """Press a key on the threshold; where it stands then, and the area painted."""
        self.page.focus("#threshold")
        self.page.keyboard.press(key)
        # The mask is drawn in the next frame.
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return float(self.page.text_content("#threshold-value")), self.painted()

    def download(self, name: str) -> tuple[str, bytes]:
        """Press a download's button; the file's name and content."""
        with self.page.expect_download() as found:
            self.page.click(f"[data-name={name}]")
        return found.value.suggested_filename, Path(found.value.path()).read_bytes()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a real server."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [sys.executable, "-m", "lungseg", "serve", "--port", str(port)], stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(300):
                try:
                    httpx2.get(f"{url}/health")
                    break
                except httpx2.TransportError:
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
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
def browser(chromium: Chromium, server: str) -> Iterator[Browser]:
    """The page, just opened."""
    context = chromium.new_context(viewport={"width": 900, "height": 600})
    context.set_default_timeout(60_000)
    seen = Browser(context.new_page(), server)
    seen.page.on("request", lambda request: seen.requests.append(request.url))
    seen.page.on("console", lambda message: message.type == "error" and seen.complaints.append(message.text))
    seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    seen.page.goto(server)
    yield seen
    context.close()
    local = (server, "data:", f"blob:{server}")
    assert [url for url in seen.requests if not url.startswith(local)] == []


def test_the_threshold_works_in_the_browser_and_downloads_come_from_the_service(
    browser: Browser, rg1_png: bytes
) -> None:
    browser.show("film.png", rg1_png)
    result = segment(rg1_png)
    page = browser.page
    assert page.text_content("#decision") == "Accept"
    assert f"{int(result.mask.sum()):,}" in page.text_content("[data-lung=both]")
    assert result.model.sha256 in page.text_content("#result")
    assert "no diagnosis" in page.text_content("header")
    assert page.is_disabled("[data-name=dicom-seg]")

    asked = len(browser.requests)
    steps = [browser.press(key) for key in ("Home", *["PageUp"] * 5, "End", "PageDown")]
    thresholds, areas = zip(*sorted(steps), strict=True)
    assert (thresholds[0], thresholds[-1]) == (0.01, 0.99)
    assert list(areas) == sorted(areas, reverse=True)
    assert areas[0] > 1.05 * areas[-1] > 0
    assert len(browser.requests) == asked

    threshold, _ = steps[-1]
    name, content = browser.download("mask")
    assert name == "film.png.mask.png"
    assert content == browser.ask("mask", threshold, rg1_png)
    page.click("#measure")
    page.wait_for_function("() => document.getElementById('measure').hidden")
    with Image.open(io.BytesIO(content)) as mask:
        assert f"{int(np.asarray(mask).sum()):,}" in page.text_content("[data-lung=both]")

    for at in (0.1, 0.5, 0.9):
        width, height, digits = page.evaluate("at => [film.width, film.height, segment(film, at).labels.join('')]", at)
        labels = np.frombuffer(digits.encode(), np.uint8).reshape(height, width) - ord("0")
        with Image.open(io.BytesIO(browser.ask("labels", at, rg1_png))) as image:
            expected = np.asarray(image.resize((width, height), Image.Resampling.NEAREST))
        assert min(dice(labels == side, expected == side) for side in (1, 2)) > 0.998

    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert browser.complaints == []


def test_the_doubtful_band_is_drawn_where_one_asks_for_it(browser: Browser, rg1_png: bytes) -> None:
    browser.show("film.png", rg1_png)
    page = browser.page
    for switch in ("fill", "contour", "letters"):
        page.uncheck(f"#{switch}")
    assert browser.painted() == 0
    page.check("#doubt")
    band = browser.painted()
    page.uncheck("#doubt")
    page.check("#fill")
    assert 0 < band < browser.painted() / 2
    assert f"Expected Dice: {segment(rg1_png).verdict.expected_dice:.2f}." in page.text_content("#figures")
    assert browser.complaints == []


def test_dicom_without_preamble_can_be_segmented_as_dicom(browser: Browser, rg1: bytes) -> None:
    browser.show("RG1_UNCR.dcm", rg1[132:])
    assert browser.page.is_enabled("[data-name=dicom-seg]")
    assert browser.complaints == []


def test_dicom_another_film_and_a_broken_one(
    browser: Browser, rg1: bytes, rg1_png: bytes, rg1_pixels: NDArray[np.uint16]
) -> None:
    page = browser.page
    browser.show("RG1_UNCR.dcm", rg1)
    assert page.is_enabled("[data-name=dicom-seg]")
    assert page.text_content("#spacing").startswith("No cm²")
    page.focus("#another")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "file"

    small = dicom(rg1_pixels[::4, ::4].copy(), PixelSpacing=[0.8, 0.8])
    browser.show("sized.dcm", small)
    area = 0.8**2 / 100 * int(segment(small).mask.sum())
    assert page.text_content("[data-lung=both] td:nth-of-type(2)") == f"{area:.1f}"
    assert browser.complaints == []

    browser.choose("broken.png", rg1_png[: len(rg1_png) // 2])
    page.wait_for_selector("#refusal:not([hidden])")
    assert "Export or upload the image again." in page.text_content("#refusal")
    assert page.evaluate("document.activeElement.textContent") == "The image is damaged or truncated"

    page.route("**/v1/segment*", lambda route: route.fulfill(status=413, body='{"message":"Request Too Long"}'))
    browser.choose("small.dcm", small)
    page.wait_for_function("() => document.getElementById('refusal').textContent.includes('4.5 MB')")
    page.unroute("**/v1/segment*")
    browser.show("small.dcm", small)


def test_the_description_needs_no_other_host(browser: Browser) -> None:
    browser.page.goto(f"{browser.url}/docs")
    browser.page.get_by_text("/v1/segment").first.wait_for()
    browser.page.wait_for_load_state("networkidle")
    assert browser.complaints == []


def test_every_form_but_the_preview_can_be_downloaded(browser: Browser) -> None:
    offered = browser.page.evaluate("Object.entries(FILES).map(([name, [suffix]]) => [name, suffix])")
    assert dict(offered) == {each.name: each.suffix for each in FORMATS.values() if each.name != "preview"}
