"""What a DICOM file begins with: told here, because pydicom is slow to import, and most films are PNG or JPEG."""

from __future__ import annotations

MAGIC = b"DICM"
"""PS3.10 section 7.1: these four bytes follow a preamble of 128."""

BARE = (b"\x02\0\0\0", b"\x02\0\1\0", b"\x02\0\2\0", b"\x08\0\0\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x16\0")
"""Tags with which a file begins that lacks its preamble, or its file meta information as well."""


def with_preamble(data: bytes) -> bytes | None:
    """Return a DICOM file as PS3.10 has it, with an empty preamble where it lacks one; None if it is none at all."""
    if data[128:132] == MAGIC:
        return data
    if data.startswith(MAGIC):
        return bytes(128) + data
    return bytes(128) + MAGIC + data if data.startswith(BARE) else None
