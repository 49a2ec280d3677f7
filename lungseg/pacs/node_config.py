"""What a DICOM node is told: its AE title and port, who may send to it, and where its results go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl

DEFAULT_AE_TITLE = "LUNGSEG"
DEFAULT_NODE_FOLDER = Path("lungseg-pacs")
DEFAULT_DICOM_PORT = 11112
"""The registered port of DICOM for processes without privileges (PS3.8 section 9.1.1)."""

AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
"""Printable ASCII without the backslash (PS3.5 section 6.2)."""

MAX_PORT = 65_535


@dataclass(frozen=True)
class RemoteNode:
    """Another DICOM node.

    Attributes:
        ae_title: its AE title.
        host, port: where it listens.
    """

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> RemoteNode:
        """Read AET@HOST:PORT; an IPv6 address is in brackets.

        Raises:
            ValueError: its text says what is wrong.
        """
        title, at, address = text.rpartition("@")
        host, colon, port = address.rpartition(":")
        if not at or not colon or not host.strip("[]"):
            raise ValueError(f"{text!r} is not AET@HOST:PORT, as in PACS@pacs.example.org:104")
        if not port.isdecimal() or not 0 < int(port) <= MAX_PORT:
            raise ValueError(f"{port!r} is not a port from 1 to {MAX_PORT}")
        return cls(check_ae_title(title), host.strip("[]"), int(port))


@dataclass(frozen=True)
class TlsFiles:
    """Certificates in PEM files.

    Attributes:
        certificate, key: of this node.
        authorities: certificates that other nodes' must be signed by; None if others need none, and for the system's
            own to check the destination.
    """

    certificate: Path
    key: Path
    authorities: Path | None = None

    def server_context(self) -> ssl.SSLContext:
        """Return how the node answers: TLS 1.2 or later; with ``authorities``, peers need a certificate.

        Raises:
            OSError, ssl.SSLError: a file cannot be read, or is not PEM.
        """
        import ssl

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self._authorities_file())
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        if self.authorities:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return how the node connects to the destination, whose certificate and name are checked.

        Raises:
            OSError, ssl.SSLError: as for `server_context`.
        """
        import ssl

        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self._authorities_file())
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        return context

    def _authorities_file(self) -> str | None:
        return None if self.authorities is None else str(self.authorities)


@dataclass(frozen=True)
class NodeConfig:
    """The choices about a node.

    Attributes:
        folder: of the queue: images, results and the database.
        destination: where results are sent.
        formats: names of output formats that are DICOM objects.
        ae_title: the node's own.
        host, port: where it listens; port 0 is any free one.
        peers: AE titles that may send to it; empty for all.
        sends_rejected: whether results with the verdict reject are sent.
        commits: whether the destination is asked for storage commitment.
        workers: processes that segment.
        max_associations: at a time.
        max_queued: images that wait; beyond it, C-STORE is answered Out of Resources.
        min_free_bytes: on the disk; below it, likewise.
        max_tries: for each image and each result, before it becomes a dead letter.
        image_seconds: time limit for one image.
        http_host, http_port: of /health and /metrics; port 0 is any free one, None is none.
        tls: certificates; None for no TLS.
        has_tls_destination: whether results are sent by TLS.
    """

    folder: Path
    destination: RemoteNode
    formats: tuple[str, ...] = ("dicom-seg",)
    ae_title: str = DEFAULT_AE_TITLE
    host: str = "127.0.0.1"
    port: int = DEFAULT_DICOM_PORT
    peers: frozenset[str] = frozenset()
    sends_rejected: bool = False
    commits: bool = False
    workers: int = 1
    max_associations: int = 8
    max_queued: int = 10_000
    min_free_bytes: int = 2**30
    max_tries: int = 8
    image_seconds: float = 600.0
    http_host: str = "127.0.0.1"
    http_port: int | None = None
    tls: TlsFiles | None = None
    has_tls_destination: bool = False


def check_ae_title(text: str) -> str:
    """Return an AE title without surrounding spaces.

    Raises:
        ValueError: it is not one.
    """
    title = text.strip(" ")
    if not AE_TITLE.fullmatch(title):
        raise ValueError(f"{text!r} is not an AE title: 1 to 16 characters of ASCII, no backslash")
    return title
