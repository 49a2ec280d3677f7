"""Counts and times of a DICOM node for Prometheus, and its address for them. No label names a patient or an image."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from lungseg.pacs.queue_report import QueueReport

disable_created_metrics()  # type: ignore[no-untyped-call] # twice as many lines, for nothing that a node does not tell elsewhere

HTTP_SECONDS = 10
"""Longest silence of a client of /health and /metrics."""


class NodeMetrics:
    """The metrics of one node, counted from its start; those of the queue are read when they are asked for."""

    def __init__(self, read_queue: Callable[[], QueueReport]) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_QueueCollector(read_queue))

        def counter(name: str, meaning: str, *labels: str) -> Counter:
            return Counter(f"lungseg_pacs_{name}", meaning, labels, registry=self.registry)

        self.received = counter("received", "Objects sent to the node, by its answer.", "answer")
        self.refused = counter("refused_associations", "Connections and associations that were refused.", "reason")
        self.segmented = counter("segmented", "Images segmented, by verdict.", "decision")
        self.left_alone = counter("left_alone", "Images for which nothing is sent.", "reason")
        self.sent = counter("sent", "Results that the destination stored.", "format")
        self.committed = counter("committed", "Results that the destination committed to keep.", "format")
        self.failures = counter("failures", "Failed tries of an image, a result or the connection.", "reason")
        self.dead = counter("dead_letters", "Images and results given up.", "reason")
        self.receive_seconds = Histogram(
            "lungseg_pacs_receive_seconds", "From a complete object to the answer.", registry=self.registry
        )
        self.segment_seconds = Histogram(
            "lungseg_pacs_segment_seconds", "Time to segment an image and write its results.", registry=self.registry
        )
        self.send_seconds = Histogram(
            "lungseg_pacs_send_seconds", "Time to send a result, until the answer.", registry=self.registry
        )
        self.destination_up = Gauge(
            "lungseg_pacs_destination_up", "1 if the last association with it was accepted.", registry=self.registry
        )

    def page(self) -> bytes:
        """Return the metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class _QueueCollector(Collector):
    def __init__(self, read_queue: Callable[[], QueueReport]) -> None:
        self._read_queue = read_queue

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges of the queue."""
        report = self._read_queue()
        for name, counts in {"images": report.images, "results": report.results}.items():
            family = GaugeMetricFamily(f"lungseg_pacs_{name}", f"The queue's {name} by state.", labels=["state"])
            for state, count in counts.items():
                family.add_metric([state], count)
            yield family
        oldest = report.oldest_seconds or 0.0
        yield GaugeMetricFamily("lungseg_pacs_oldest_seconds", "Age of the oldest image not done.", value=oldest)

    def describe(self) -> list[Metric]:
        """Return nothing: the queue cannot be read before the node runs."""
        return []


class NodeHttp:
    """GET /health and GET /metrics."""

    def __init__(self, host: str, port: int, metrics: NodeMetrics, read_health: Callable[[], dict[str, Any]]) -> None:
        """Bind the port; 0 is any free one.

        Raises:
            OSError: the port is in use.
        """

        class Handler(BaseHTTPRequestHandler):
            timeout = HTTP_SECONDS
            server_version, sys_version = "lungseg", ""

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, metrics.page())
                elif self.path == "/health":
                    health = read_health()
                    status = 200 if health["status"] == "ok" else 503
                    self._answer(status, "application/json", json.dumps(health).encode())
                else:
                    self._answer(404, "text/plain; charset=utf-8", b"There are /health and /metrics.\n")

            def _answer(self, status: int, media_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the name of the base class
                """Log no request."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Answer requests."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
