"""The receiving side of a DICOM node: C-ECHO, C-STORE, and reports of storage commitment."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import threading
import time
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import _config as pynetdicom_config
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # type: ignore[attr-defined]

from lungseg.decode.transfer_syntaxes import TRANSFER_SYNTAXES
from lungseg.encode.dicom_object import RADIOGRAPH_CLASSES
from lungseg.pacs.bounded_association import (
    MAX_PDU,
    NETWORK_SECONDS,
    BoundedDimse,
    NodeEntity,
    NodeRequestHandler,
    NodeServer,
)
from lungseg.pacs.commitment import record_report
from lungseg.pacs.node_parts import NodeParts, node_log
from lungseg.pacs.spool import IncomingFile

STORED = 0x0000
OUT_OF_RESOURCES = 0xA700
TOO_LARGE = 0xC001
"""Status codes of C-STORE (PS3.4 section B.2.3); an object that is too large will always be."""

STATUSES = {"queued": STORED, "duplicate": STORED, "too-large": TOO_LARGE}
"""The answer to an object, by what became of it; everything else is a lack of resources."""

INVALID_ARGUMENT = 0x0115
"""Status code of N-EVENT-REPORT (PS3.7 section 10.1.1)."""

POLL_SECONDS = 0.1
"""How soon the node notices that it should stop listening."""

DRAIN_SECONDS = 5.0
"""How long the node waits at its end for objects that are being received."""


class Receiver:
    """Listens for other DICOM nodes."""

    def __init__(self, parts: NodeParts) -> None:
        """Listen.

        Raises:
            OSError: the port is in use; ssl.SSLError: the certificate cannot be used.
        """
        self._parts, config = parts, parts.config
        pynetdicom_config.STORE_RECV_CHUNKED_DATASET = True  # to the disk as it arrives
        pynetdicom_config.LOG_HANDLER_LEVEL = "none"
        entity = NodeEntity(config.ae_title, parts.spool)
        entity.maximum_pdu_size = MAX_PDU
        entity.maximum_associations = config.max_associations
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = NETWORK_SECONDS
        if config.peers:
            reporters = {config.destination.ae_title} if config.commits else set()
            entity.require_calling_aet = sorted(config.peers | reporters)
        entity.add_supported_context(Verification)
        for class_uid in RADIOGRAPH_CLASSES:
            entity.add_supported_context(class_uid, [*TRANSFER_SYNTAXES])
        if config.commits:
            # The peer is the one that provides storage commitment, and says so by role selection.
            entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_C_ECHO, lambda _: STORED),
            (evt.EVT_C_STORE, self._receive_object),
            (evt.EVT_N_EVENT_REPORT, self._receive_report),
            (evt.EVT_CONN_CLOSE, _drop_incomplete),
            (evt.EVT_REJECTED, self._count_rejection),
        ]
        context = config.tls.server_context() if config.tls else None
        self._server = entity.make_server(
            (config.host, config.port),
            evt_handlers=handlers,
            ssl_context=context,
            server_class=NodeServer,
            request_handler=NodeRequestHandler,
            metrics=parts.metrics,
        )
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_SECONDS,), name="dicom", daemon=True
        )
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether connections are accepted."""
        return self._thread.is_alive()

    @property
    def association_count(self) -> int:
        """The number of associations."""
        return len(self._server.active_associations)

    def close(self) -> None:
        """Stop listening; let peers end what they are sending, for a few seconds."""
        associations = self._server.active_associations
        with contextlib.suppress(ValueError, OSError):
            self._server.shutdown()
        deadline = time.monotonic() + DRAIN_SECONDS
        while any(_is_receiving(each) for each in associations) and time.monotonic() < deadline:
            time.sleep(0.02)
        for each in associations:
            if each.is_established:
                each.abort(block=False)

    def _receive_object(self, event: evt.Event) -> int:
        started = time.monotonic()
        dimse = event.assoc.dimse
        assert isinstance(dimse, BoundedDimse)
        file = dimse.take_incoming(str(event.dataset_path))
        try:
            answer = file.fault or self._lack_of_room() or self._queue_file(file)
        except (OSError, sqlite3.Error):
            answer = "disk-error"
        finally:
            file.remove()
        self._parts.metrics.received.labels(answer).inc()
        self._parts.metrics.receive_seconds.observe(time.monotonic() - started)
        return STATUSES.get(answer, OUT_OF_RESOURCES)

    def _lack_of_room(self) -> str:
        """Return why no further image is taken; empty if there is room."""
        if self._parts.stop.is_set():
            return "stopping"
        if self._parts.images.count_open() >= self._parts.config.max_queued:
            return "queue-full"
        if self._parts.spool.free_bytes() < self._parts.config.min_free_bytes:
            return "out-of-space"
        return ""

    def _queue_file(self, file: IncomingFile) -> str:
        """Queue a complete file; when this returns, it is on the disk."""
        parts = self._parts
        digest = file.complete()
        key = hashlib.sha256(f"{digest} {parts.recipe}".encode()).hexdigest()
        if parts.images.has_image(key):
            return "duplicate"
        parts.spool.keep_incoming(file, key)
        if not parts.images.add_image(key):
            return "duplicate"
        parts.image_bell.set()
        return "queued"

    def _receive_report(self, event: evt.Event) -> tuple[int, Dataset | None]:
        try:
            record_report(self._parts, event.event_information)
        except Exception as error:  # of any type, for what a peer sends
            node_log.warning("a report of storage commitment cannot be used (%s)", type(error).__name__)
            return INVALID_ARGUMENT, None
        return STORED, None

    def _count_rejection(self, event: evt.Event) -> None:
        self._parts.metrics.refused.labels("association-rejected").inc()


def _is_receiving(assoc: Association) -> bool:
    """Return whether an object is on its way, or not answered yet."""
    return assoc.is_alive() and isinstance(assoc.dimse, BoundedDimse) and bool(assoc.dimse.incoming)


def _drop_incomplete(event: evt.Event) -> Any:
    """Delete what a peer did not send to the end. It got no answer, so it will send it again."""
    if isinstance(event.assoc.dimse, BoundedDimse):
        event.assoc.dimse.drop_incoming()
