"""`lungseg pacs serve` in its own process, which tests kill and start again."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

from processes import command, wait_for

from lungseg.pacs.queue_database import QueueDatabase
from lungseg.pacs.queue_report import QueueReport, read_report


class NodeProcess:
    """`lungseg pacs serve` in its own process."""

    def __init__(self, folder: Path, destination: str, *options: str) -> None:
        self.folder, self._to, self._options = folder, destination, options
        self.log = folder.parent / "node.log"
        self.port, self.http_port = free_port(), free_port()
        self._starts = 0
        self.start()

    def start(self) -> None:
        """Start it, and wait until it receives."""
        options = ["--to", self._to, "--folder", self.folder, "--port", self.port, "--http-port", self.http_port]
        self._starts += 1
        line = command("pacs", "serve", *options, "--min-free", "1", *self._options)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(line, stderr=log, env=os.environ | {"LUNG_THREADS": "1"})
        wait_for(lambda: self.log.read_text().count("receives on") == self._starts or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def end(self, kind: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal; return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(kind)
        return self.process.wait(30)

    def report(self) -> QueueReport:
        """Return the state of its queue."""
        time.sleep(0.1)  # this is asked in loops
        database = QueueDatabase(self.folder / "queue.sqlite")
        try:
            return read_report(database)
        finally:
            database.close()

    def get(self, path: str) -> bytes:
        """Return an answer of its HTTP address."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=5) as answer:
            return bytes(answer.read())


def free_port() -> int:
    """Return a port that no connection of another process gets by chance."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
