"""A thread that takes queued images and lets a process segment them."""

from __future__ import annotations

import signal
import sys
import threading

from lungseg.pacs.image_queue import QueuedImage
from lungseg.pacs.node_parts import NodeParts, node_log, retry_pause
from lungseg.pacs.segment_process import ImageOrder, ImageOutcome, SegmentProcess


class ImageWorker(threading.Thread):
    """One thread with one process."""

    def __init__(self, parts: NodeParts, threads: int) -> None:
        """Prepare the thread.

        Args:
            parts: of the node.
            threads: cores for one image.
        """
        super().__init__(name="segment", daemon=True)
        self._parts = parts
        self._process = SegmentProcess(threads)

    def run(self) -> None:
        """Segment images until the node stops."""
        if sys.platform != "win32":
            # The process inherits this mask: Ctrl-C and SIGTERM are for the node, which lets it finish.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        self._parts.repeat_step(self.process_next, self._parts.image_bell)
        self._process.end()

    def process_next(self) -> bool:
        """Segment the image that has waited longest; return False if there is none."""
        image = self._parts.images.claim_image()
        if image is None:
            return False
        config = self._parts.config
        order = ImageOrder(config.folder, image.key, config.formats, config.sends_rejected)
        outcome = self._process.segment_image(order, config.image_seconds)
        self._record(image, outcome)
        return True

    def _record(self, image: QueuedImage, outcome: ImageOutcome) -> None:
        parts, metrics = self._parts, self._parts.metrics
        if outcome.failure:
            self._record_failure(image, outcome.failure)
            return
        metrics.segment_seconds.observe(outcome.seconds)
        if outcome.decision:
            metrics.segmented.labels(outcome.decision).inc()
        if outcome.left_alone:
            parts.images.leave_alone(image, outcome.left_alone)
            parts.spool.remove_image(image.key)
            metrics.left_alone.labels(outcome.left_alone).inc()
            node_log.info("image %d: left alone (%s), %.2f s", image.number, outcome.left_alone, outcome.seconds)
            return
        parts.images.add_results(image, outcome.results)
        parts.result_bell.set()
        formats = ", ".join(each.format_name for each in outcome.results)
        node_log.info("image %d: %s, %s, %.2f s", image.number, outcome.decision, formats, outcome.seconds)

    def _record_failure(self, image: QueuedImage, reason: str) -> None:
        parts, metrics = self._parts, self._parts.metrics
        if parts.stop.is_set():
            parts.images.release_image(image)
            return
        metrics.failures.labels(reason).inc()
        if image.tries >= parts.config.max_tries:
            parts.images.bury_image(image, reason)
            metrics.dead.labels(reason).inc()
            node_log.error("image %d: given up after %d tries (%s)", image.number, image.tries, reason)
            return
        pause = retry_pause(image.tries)
        parts.images.postpone_image(image, reason, pause)
        node_log.warning("image %d: failed (%s), again in %.0f s", image.number, reason, pause)
