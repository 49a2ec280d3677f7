"""A real Orthanc of Debian's packages, with its DICOMweb plugin, on free ports."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.error import HTTPError, URLError

from ports import free_ports

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")

START_SECONDS = 60


def missing_part() -> str:
    """Return what is not installed; empty if nothing."""
    if shutil.which("Orthanc") is None:
        return "Orthanc"
    return "" if PLUGIN.exists() else "Orthanc's DICOMweb plugin"


class Orthanc:
    """An Orthanc: a process, and a folder of its own.

    Attributes:
        web: base URL of its REST API.
        dicom_port: where it accepts DICOM associations.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        """Args: ``settings`` are members of Orthanc's configuration."""
        folder.mkdir()
        web_port, self.dicom_port = free_ports(2)
        self.web = f"http://127.0.0.1:{web_port}"
        self._login = next(iter(settings.get("RegisteredUsers", {}).items()), None)
        self._configuration = folder / "orthanc.json"
        self._configuration.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(folder / "db"),
                    "IndexDirectory": str(folder / "db"),
                    "HttpPort": web_port,
                    "DicomPort": self.dicom_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": self._login is not None,
                    "Plugins": [str(PLUGIN)],
                    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                }
                | settings
            )
        )
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dicomweb(self) -> str:
        """The base URL of its DICOMweb service."""
        return f"{self.web}/dicom-web"

    def __enter__(self) -> Orthanc:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(["Orthanc", str(self._configuration)], stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.get("/system")
                return
            except HTTPError:
                return
            except (URLError, OSError):
                assert time.monotonic() < end and self._process.poll() is None, self._log.read_text()[-2000:]
                time.sleep(0.1)

    def configure(self, **settings: Any) -> None:
        """Start it again with further members of its configuration."""
        self.stop()
        self._configuration.write_text(json.dumps(json.loads(self._configuration.read_text()) | settings))
        self.start()

    def stop(self, kind: signal.Signals = signal.SIGTERM) -> None:
        """End it; what it stored stays. At SIGTERM it still answers the requests of open connections."""
        if self._process is not None:
            self._process.send_signal(kind)
            self._process.wait(START_SECONDS)
            self._process = None

    def add(self, content: bytes) -> None:
        """Store an object by its REST API."""
        self.read("/instances", content)

    def get(self, path: str) -> Any:
        """Return the JSON document at a path."""
        return json.loads(self.read(path) or b"null")

    def look_up(self, uid: str) -> list[str]:
        """Return Orthanc's own names of the objects with a UID."""
        return [each["ID"] for each in json.loads(self.read("/tools/lookup", uid.encode()))]

    def count_objects(self) -> int:
        """Return how many objects it has."""
        return int(self.get("/statistics")["CountInstances"])

    def version(self) -> str:
        """Return the versions of Orthanc and its plugin."""
        plugin = self.get("/plugins/dicom-web")["Version"]
        return f"Orthanc {self.get('/system')['Version']}, DICOMweb plugin {plugin}"

    def read(self, path: str, body: bytes | None = None) -> bytes:
        """Return the answer to a GET, or to a POST of ``body``."""
        request = urllib.request.Request(f"{self.web}{path}", body)
        if self._login is not None:
            request.add_header("Authorization", f"Basic {base64.b64encode(':'.join(self._login).encode()).decode()}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            content: bytes = answer.read()
            return content
