"""Associations with the node that results are sent to."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
)

from lungseg.pacs.bounded_association import NETWORK_SECONDS
from lungseg.pacs.node_config import NodeConfig

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 120.0
"""How long the destination has to store an object."""

NATIVE_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
"""Every node reads the second one (PS3.5 section 10.1); pynetdicom converts between them."""

PENDING = (0xFF00, 0xFF01)
"""Status codes of C-FIND with a match."""


class DestinationError(Exception):
    """There is no association with the destination.

    Attributes:
        code: why, a stable code.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Destination:
    """The node that results are sent to."""

    def __init__(self, config: NodeConfig) -> None:
        """Prepare to connect.

        Raises:
            OSError, ssl.SSLError: the certificate cannot be used.
        """
        self._remote = config.destination
        self._context = config.tls.client_context() if config.tls and config.has_tls_destination else None
        if config.has_tls_destination and self._context is None:
            self._context = ssl.create_default_context()
        self._entity = ApplicationEntity(config.ae_title)
        self._entity.connection_timeout = CONNECT_SECONDS
        self._entity.acse_timeout = self._entity.network_timeout = NETWORK_SECONDS
        self._entity.dimse_timeout = ANSWER_SECONDS

    @contextmanager
    def connect(self, objects: Collection[tuple[str, str]], finds: bool, commits: bool) -> Iterator[Association]:
        """Yield an association, which ends with the block.

        Args:
            objects: SOP class and transfer syntax of what is sent.
            finds, commits: whether to ask for C-FIND and storage commitment as well.

        Raises:
            DestinationError.
        """
        contexts = []
        for class_uid in dict.fromkeys(class_uid for class_uid, _ in objects):
            contexts.append(build_context(class_uid, [*NATIVE_SYNTAXES]))
        for class_uid, syntax in dict.fromkeys(objects):
            if syntax not in NATIVE_SYNTAXES:
                contexts.append(build_context(class_uid, syntax))
        if finds:
            contexts.append(build_context(StudyRootQueryRetrieveInformationModelFind))
        if commits:
            contexts.append(build_context(StorageCommitmentPushModel))
        tls = None if self._context is None else (self._context, self._remote.host)
        try:
            assoc = self._entity.associate(
                self._remote.host, self._remote.port, contexts, ae_title=self._remote.ae_title, tls_args=tls
            )
        except (OSError, RuntimeError):
            raise DestinationError("unreachable") from None
        if not assoc.is_established:
            if assoc.is_rejected:
                raise DestinationError("association-rejected")
            raise DestinationError("association-aborted" if assoc.is_aborted else "unreachable")
        if assoc.dul.socket is not None and assoc.dul.socket.socket is not None:
            # Without it, a peer that falls silent within a PDU would block this thread for ever.
            assoc.dul.socket.socket.settimeout(NETWORK_SECONDS)
        try:
            yield assoc
        finally:
            with contextlib.suppress(Exception):
                if assoc.is_established:
                    assoc.release()


def fit_syntax(assoc: Association, dataset: Dataset) -> None:
    """Decompress an object if the destination does not take its transfer syntax; it stays the same object.

    Raises:
        Exception: it cannot be decompressed; of any type.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    accepted = {
        each.transfer_syntax[0] for each in assoc.accepted_contexts if each.abstract_syntax == dataset.SOPClassUID
    }
    if syntax.is_compressed and accepted and syntax not in accepted:
        dataset.decompress(generate_instance_uid=False)


def has_instance(assoc: Association, header: Dataset) -> bool:
    """Return whether the destination lists an object; False if it does not answer queries.

    Args:
        header: with the object's UIDs.
    """
    model = StudyRootQueryRetrieveInformationModelFind
    if not any(each.abstract_syntax == model for each in assoc.accepted_contexts):
        return False
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(query, keyword, UID(header[keyword].value))
    found = False
    for status, match in assoc.send_c_find(query, model):
        if status and status.Status in PENDING and match is not None:
            found = found or match.get("SOPInstanceUID") == query.SOPInstanceUID
    return found
