"""Limits on what a peer can make a DICOM node hold or wait for: pynetdicom negotiates some, and enforces none."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import tempfile
import threading
import time
from typing import Any

from pynetdicom import dimse_messages
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from lungseg.pacs.node_metrics import NodeMetrics
from lungseg.pacs.spool import IncomingFile, NodeSpool

MAX_PDU = 2**17
"""Bytes of a PDU that the node asks for."""

MAX_PDU_READ = 2**20
"""Bytes of a PDU that it reads: a request of an association may be longer than a PDU of data."""

MAX_COMMAND, MAX_OTHER_DATASET = 2**16, 2**20
"""Bytes of a command, and of a data set that is not written to a file: a report of commitment has a few hundred."""

MAX_PIPELINED = 2
"""Requests that a peer may send before the previous one is answered; none may, as we do not negotiate it."""

NETWORK_SECONDS = 60.0
"""Longest time for one PDU, for a TLS handshake, and between two requests."""

MAX_STRANGERS = 32
"""Connections beyond the associations that are allowed: they are told so, which takes a moment."""

logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)  # it logs AE titles, UIDs and data sets


class NodeEntity(ApplicationEntity):
    """The node as an application entity.

    Attributes:
        spool: where its associations write the objects that they receive.
    """

    def __init__(self, ae_title: str, spool: NodeSpool) -> None:
        super().__init__(ae_title)
        self.spool = spool


class BoundedDimse(DIMSEServiceProvider):
    """Receives the messages of one association, and aborts it if one is malformed or too large.

    Attributes:
        incoming: the files of objects that were not stored yet.
    """

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self.incoming: list[IncomingFile] = []

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Add a part to the message that is being received."""
        try:
            super().receive_primitive(primitive)
            is_valid = self._is_within_limits()
        except Exception:  # anything, for what a peer sends; it would end the thread and print what it is
            is_valid = False
        if not is_valid:
            self.message = None
            self.dul.event_queue.put("Evt19")  # as for an unrecognised PDU: abort

    def take_incoming(self, path: str) -> IncomingFile:
        """Return the file of a complete object."""
        (found,) = (each for each in self.incoming if each.name == path)
        self.incoming.remove(found)
        return found

    def drop_incoming(self) -> None:
        """Delete the files of objects that will not be complete."""
        for each in self.incoming:
            each.remove()
        self.incoming.clear()

    def _is_within_limits(self) -> bool:
        if self.msg_queue.qsize() > MAX_PIPELINED:
            return False
        if self.message is None:
            return True
        dataset = self.message.data_set
        return self.message.encoded_command_set.tell() <= MAX_COMMAND and (
            dataset is None or not hasattr(dataset, "tell") or dataset.tell() <= MAX_OTHER_DATASET
        )


class NodeRequestHandler(RequestHandler):
    """Answers one connection."""

    def handle(self) -> None:
        """Do the TLS handshake, if any, and start the association."""
        server = self.server
        assert isinstance(server, NodeServer)
        if server.ssl_context is not None:
            self.request = server.ssl_context.wrap_socket(self.request, server_side=True)
        super().handle()

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        assoc.dimse = BoundedDimse(assoc)
        assoc.dul.daemon = True  # a silent peer must not keep the node from ending
        connection = assoc.dul.socket
        assert connection is not None
        connection.recv = functools.partial(read_bounded, connection)  # type: ignore[method-assign]
        return assoc


class NodeServer(ThreadedAssociationServer):
    """Accepts connections."""

    daemon_threads = True

    def __init__(self, *arguments: Any, metrics: NodeMetrics, **options: Any) -> None:
        self._metrics = metrics
        super().__init__(*arguments, **options)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. The TLS handshake is left to its own thread: a silent peer would block all others."""
        assert self.socket is not None
        connection, address = self.socket.accept()
        connection.settimeout(NETWORK_SECONDS)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return whether there are few enough connections to read what this one wants."""
        handlers = sum(1 for each in threading.enumerate() if "process_request_thread" in each.name)
        has_room = len(self.active_associations) + handlers < self.ae.maximum_associations + MAX_STRANGERS
        if not has_room:
            self._metrics.refused.labels("too-many-connections").inc()
        return has_room

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Count a connection that failed before there was an association."""
        self._metrics.refused.labels("connection-failed").inc()


def read_bounded(connection: AssociationSocket, count: int) -> bytearray:
    """Read so many bytes, in at most NETWORK_SECONDS; fewer if the peer closes the connection.

    Raises:
        OSError: it takes longer, or they are too many.
    """
    if count > MAX_PDU_READ:
        raise OSError("the PDU is too long")
    deadline = time.monotonic() + NETWORK_SECONDS
    source, data = connection.socket, bytearray(count)
    assert source is not None
    view, done = memoryview(data), 0
    while done < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the PDU takes too long")
        source.settimeout(left)
        received = source.recv_into(view[done:])
        if not received:
            break
        done += received
    source.settimeout(NETWORK_SECONDS)
    view.release()
    del data[done:]
    return data


def open_received_file(*arguments: Any, **options: Any) -> Any:
    """Return where pynetdicom writes an object that it receives; for associations of a node, a file of its spool."""
    thread = threading.current_thread()
    assoc = thread.assoc if isinstance(thread, DULServiceProvider) else None
    if assoc is None or not isinstance(assoc.ae, NodeEntity):
        return tempfile.NamedTemporaryFile(*arguments, **options)
    assert isinstance(assoc.dimse, BoundedDimse)
    file = assoc.ae.spool.open_incoming()
    assoc.dimse.incoming.append(file)
    return file


def close_connection(connection: AssociationSocket) -> None:
    """Close a socket, whatever its peer did before."""
    if connection.socket is not None:
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            connection.socket.close()


# pynetdicom leaves a socket open that its peer closed first.
AssociationSocket._shutdown_socket = close_connection  # type: ignore[assignment, method-assign]

# pynetdicom has no setting for where it writes: it would be /tmp, often in memory, where a full disk ends a thread.
dimse_messages.NamedTemporaryFile = open_received_file  # type: ignore[attr-defined]
