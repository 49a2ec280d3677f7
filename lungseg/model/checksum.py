"""The checksum in a model's file: the digest of its content, in its last bytes. It detects damage and edits.

An ONNX file is a protobuf message, and bytes appended to a message are merged into it. So the checksum is one more
metadata entry, of a fixed length, after everything else: it can be read without a parser, and every tool can still
read the file.
"""

from __future__ import annotations

import hashlib

from lungseg.errors import ModelError

CHECKSUM_KEY = "sha256"
"""The name of the metadata entry."""


def append_checksum(content: bytes) -> bytes:
    """Return an ONNX file with its checksum."""
    return content + _checksum_entry(hashlib.sha256(content).hexdigest())


def verify_checksum(file: bytes) -> str:
    """Return the SHA-256 of a file, its checksum included.

    Raises:
        ModelError: the checksum is missing or wrong.
    """
    content, entry = memoryview(file)[:-CHECKSUM_LENGTH], file[-CHECKSUM_LENGTH:]
    digest = hashlib.sha256(content)
    if entry != _checksum_entry(digest.hexdigest()):
        raise ModelError("The model's file is damaged, or was not written by `python -m model_export`.")
    digest.update(entry)
    return digest.hexdigest()


def _checksum_entry(digest: str) -> bytes:
    """Return a metadata entry: ModelProto.metadata_props (14), a StringStringEntryProto of key (1) and value (2).

    https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
    """
    return _field(14, _field(1, CHECKSUM_KEY.encode()) + _field(2, digest.encode()))


def _field(number: int, value: bytes) -> bytes:
    """Return a protobuf field of up to 127 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


CHECKSUM_LENGTH = len(_checksum_entry("0" * 64))
"""Length of the entry in bytes."""
