"""Other DICOM nodes for the tests of `lungseg.pacs`: a modality that sends images, and a PACS that takes results."""

from __future__ import annotations

import functools
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from films import dicom, packaged
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)
from pynetdicom.transport import AssociationSocket

from lungseg.decode import decode
from lungseg.encode.formats import DICOM_FORMATS, FORMATS
from lungseg.pacs.bounded_association import close_connection

assert AssociationSocket._shutdown_socket is close_connection, "pynetdicom's own leaves sockets open"

CHEST = {
    "Modality": "CR",
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "PatientName": "Canary^Patient",
    "PatientID": "CANARY-ID",
    "PixelSpacing": [0.8, 0.8],
}


@functools.cache
def chest_pixels(side: int = 512) -> np.ndarray:
    """Return RG1, reduced to so many rows, as 16 bits."""
    pixels = decode(packaged("RG1_UNCR.dcm").read_bytes()).pixels
    image = Image.fromarray(pixels.astype(np.float32)).resize((side * pixels.shape[1] // pixels.shape[0], side))
    return np.asarray(image).astype(np.uint16)


def chest_image(**elements: Any) -> Dataset:
    """Return a chest radiograph with UIDs of its own."""
    uids = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
    return dcmread(io.BytesIO(dicom(chest_pixels(), **(CHEST | uids | elements))))


def send_images(
    port: int, *images: Dataset, ae_title: str = "MODALITY", called: str = "LUNGSEG", tls: Any = None
) -> list[int | None]:
    """Send images over one association; return the status of each, or None if there was no answer."""
    entity = AE(ae_title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    for class_uid, syntax in dict.fromkeys((each.SOPClassUID, each.file_meta.TransferSyntaxUID) for each in images):
        entity.add_requested_context(class_uid, syntax)
    assoc = entity.associate("127.0.0.1", port, ae_title=called, tls_args=tls)
    if not assoc.is_established:
        return [None for _ in images]
    statuses = [assoc.send_c_store(each) for each in images]
    assoc.release()
    return [status.Status if status else None for status in statuses]


def echo(port: int, ae_title: str = "MODALITY") -> int | None:
    """Send C-ECHO; return its status, or None if the association was not accepted."""
    entity = AE(ae_title)
    entity.add_requested_context(Verification)
    assoc = entity.associate("127.0.0.1", port, ae_title="LUNGSEG")
    if not assoc.is_established:
        return None
    status = assoc.send_c_echo()
    assoc.release()
    return int(status.Status)


@dataclass
class SmallPacs:
    """A PACS in this process.

    Attributes:
        port: where it listens.
        stored: the objects by SOP Instance UID.
        received: how often each SOP Instance UID was sent to it.
        answer: returns the status for an object.
        lacks: SOP Instance UIDs for which it denies commitment.
        report: whether and how it reports commitment: called with the report.
    """

    port: int = 0
    stored: dict[str, Dataset] = field(default_factory=dict)
    received: Counter[str] = field(default_factory=Counter)
    answer: Callable[[evt.Event], int] = lambda _: 0
    lacks: set[str] = field(default_factory=set)
    report: Callable[[Dataset], None] | None = None

    def store(self, event: evt.Event) -> int:
        """Answer C-STORE."""
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        self.received[dataset.SOPInstanceUID] += 1
        status = self.answer(event)
        if status in (0, 0xB000):
            self.stored[dataset.SOPInstanceUID] = dataset
        return status

    def find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        """Answer C-FIND for one object."""
        query = event.identifier
        found = self.stored.get(query.SOPInstanceUID)
        if found is not None and found.StudyInstanceUID == query.StudyInstanceUID:
            yield 0xFF00, query
        yield 0x0000, None

    def commit(self, event: evt.Event) -> tuple[int, Dataset | None]:
        """Answer a request of commitment, and report on an association of its own, as Orthanc does."""
        request = event.action_information
        answer = Dataset()
        answer.TransactionUID = request.TransactionUID
        held, failed = [], []
        for item in request.ReferencedSOPSequence:
            is_held = item.ReferencedSOPInstanceUID in self.stored and item.ReferencedSOPInstanceUID not in self.lacks
            (held if is_held else failed).append(item)
        for item in failed:
            item.FailureReason = 0x0112
        answer.ReferencedSOPSequence = held
        if failed:
            answer.FailedSOPSequence = failed
        if self.report:
            threading.Timer(0.1, self.report, [answer]).start()
        return 0x0000, None


def send_report(port: int, report: Dataset, ae_title: str = "PACS") -> int | None:
    """Send a report of commitment to a node, on a new association; return the status."""
    from pynetdicom import build_role

    entity = AE(ae_title)
    entity.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    assoc = entity.associate("127.0.0.1", port, ae_title="LUNGSEG", ext_neg=[role])
    if not assoc.is_established:
        return None
    kind = 2 if "FailedSOPSequence" in report else 1
    status, _ = assoc.send_n_event_report(report, kind, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1")
    assoc.release()
    return status.Status if status else None


@contextmanager
def small_pacs(port: int = 0, finds: bool = True) -> Iterator[SmallPacs]:
    """Run a small PACS with the AE title PACS; port 0 is any free one."""
    pacs = SmallPacs()
    entity = AE("PACS")
    entity.add_supported_context(Verification)
    for class_uid in (ComputedRadiographyImageStorage, *(FORMATS[name].sop_class for name in DICOM_FORMATS)):
        entity.add_supported_context(class_uid, ExplicitVRLittleEndian)
    if finds:
        entity.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    entity.add_supported_context(StorageCommitmentPushModel)
    handlers = [
        (evt.EVT_C_STORE, pacs.store),
        (evt.EVT_C_FIND, pacs.find),
        (evt.EVT_N_ACTION, pacs.commit),
    ]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    assert server is not None
    pacs.port = server.server_address[1]
    try:
        yield pacs
    finally:
        entity.shutdown()
