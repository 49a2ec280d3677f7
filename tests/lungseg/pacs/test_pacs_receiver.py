"""What a DICOM node answers to those who send to it, and what it queues."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dicom_nodes import chest_image, echo, send_images
from processes import wait_for
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt

from lungseg.decode.transfer_syntaxes import TRANSFER_SYNTAXES
from lungseg.encode.dicom_object import RADIOGRAPH_CLASSES
from lungseg.pacs import bounded_association, spool
from lungseg.pacs.node_config import TlsFiles
from lungseg.pacs.node_parts import NodeParts
from lungseg.pacs.receiver import OUT_OF_RESOURCES, TOO_LARGE, Receiver

Listen = Callable[..., tuple[NodeParts, Receiver]]


@pytest.fixture
def listen(make_parts: Callable[..., NodeParts]) -> Iterator[Listen]:
    """Return a function that starts the receiving side of a node."""
    started: list[Receiver] = []

    def start(**choices: Any) -> tuple[NodeParts, Receiver]:
        parts = make_parts(**choices)
        started.append(Receiver(parts))
        return parts, started[-1]

    yield start
    for each in started:
        each.close()


def queued(parts: NodeParts) -> int:
    return parts.images.count_open()


def answers(parts: NodeParts) -> dict[str, float]:
    """Return how often each answer was counted."""
    (family,) = parts.metrics.received.collect()
    return {each.labels["answer"]: each.value for each in family.samples}


def test_echo_is_answered(listen: Listen) -> None:
    _, receiver = listen()
    assert echo(receiver.port) == 0


def test_image_is_queued_once(listen: Listen) -> None:
    parts, receiver = listen()
    image = chest_image()
    assert send_images(receiver.port, image, image) == [0, 0]
    assert send_images(receiver.port, image) == [0]
    assert queued(parts) == 1
    assert answers(parts) == {"queued": 1, "duplicate": 2}
    (file,) = (parts.config.folder / "images").iterdir()
    assert image.PixelData in file.read_bytes()


def test_file_names_and_database_identify_nobody(listen: Listen) -> None:
    parts, receiver = listen()
    image = chest_image()
    send_images(receiver.port, image)
    names = " ".join(str(path) for path in parts.config.folder.rglob("*"))
    database = b"".join(path.read_bytes() for path in parts.config.folder.glob("queue.sqlite*"))
    for secret in (image.SOPInstanceUID, image.StudyInstanceUID, "CANARY", "Canary", "MODALITY"):
        assert secret not in names
        assert secret.encode() not in database
    assert parts.config.folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("class_uid", RADIOGRAPH_CLASSES)
def test_every_radiograph_class_is_taken(listen: Listen, class_uid: str) -> None:
    parts, receiver = listen()
    assert send_images(receiver.port, chest_image(SOPClassUID=class_uid)) == [0]
    assert queued(parts) == 1


def test_every_transfer_syntax_is_offered(listen: Listen) -> None:
    _, receiver = listen()
    entity = AE("MODALITY")
    for syntax in TRANSFER_SYNTAXES:
        entity.add_requested_context(DigitalXRayImageStorageForPresentation, syntax)
    assoc = entity.associate("127.0.0.1", receiver.port, ae_title="LUNGSEG")
    assert {each.transfer_syntax[0] for each in assoc.accepted_contexts} == set(TRANSFER_SYNTAXES)
    assoc.release()


def test_ct_is_not_accepted(listen: Listen) -> None:
    _, receiver = listen()
    entity = AE("MODALITY")
    entity.add_requested_context(CTImageStorage)
    entity.add_requested_context(SecondaryCaptureImageStorage)
    assoc = entity.associate("127.0.0.1", receiver.port, ae_title="LUNGSEG")
    assert [each.abstract_syntax for each in assoc.accepted_contexts] == [SecondaryCaptureImageStorage]
    assoc.release()


def test_unknown_ae_title_is_rejected(listen: Listen) -> None:
    parts, receiver = listen(peers=frozenset({"CR1", "PACS"}))
    assert echo(receiver.port, "CR1") == 0
    assert echo(receiver.port, "CR2") is None
    assert send_images(receiver.port, chest_image(), ae_title="CR2") == [None]
    assert queued(parts) == 0


def test_associations_are_limited(listen: Listen) -> None:
    _, receiver = listen(max_associations=1)
    entity = AE("MODALITY")
    entity.add_requested_context(SecondaryCaptureImageStorage)
    first = entity.associate("127.0.0.1", receiver.port, ae_title="LUNGSEG")
    assert first.is_established
    second = entity.associate("127.0.0.1", receiver.port, ae_title="LUNGSEG")
    assert second.is_rejected
    first.release()
    wait_for(lambda: receiver.association_count == 0, 10)
    assert echo(receiver.port) == 0


def test_full_queue_is_out_of_resources(listen: Listen) -> None:
    parts, receiver = listen(max_queued=1)
    assert send_images(receiver.port, chest_image(), chest_image()) == [0, OUT_OF_RESOURCES]
    assert answers(parts) == {"queued": 1, "queue-full": 1}


def test_little_free_space_is_out_of_resources(listen: Listen) -> None:
    parts, receiver = listen(min_free_bytes=2**62)
    assert send_images(receiver.port, chest_image()) == [OUT_OF_RESOURCES]
    assert answers(parts) == {"out-of-space": 1}
    assert list((parts.config.folder / "incoming").iterdir()) == []


def test_full_disk_is_out_of_resources(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, receiver = listen()
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full, which is always full")
    real = parts.spool.open_incoming

    def open_on_full_disk() -> spool.IncomingFile:
        path = parts.config.folder / "incoming" / "full.dcm"
        path.symlink_to("/dev/full")
        return spool.IncomingFile(path)

    monkeypatch.setattr(parts.spool, "open_incoming", open_on_full_disk)
    assert send_images(receiver.port, chest_image()) == [OUT_OF_RESOURCES]
    monkeypatch.setattr(spool, "WRITE_BUFFER", 4096)  # the disk is full in the middle of the object
    assert send_images(receiver.port, chest_image()) == [OUT_OF_RESOURCES]
    monkeypatch.setattr(parts.spool, "open_incoming", real)
    assert send_images(receiver.port, chest_image()) == [0]
    assert queued(parts) == 1
    assert list((parts.config.folder / "incoming").iterdir()) == []


def test_too_large_object_is_refused(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, receiver = listen()
    monkeypatch.setattr(spool, "MAX_OBJECT_BYTES", 10_000)
    assert send_images(receiver.port, chest_image()) == [TOO_LARGE]
    monkeypatch.undo()
    assert send_images(receiver.port, chest_image()) == [0]
    assert answers(parts) == {"too-large": 1, "queued": 1}


def test_broken_connection_leaves_nothing(listen: Listen) -> None:
    parts, receiver = listen()
    image = chest_image()
    entity = AE("MODALITY")
    entity.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    parts_sent = itertools.count()

    def cut_off(event: evt.Event) -> None:
        if next(parts_sent) == 3:
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)

    handlers = [(evt.EVT_DATA_SENT, cut_off)]
    assoc = entity.associate("127.0.0.1", receiver.port, ae_title="LUNGSEG", evt_handlers=handlers)
    assoc.dimse_timeout = 1
    assert not assoc.send_c_store(image)
    incoming = parts.config.folder / "incoming"
    wait_for(lambda: not list(incoming.iterdir()), 10)
    assert queued(parts) == 0
    assert echo(receiver.port) == 0


def test_endless_pdu_is_cut_off(listen: Listen) -> None:
    _, receiver = listen()
    with socket.create_connection(("127.0.0.1", receiver.port), 5) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 2**32 - 1) + bytes(1000))
        connection.settimeout(5)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1000) == b""
    assert echo(receiver.port) == 0


def test_slow_pdu_is_cut_off(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_association, "NETWORK_SECONDS", 0.3)
    _, receiver = listen()
    with socket.create_connection(("127.0.0.1", receiver.port), 5) as connection:
        connection.sendall(struct.pack(">BBL", 1, 0, 1000))
        started = time.monotonic()
        connection.settimeout(5)
        assert connection.recv(1000) == b""
        assert time.monotonic() - started < 4


def test_data_before_association_is_refused(listen: Listen) -> None:
    _, receiver = listen()
    with socket.create_connection(("127.0.0.1", receiver.port), 5) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.settimeout(5)
        connection.recv(1000)
    assert echo(receiver.port) == 0


def test_unstored_object_is_removed_at_the_start(make_parts: Callable[..., NodeParts]) -> None:
    parts = make_parts()
    file = parts.spool.open_incoming()
    file.write(b"half of an object")
    file.close()
    (parts.config.folder / "images" / "0123.dcm").write_bytes(b"not in the database")
    parts.images.add_image("4567")
    parts.spool.image_path("4567").write_bytes(b"queued")
    assert parts.spool.remove_orphans(parts.images.needed_keys()) == 2
    assert [path.name for path in parts.config.folder.rglob("*.dcm")] == ["4567.dcm"]


def test_deflated_object_is_taken(listen: Listen) -> None:
    parts, receiver = listen()
    image = chest_image()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert send_images(receiver.port, image) == [0]
    assert queued(parts) == 1


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the certificates of an authority, a node and a modality."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    run = lambda *words: subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)  # noqa: E731
    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    run(*new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
    for name in ("node", "modality"):
        subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE")
        run(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem", *subject, *signed)
    return folder


def test_tls_needs_a_certificate_of_the_peer(listen: Listen, certificates: Path) -> None:
    import ssl

    files = {name: certificates / f"{name}" for name in ("node.pem", "node.key", "ca.pem")}
    _, receiver = listen(tls=TlsFiles(files["node.pem"], files["node.key"], files["ca.pem"]))
    trusting = ssl.create_default_context(cafile=str(files["ca.pem"]))
    assert send_images(receiver.port, chest_image()) == [None]
    trusting.load_cert_chain(certificates / "modality.pem", certificates / "modality.key")
    assert send_images(receiver.port, chest_image(), tls=(trusting, "127.0.0.1")) == [0]
    bare = ssl.create_default_context(cafile=str(files["ca.pem"]))
    assert send_images(receiver.port, chest_image(), tls=(bare, "127.0.0.1")) == [None]


def test_silent_tls_client_blocks_nobody(listen: Listen, certificates: Path) -> None:
    import ssl

    _, receiver = listen(tls=TlsFiles(certificates / "node.pem", certificates / "node.key"))
    trusting = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with socket.create_connection(("127.0.0.1", receiver.port), 5):
        assert send_images(receiver.port, chest_image(), tls=(trusting, "127.0.0.1")) == [0]
