"""A DICOM node from its start to its end."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import Any

from lungseg.model.models import Models
from lungseg.model.session import thread_count
from lungseg.pacs.destination import Destination
from lungseg.pacs.image_queue import ImageQueue
from lungseg.pacs.image_worker import ImageWorker
from lungseg.pacs.node_config import NodeConfig
from lungseg.pacs.node_metrics import NodeHttp, NodeMetrics
from lungseg.pacs.node_parts import NodeParts, node_log
from lungseg.pacs.queue_database import QueueDatabase
from lungseg.pacs.queue_report import read_report
from lungseg.pacs.receiver import Receiver
from lungseg.pacs.result_queue import ResultQueue
from lungseg.pacs.sender import ResultSender
from lungseg.pacs.spool import NodeSpool
from lungseg.pipeline.options import Options
from lungseg.pipeline.recipe import Recipe

STOP_SECONDS = 20.0
"""How long the threads have at the end. An image or a result that is not finished then is queued again at the start."""

KEEP_SECONDS = 90 * 86_400.0
"""How long the node remembers an image that is done, so that it does nothing if it is sent again."""


class DicomNode:
    """A running node.

    Attributes:
        port: where it listens for DICOM.
        http_port: where it listens for HTTP; None if it does not.
    """

    def __init__(self, config: NodeConfig) -> None:
        """Start the node.

        Raises:
            NodeFolderInUse: another node uses the folder.
            ModelError: a model cannot be loaded.
            OSError, ssl.SSLError: a port, a certificate or the folder cannot be used.
            sqlite3.Error: the database cannot be used.
        """
        recipe = Recipe(Options(), Models().digests).digest(*config.formats, str(config.sends_rejected))
        spool = NodeSpool(config.folder)
        with contextlib.ExitStack() as stack:
            spool.lock()
            stack.callback(spool.unlock)
            database = QueueDatabase(spool.database)
            stack.callback(database.close)
            metrics = NodeMetrics(lambda: read_report(database))
            images, results = ImageQueue(database), ResultQueue(database)
            self._parts = NodeParts(config, recipe, spool, database, images, results, metrics)
            self._recover()
            self._sender = ResultSender(self._parts, Destination(config))
            threads = max(1, thread_count() // config.workers)
            workers = [ImageWorker(self._parts, threads) for _ in range(config.workers)]
            self._threads: list[threading.Thread] = [*workers, self._sender]
            self._http = None
            if config.http_port is not None:
                self._http = NodeHttp(config.http_host, config.http_port, metrics, self.read_health)
                stack.callback(self._http.close)
            self._receiver = Receiver(self._parts)
            stack.pop_all()
        for each in self._threads:
            each.start()
        if self._http:
            self._http.start()
        self.port = self._receiver.port
        self.http_port = self._http.port if self._http else None

    @property
    def is_healthy(self) -> bool:
        """Whether all its threads run."""
        return self._receiver.is_alive and all(each.is_alive() for each in self._threads)

    def read_health(self) -> dict[str, Any]:
        """Return what /health answers: whether the node works, and whether the destination can be reached."""
        try:
            queued = self._parts.images.count_open()
        except sqlite3.Error:
            return {"status": "failed", "reason": "queue-unreadable"}
        return {
            "status": "ok" if self.is_healthy else "failed",
            "destination": "unreachable" if self._sender.failed_connections else "reachable",
            "queued": queued,
        }

    def close(self) -> None:
        """Stop receiving, let the threads end what they are doing, and end."""
        self._parts.request_stop()
        self._receiver.close()
        deadline = time.monotonic() + STOP_SECONDS
        for each in self._threads:
            each.join(max(0.0, deadline - time.monotonic()))
        if self._http:
            self._http.close()
        if not any(each.is_alive() for each in self._threads):
            self._parts.database.close()
            self._parts.spool.unlock()

    def _recover(self) -> None:
        parts = self._parts
        resumed = parts.database.recover(parts.config.max_tries)
        parts.database.prune(KEEP_SECONDS)
        removed = parts.spool.remove_orphans(parts.images.needed_keys())
        if resumed or removed:
            node_log.info("resumed: %d images and results queued again, %d partial files removed", resumed, removed)
