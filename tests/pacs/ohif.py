"""OHIF, unchanged, over an Orthanc's DICOMweb, in a headless Chromium."""

from __future__ import annotations

import io
import json
import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

OHIF = Path(os.environ.get("OHIF", ".venv/ohif"))
"""OHIF's files, which `make viewers` fetches."""

CHROMIUM_ARGUMENTS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL in software, and no sandbox, which a container's root user does not have."""

CONFIGURATION = {
    "routerBasename": "/",
    "extensions": [],
    "modes": [],
    "showStudyList": True,
    "investigationalUseDialog": {"option": "never"},
    "defaultDataSourceName": "dicomweb",
    "dataSources": [
        {
            "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
            "sourceName": "dicomweb",
            "configuration": {
                "friendlyName": "Orthanc",
                "name": "orthanc",
                "qidoRoot": "/dicom-web",
                "wadoRoot": "/dicom-web",
                "imageRendering": "wadors",
                "thumbnailRendering": "wadors",
                "enableStudyLazyLoad": True,
                "bulkDataURI": {"enabled": True},
            },
        }
    ],
}

VIEWPORT_BOX = """() => {
    const box = document.querySelector("[data-cy=viewport-pane] canvas").getBoundingClientRect();
    return [box.x, box.y, box.width, box.height];
}"""

MAX_CLICKS, CLICK_SECONDS = 3, 20

SKIP_TOUR = "localStorage.setItem('shownTours', JSON.stringify(['basicViewerTour']))"


class _Handler(SimpleHTTPRequestHandler):
    """Serves OHIF's files, and Orthanc's DICOMweb under the same origin, as a hospital's proxy does."""

    orthanc = ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/app-config.js":
            self._answer(200, "text/javascript", f"window.config = {json.dumps(CONFIGURATION)}".encode())
        elif path.startswith("/dicom-web"):
            self._forward()
        else:
            if not Path(self.translate_path(path)).is_file():
                self.path = "/index.html"  # a view of the application
            super().do_GET()

    def _forward(self) -> None:
        headers = {"Accept": self.headers["Accept"], "Host": self.headers["Host"]}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{self.orthanc}{self.path}", headers=headers)) as found:
                self._answer(found.status, found.headers["Content-Type"], found.read())
        except HTTPError as error:
            self._answer(error.code, "text/plain", error.read())

    def _answer(self, status: int, media_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def end_headers(self) -> None:
        # OHIF's decoders are threads that share memory.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # a browser opens more connections at once than the 5 of socketserver
    daemon_threads = True


@contextmanager
def ohif_server(orthanc: str) -> Iterator[str]:
    """Serve OHIF for an Orthanc; yields its URL."""
    handler = type("Handler", (_Handler,), {"orthanc": orthanc})
    with _Server(("127.0.0.1", 0), partial(handler, directory=str(OHIF))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def playwright_timeout() -> type[Exception]:
    """Return the exception of an element that does not appear; tests without playwright are skipped."""
    from playwright.sync_api import TimeoutError as Timeout

    return Timeout


@dataclass
class OhifDriver:
    """OHIF in a browser.

    Attributes:
        complaints: the console's errors, and exceptions, since the study was opened.
    """

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def open_study(self, uid: str) -> list[str]:
        """Open a study; return the texts of its series."""
        self.page.add_init_script(SKIP_TOUR)
        self.page.on("console", lambda message: message.type == "error" and self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(f"{self.url}/viewer?StudyInstanceUIDs={uid}")
        self.page.wait_for_selector("[data-cy=viewport-pane] canvas")
        return [" ".join(text.split()) for text in self._series().all_inner_texts()]

    def show_series(self, description: str, sign: Locator) -> None:
        """Double-click a series until a sign of it appears: OHIF ignores clicks while it draws."""
        for _ in range(MAX_CLICKS):
            self._series().filter(has_text=description).dblclick()
            try:
                sign.wait_for(timeout=CLICK_SECONDS * 1000)
                return
            except playwright_timeout():
                continue
        sign.wait_for()

    def picture(self) -> NDArray[np.int16]:
        """Return what the viewport shows, (height, width, 3)."""
        # Not a screenshot of the canvas: OHIF replaces the element when it loads a segmentation.
        x, y, width, height = self.page.evaluate(VIEWPORT_BOX)
        shot = self.page.screenshot(clip={"x": x, "y": y, "width": width, "height": height})
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(np.int16)

    def _series(self) -> Any:
        return self.page.locator("[data-cy^=study-browser-thumbnail]")


def fit_labels(labels: NDArray[np.uint8], spacing: tuple[float, float], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return labels as a viewport shows them: fitted into it, in the middle, 255 outside.

    Args:
        labels: (rows, columns) of an image.
        spacing: of its rows and columns; only their ratio counts.
        shape: height and width of the viewport.
    """
    size = np.array(labels.shape) * spacing
    height, width = np.rint(size * min(shape[0] / size[0], shape[1] / size[1])).astype(int)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    shown = np.full(shape[:2], 255, np.uint8)
    scaled = Image.fromarray(labels).resize((int(width), int(height)), Image.Resampling.NEAREST)
    shown[top : top + height, left : left + width] = np.asarray(scaled)
    return shown
