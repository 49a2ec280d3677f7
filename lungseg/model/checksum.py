"""The seal of a model's file: its digest, in its own last bytes. A file that was damaged, cut or edited is told by it.

An ONNX file is a message of protobuf, and what is written behind one is merged into it. So the seal is one more entry
of the file's metadata, of a fixed length, behind all else: it is found without a parser, and every tool still reads the
file.
"""

from __future__ import annotations

import hashlib

from lungseg.errors import ModelError

CHECKSUM_KEY = "sha256"
"""Its name among the metadata."""


def append_checksum(content: bytes) -> bytes:
    """An ONNX file with its seal."""
    return content + _checksum_entry(hashlib.sha256(content).hexdigest())


def verify_checksum(file: bytes) -> str:
    """The SHA-256 of a sealed file, the seal included.

    Raises:
        ModelError: it has no seal, or not its own.
    """
    content, seal = memoryview(file)[:-CHECKSUM_LENGTH], file[-CHECKSUM_LENGTH:]
    digest = hashlib.sha256(content)
    if seal != _checksum_entry(digest.hexdigest()):
        raise ModelError("The model's file is damaged, or was not written by `python -m model_export`.")
    digest.update(seal)
    return digest.hexdigest()


def _checksum_entry(digest: str) -> bytes:
    """ModelProto.metadata_props, field 14 of onnx.proto: a StringStringEntryProto of key (1) and value (2)."""
    return _field(14, _field(1, CHECKSUM_KEY.encode()) + _field(2, digest.encode()))


def _field(number: int, value: bytes) -> bytes:
    """A field of protobuf that holds up to 127 bytes."""
    return bytes([number << 3 | 2, len(value)]) + value


CHECKSUM_LENGTH = len(_checksum_entry("0" * 64))
"""Bytes of a seal."""
