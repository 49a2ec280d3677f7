"""The files of a DICOM node: images as they arrive, images that are queued, and results that wait to be sent.

A file's name is a digest, so that no name identifies a patient. The folder is readable by its owner only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import uuid
from pathlib import Path
from typing import BinaryIO

from pydicom.filereader import read_file_meta_info

from lungseg import limits
from lungseg.pacs.canonical_file import META_LENGTH_END, dataset_start
from lungseg.pacs.queue_database import DATABASE_NAME

LOCK_NAME = "node.lock"
IMAGE_SUFFIX = ".dcm"

MAX_OBJECT_BYTES = limits.MAX_BYTES
"""Bytes of a received object, with its file header: no larger image can be segmented."""

WRITE_BUFFER = 2**20
"""Bytes that are written at once: a PDU is far smaller."""


class NodeFolderInUse(Exception):
    """Another node uses the same folder."""


class NodeSpool:
    """The folder of one node."""

    def __init__(self, folder: Path) -> None:
        """Create the folder and its parts if they do not exist.

        Raises:
            OSError.
        """
        self.folder = folder
        self._incoming, self._images, self._results = (folder / name for name in ("incoming", "images", "results"))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for part in (self._incoming, self._images, self._results):
            part.mkdir(exist_ok=True, mode=0o700)
        self._lock: BinaryIO | None = None

    @property
    def database(self) -> Path:
        """The database's file."""
        return self.folder / DATABASE_NAME

    def lock(self) -> None:
        """Keep other nodes out until the process ends or calls `unlock`.

        Raises:
            NodeFolderInUse, OSError.
        """
        if sys.platform == "win32":
            return
        import fcntl

        self._lock = (self.folder / LOCK_NAME).open("ab")
        try:
            fcntl.flock(self._lock.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.unlock()
            raise NodeFolderInUse from None

    def unlock(self) -> None:
        """Let other nodes in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def open_incoming(self) -> IncomingFile:
        """Return a new file for an object that is being received."""
        return IncomingFile(self._incoming / f"{uuid.uuid4().hex}{IMAGE_SUFFIX}")

    def keep_incoming(self, incoming: IncomingFile, digest: str) -> None:
        """Move a complete file to the queued images, and wait until it is on the disk.

        Raises:
            OSError.
        """
        incoming.path.replace(self.image_path(digest))
        sync_folder(self._images)

    def image_path(self, digest: str) -> Path:
        """Return where a queued image is."""
        return self._images / f"{digest}{IMAGE_SUFFIX}"

    def result_path(self, digest: str, format_name: str) -> Path:
        """Return where a result of an image is."""
        return self._results / f"{digest}.{format_name}{IMAGE_SUFFIX}"

    def remove_image(self, digest: str) -> None:
        """Delete an image and its results, if they are there."""
        for path in (self.image_path(digest), *self._results.glob(f"{digest}.*")):
            with contextlib.suppress(OSError):
                path.unlink()

    def remove_orphans(self, digests: set[str]) -> int:
        """Delete the files of a node that was killed: objects that were not complete, or not yet in the database.

        Args:
            digests: of the images whose files are still needed.

        Returns:
            The number of files deleted.
        """
        orphans = list(self._incoming.iterdir())
        for folder in (self._images, self._results):
            orphans += [path for path in folder.iterdir() if path.name.partition(".")[0] not in digests]
        for path in orphans:
            path.unlink(missing_ok=True)
        return len(orphans)

    def free_bytes(self) -> int:
        """Return the bytes that are free on the disk."""
        return shutil.disk_usage(self.folder).free


class IncomingFile:
    """An object that is being received, as pynetdicom writes it: with the members of a temporary file that it uses.

    Writing never fails: once the disk is full or the object too large, the rest is dropped, so that the peer gets an
    answer with the reason instead of a broken connection.

    Attributes:
        path: where it is written.
        fault: why it is incomplete: "out-of-space" or "too-large"; empty if it is complete.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        self.fault = ""
        self.file = self  # pynetdicom flushes `file.file`
        self._count = 0
        self._output: BinaryIO | None = None
        try:
            self._output = path.open("wb", buffering=WRITE_BUFFER)
        except OSError:
            self.fault = "out-of-space"

    def write(self, data: bytes) -> int:
        """Write bytes, or drop them after a fault."""
        self._count += len(data)
        if not self.fault and self._count > MAX_OBJECT_BYTES:
            self._drop("too-large")
        if self._output is not None:
            try:
                self._output.write(data)
            except OSError:
                self._drop("out-of-space")
        return len(data)

    def flush(self) -> None:
        """Do nothing: `complete` writes what is buffered."""

    def close(self) -> None:
        """Close the file."""
        if self._output is not None:
            with contextlib.suppress(OSError):
                self._output.close()
            self._output = None

    def complete(self) -> str:
        """Wait until the file is on the disk; return the digest of its content.

        The digest covers transfer syntax and data set, not the rest of the file header, which the receiver wrote.

        Raises:
            OSError.
        """
        assert self._output is not None
        self._output.flush()
        os.fsync(self._output.fileno())
        self._output.close()
        self._output = None
        with self.path.open("rb") as file:
            file.seek(dataset_start(file.read(META_LENGTH_END)))
            digest = hashlib.sha256(read_file_meta_info(self.path).TransferSyntaxUID.encode())
            while piece := file.read(WRITE_BUFFER):
                digest.update(piece)
        return digest.hexdigest()

    def remove(self) -> None:
        """Close and delete the file, if it was not moved."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _drop(self, fault: str) -> None:
        self.fault = fault
        self.remove()


def write_durably(path: Path, data: bytes) -> None:
    """Write a file completely or not at all, and wait until it is on the disk.

    Raises:
        OSError.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Windows cannot, and need not.

    Raises:
        OSError.
    """
    if sys.platform == "win32":
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
