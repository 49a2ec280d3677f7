"""A thread that sends results to the destination."""

from __future__ import annotations

import threading
import time

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pynetdicom.association import Association

from lungseg.pacs.commitment import repeat_later, repeat_overdue, request_commitment
from lungseg.pacs.destination import Destination, DestinationError, fit_syntax, has_instance
from lungseg.pacs.node_parts import NodeParts, node_log, retry_pause
from lungseg.pacs.result_queue import QueuedResult

MAX_BATCH = 32
"""Results for one association."""

STORED_STATUSES = (0x0000, 0x0111, 0xB000, 0xB006, 0xB007)
"""Success, an instance that is stored already, and warnings: coerced or discarded elements, an unexpected data set."""


class ResultSender(threading.Thread):
    """Sends results, oldest first, and asks for storage commitment."""

    def __init__(self, parts: NodeParts, destination: Destination) -> None:
        super().__init__(name="send", daemon=True)
        self._parts = parts
        self._destination = destination
        self._failed_connections = 0
        self._not_before = 0.0

    @property
    def failed_connections(self) -> int:
        """How many associations failed in a row."""
        return self._failed_connections

    def run(self) -> None:
        """Send results until the node stops."""
        self._parts.repeat_step(self.send_batch, self._parts.result_bell)

    def send_batch(self) -> bool:
        """Send the results that are due; return False if there is nothing to do now."""
        parts = self._parts
        if time.monotonic() < self._not_before:
            return False
        repeat_overdue(parts)
        waiting = parts.results.claim_results(MAX_BATCH)
        stored = parts.results.claim_stored(MAX_BATCH) if parts.config.commits else []
        if not waiting and not stored:
            return False
        unsent = dict.fromkeys(waiting)
        try:
            loaded = {each: dataset for each in waiting if (dataset := self._load(each)) is not None}
            for each in waiting:
                if each not in loaded:
                    del unsent[each]
            if not loaded and not stored:
                return True
            objects = [(each.class_uid, dataset.file_meta.TransferSyntaxUID) for each, dataset in loaded.items()]
            finds = any(each.is_unsure for each in loaded)
            with self._destination.connect(objects, finds, parts.config.commits) as assoc:
                self._failed_connections = 0
                parts.metrics.destination_up.set(1)
                for each, dataset in loaded.items():
                    if parts.stop.is_set() or not assoc.is_established:
                        break
                    del unsent[each]
                    if self._send(assoc, each, dataset):
                        stored.append(each)
                if parts.config.commits and stored and assoc.is_established:
                    self._ask(assoc, stored)
        except DestinationError as error:
            self._failed_connections += 1
            pause = retry_pause(self._failed_connections)
            self._not_before = time.monotonic() + pause
            parts.metrics.destination_up.set(0)
            parts.metrics.failures.labels(error.code).inc()
            node_log.warning("destination: %s, again in %.0f s", error.code, pause)
        finally:
            parts.results.release_results(unsent)
        return True

    def _load(self, result: QueuedResult) -> FileDataset | None:
        """Return a result's object; None, and a counted try, if its file is gone."""
        try:
            return dcmread(self._parts.spool.result_path(result.key, result.format_name))
        except Exception:  # the disk's fault, of any type
            self._refuse(result, "file-unreadable")
            return None

    def _send(self, assoc: Association, result: QueuedResult, dataset: FileDataset) -> bool:
        """Send one result; return whether the destination has it."""
        started = time.monotonic()
        try:
            if not (result.is_unsure and has_instance(assoc, dataset)):
                fit_syntax(assoc, dataset)
                answer = assoc.send_c_store(dataset)
                if not answer:
                    self._refuse(result, "no-answer", is_unsure=True)
                    return False
                if answer.Status not in STORED_STATUSES:
                    self._refuse(result, f"refused-{answer.Status:04x}")
                    return False
        except RuntimeError:  # the association has ended
            self._refuse(result, "no-answer", is_unsure=True)
            return False
        except ValueError:
            self._refuse(result, "class-not-accepted")
            return False
        parts = self._parts
        if parts.results.store_result(result, parts.config.commits):
            parts.spool.remove_image(result.key)
        parts.metrics.sent.labels(result.format_name).inc()
        parts.metrics.send_seconds.observe(time.monotonic() - started)
        node_log.info("image %d: %s stored, %.2f s", result.number, result.format_name, time.monotonic() - started)
        return True

    def _ask(self, assoc: Association, stored: list[QueuedResult]) -> None:
        try:
            request_commitment(self._parts, assoc, stored)
        except (RuntimeError, ValueError):
            for each in stored:
                repeat_later(self._parts, each, "commitment-not-accepted")

    def _refuse(self, result: QueuedResult, reason: str, is_unsure: bool = False) -> None:
        """Count a try of a result."""
        parts = self._parts
        parts.metrics.failures.labels(reason).inc()
        pause = retry_pause(result.tries + 1)
        if parts.results.refuse_result(result, reason, pause, parts.config.max_tries, is_unsure):
            parts.metrics.dead.labels(reason).inc()
            node_log.error("image %d: %s given up (%s)", result.number, result.format_name, reason)
        else:
            node_log.warning(
                "image %d: %s not stored (%s), again in %.0f s", result.number, result.format_name, reason, pause
            )
