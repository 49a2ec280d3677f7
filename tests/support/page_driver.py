"""The page at `/` in a headless Chromium, against a real server."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

CHROMIUM = os.environ.get("CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
IS_SHOWN = "name => !document.getElementById('result').hidden && document.getElementById('name').textContent === name"
IS_FINISHED = "() => queue.every(({ state }) => state === 'done' || state === 'failed')"


@contextmanager
def local_server() -> Iterator[str]:
    """Start `lungseg serve` on a free port; yields its address."""
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


@dataclass
class PageDriver:
    """The page in a browser, and what it did since it was opened.

    Attributes:
        requests: the URLs that it requested.
        headers: those of its POST requests.
        complaints: the console's errors, and exceptions.
    """

    page: Page
    url: str
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def open(self) -> PageDriver:
        """Open the page, and record what it does."""
        self.page.on("request", self._record)
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(self.url)
        return self

    def _record(self, request: Any) -> None:
        self.requests.append(request.url)
        if request.method == "POST":
            self.headers.append(request.headers)

    def choose(self, *files: tuple[str, bytes]) -> None:
        """Choose files by name and content."""
        self.page.set_input_files(
            "#file", [{"name": name, "mimeType": "", "buffer": content} for name, content in files]
        )

    def show(self, name: str, content: bytes) -> None:
        """Choose an image, and wait until it is on show."""
        self.choose((name, content))
        self.wait_shown(name)

    def wait_shown(self, name: str) -> None:
        """Wait until the result of an image is on show."""
        self.page.wait_for_function(IS_SHOWN, arg=name)

    def wait_finished(self) -> None:
        """Wait until every image of the queue is done or has failed."""
        self.page.wait_for_function(IS_FINISHED)

    def states(self) -> list[str]:
        """Return the state of each thumbnail."""
        return self.page.evaluate("[...document.querySelectorAll('.thumb')].map(each => each.dataset.state)")

    def painted(self) -> int:
        """Return how many pixels of the canvas have a colour; an image has none."""
        return self.page.evaluate("""() => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) count += Math.abs(data[i] - data[i + 2]) > 2;
            return count;
        }""")

    def segment(self, output_format: str, threshold: float, image: bytes) -> bytes:
        """Return what the server itself answers."""
        parameters = {"format": output_format, "threshold": threshold}
        return httpx2.post(f"{self.url}/v1/segment", params=parameters, content=image, timeout=60).content

    def press(self, key: str) -> tuple[float, int]:
        """Press a key on the threshold slider; returns its value, and the area painted."""
        self.page.focus("#threshold")
        self.page.keyboard.press(key)
        # The mask is drawn in the next frame.
        self.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return float(self.page.input_value("#threshold")), self.painted()

    def download(self, selector: str) -> tuple[str, bytes]:
        """Press a download's button; returns the file's name and content."""
        with self.page.expect_download() as found:
            self.page.click(selector)
        return found.value.suggested_filename, Path(found.value.path()).read_bytes()

    def replace_strings(self, script: str) -> None:
        """Open the page with another STRINGS: ``script`` runs behind its definition."""

        def answer(route: Route) -> None:
            html = re.sub(r"(?<=\n};\n)(?=\n// Elements)", script, route.fetch().text(), count=1)
            # The policy's hash is that of the script as it was.
            route.fulfill(body=html, content_type="text/html")

        self.page.route(f"{self.url}/", answer)
        self.page.goto(self.url)
