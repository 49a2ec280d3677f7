"""A received image as the file that is segmented: the same, whatever wrote its file header.

UIDs of results are derived from the bytes of the image's file. Its header (PS3.10 section 7.1) names the program that
wrote it, with a version; without that, the same image gives the same UIDs after an update.
"""

from __future__ import annotations

from pathlib import Path

from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

META_LENGTH_END = 144
"""Where the first element of the file header ends, whose last four bytes are the length of the rest."""

NODE_CLASS_UID = UID("2.25.20009037525203456401896244411528935299")
"""Implementation Class UID (PS3.7 section D.3.3.2) of this node."""

NODE_VERSION_NAME = "LUNGSEG"
"""Implementation Version Name: without a version, see above."""


def dataset_start(head: bytes) -> int:
    """Return where the data set starts in a file that begins with ``head``."""
    return META_LENGTH_END + int.from_bytes(head[META_LENGTH_END - 4 : META_LENGTH_END], "little")


def read_canonical_file(path: Path) -> bytes:
    """Return a received file with this node as the writer of its header.

    Raises:
        OSError.
    """
    meta, data = read_file_meta_info(path), path.read_bytes()
    meta.ImplementationClassUID = NODE_CLASS_UID
    meta.ImplementationVersionName = NODE_VERSION_NAME
    whole = DicomBytesIO()
    whole.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(whole, meta)
    whole.write(data[dataset_start(data) :])
    return whole.getvalue()
