"""Change a model file as no tool of this project does: another card, or none, with a valid checksum."""

from __future__ import annotations

import json
from typing import Any

from lungseg.model import checksum
from lungseg.model.card import METADATA_KEY


def card_of(model: bytes) -> dict[str, Any]:
    """Return the card of a file with a checksum."""
    entry = model[_card_starts(model) : -checksum.CHECKSUM_LENGTH]
    card: dict[str, Any] = json.loads(entry[entry.index(b"{") :])
    return card


def with_card(model: bytes, card: object) -> bytes:
    """Return a file with another card and a valid checksum.

    Args:
        model: the file.
        card: an object for JSON, or raw bytes; None for no card.
    """
    content = model[: _card_starts(model)]
    if card is not None:
        text = card if isinstance(card, bytes) else json.dumps(card).encode()
        content += _field(14, _field(1, METADATA_KEY.encode()) + _field(2, text))
    return checksum.append_checksum(content)


def _card_starts(model: bytes) -> int:
    """Return where the card's metadata entry starts: it is the last entry before the checksum."""
    content = model[: -checksum.CHECKSUM_LENGTH]
    key = content.rindex(_field(1, METADATA_KEY.encode()))
    entry = _field(14, content[key:])
    assert content.endswith(entry)
    return len(content) - len(entry)


def _field(number: int, value: bytes) -> bytes:
    """Return a protobuf field."""
    length, rest = bytearray(), len(value)
    while rest > 127:
        length.append(rest & 127 | 128)
        rest >>= 7
    return bytes([number << 3 | 2, *length, rest]) + value
